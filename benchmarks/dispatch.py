"""What a batch event costs that goes to N callbacks."""

import timeit

from measure import machine

from callboard import Callback
from callboard._core.dispatch import CallbackList


class Idle(Callback):
    def on_epoch_end(self, epoch, logs=None):
        pass


class Active(Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


def microseconds(callbacks):
    event = CallbackList(callbacks).on_train_batch_end
    logs = {}
    number = 200_000
    return min(timeit.repeat(lambda: event(1, logs), number=number, repeat=5)) / number * 1e6


def plain_call():
    callback = Active()
    hook, logs = callback.on_train_batch_end, {}
    number = 200_000
    return min(timeit.repeat(lambda: hook(1, logs), number=number, repeat=5)) / number * 1e6


def main():
    number = 200_000
    frame = min(timeit.repeat(lambda: None, number=number, repeat=5)) / number * 1e6
    call = plain_call() - frame
    print(f"\ndispatch of one event; {machine()}")
    print(f"a plain call of a method: {call:.3f} us (the measuring frame's {frame:.3f} taken off)")
    print(f"{'callbacks':<28}{'us per event':>14}{'ours per callback':>20}")
    for count in (0, 1, 8, 32):
        cost = microseconds([Idle() for _ in range(count)]) - frame
        print(f"{f'{count}, none overrides it':<28}{cost:>14.3f}")
    for count in (1, 8, 32):
        cost = microseconds([Active() for _ in range(count)]) - frame
        print(f"{f'{count}, all override it':<28}{cost:>14.3f}{cost / count - call:>20.3f}")


if __name__ == "__main__":
    main()
