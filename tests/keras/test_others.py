"""The rest of our callbacks in Keras's fit."""

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import keras
import numpy as np
import pytest

from callboard.callbacks import (
    BackupAndRestore,
    EarlyStopping,
    OrbaxCheckpoint,
    RemoteMonitor,
    SwapEMAWeights,
)
from callboard.keras import Callbacks, fit
from callboard.testing import assert_exact_resume


def averaging():
    return keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5)


def test_averages_are_validated_and_left_as_by_keras(make_model, data):
    outcomes = []
    for callback in (keras.callbacks.SwapEMAWeights(), SwapEMAWeights()):
        model = make_model(optimizer=averaging())
        history = model.fit(
            *data, epochs=2, verbose=0, shuffle=False, validation_data=data, callbacks=[callback]
        )
        outcomes.append((history.history["val_loss"], model.get_weights()))
    assert outcomes[0][0] == pytest.approx(outcomes[1][0])
    for theirs, mine in zip(outcomes[0][1], outcomes[1][1], strict=True):
        assert np.allclose(theirs, mine)


def test_an_early_stop_ends_with_the_averages(make_model, data):
    model = make_model(optimizer=averaging())
    stopping = EarlyStopping("loss", patience=1, min_delta=100)
    with Callbacks([SwapEMAWeights(swap_on_epoch=True), stopping]) as group:
        model.fit(*data, epochs=9, verbose=0, callbacks=[group])
    assert stopping.stopped_epoch == 1
    averages = model.optimizer._model_variables_moving_average
    for weight, average in zip(model.trainable_variables, averages, strict=True):
        assert np.allclose(keras.ops.convert_to_numpy(weight), keras.ops.convert_to_numpy(average))


def test_a_prediction_leaves_the_models_own_weights(make_model, data):
    model = make_model(optimizer=averaging())
    model.fit(*data, epochs=1, verbose=0)
    before = model.get_weights()
    model.predict(data[0], verbose=0, callbacks=[SwapEMAWeights()])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_averages_go_on_where_they_were(make_model, data, tmp_path):
    def train(folder):
        model = make_model(optimizer=averaging())
        callbacks = [BackupAndRestore(folder / "backup", save_freq=1), SwapEMAWeights()]
        history = fit(model, *data, 16, 2, verbose=0, validation_data=data, callbacks=callbacks)
        return history.history, [np.array(weight) for weight in model.get_weights()]

    assert_exact_resume(train, kills=[4], directory=tmp_path)


@pytest.mark.skipif(not importlib.util.find_spec("orbax"), reason="needs orbax-checkpoint")
def test_orbax_has_the_weights_of_keras(model, data, tmp_path):
    model.fit(*data, epochs=2, verbose=0, callbacks=[OrbaxCheckpoint(tmp_path / "orbax")])
    before = model.get_weights()
    model.set_weights([weight * 0 for weight in before])
    assert OrbaxCheckpoint.load(tmp_path / "orbax", model) == 1
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_server_hears_of_every_epoch(model, data):
    heard = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        root = f"http://127.0.0.1:{server.server_port}"
        model.fit(*data, epochs=2, verbose=0, callbacks=[RemoteMonitor(root, send_as_json=True)])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [each["epoch"] for each in heard] == [0, 1]
    assert all(each["loss"] > 0 for each in heard)
