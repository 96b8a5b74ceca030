from callboard import Run
from callboard._core.logs import Means
from callboard._core.loop import train


def test_every_epoch_begins_trains_on_its_batches_and_validates(recorder):
    seen = recorder(["on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
    run = Run(epochs=2, callbacks=[seen], verbose=0)
    done, means = [], Means()

    def train_on(batch):
        done.append(batch)
        means.add({"loss": float(batch)}, 1)
        run.report(means.logs, steps=1, samples=1)

    train(
        run,
        epoch_data=lambda epoch, _: [10 * epoch, 10 * epoch + 1],
        begin_epoch=lambda _: done.append("begin"),
        logs=means.logs,
        train_on=train_on,
        validate=lambda epoch: done.append(f"validate {epoch}"),
    )
    assert done == ["begin", 0, 1, "validate 0", "begin", 10, 11, "validate 1"]
    assert run.history.history == {"loss": [0.5, 5.5]}
    assert seen.lines[:4] == [
        "on_epoch_begin 0",
        "on_train_batch_end 0 loss",
        "on_train_batch_end 1 loss",
        "on_epoch_end 0 loss",
    ]
