from callboard._core.callback import Callback


class TensorBoard(Callback): ...
