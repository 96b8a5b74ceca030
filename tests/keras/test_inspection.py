"""What TensorBoard shows of a Keras model."""

import numpy as np
import pytest

from callboard._core.inspection import inspection_of
from callboard._core.trainable import trainable_of
from callboard.callbacks.weight_image import weight_image

keras = pytest.importorskip("keras")
pytest.importorskip("callboard.keras")


def test_layers_embeddings_and_summary_of_a_keras_model():
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(4, 2, name="words"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(1, name="out"),
        ]
    )
    seen = inspection_of(trainable_of(model, None))
    assert {"words", "flat", "out"} <= set(seen.layers())
    (vectors,) = seen.embeddings().values()
    np.testing.assert_array_equal(vectors, np.asarray(model.layers[0].get_weights()[0]))
    assert "words" in seen.summary()
    assert seen.graph(None) is seen.profiler() is None


def test_description_of_a_keras_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    seen = inspection_of(trainable_of(model, None))
    assert seen.description() == {"model": "Sequential", "parameters": 8}
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, loss=keras.losses.Huber(), metrics=["mae", keras.metrics.AUC()])
    assert seen.description() == {
        "model": "Sequential",
        "parameters": 8,
        "optimizer": "SGD",
        "SGD": {"momentum": 0.9},
        "loss": "Huber",
        "metrics": "mae, AUC",
    }


def test_kernels_of_a_keras_convolution_are_those_of_its_outputs():
    kernel = np.zeros((5, 4, 3, 2), "f4")  # height, width, inputs, outputs
    # 3 inputs of kernels of 4 x 5 across, 2 outputs down, with lines between.
    assert weight_image(kernel, outputs_first=False)[1:] == (3 * 5 - 1, 2 * 6 - 1)
