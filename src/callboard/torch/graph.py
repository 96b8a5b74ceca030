"""The operations of a module, recorded while it runs once.

``torch.jit.trace`` is deprecated since PyTorch 2.10; ``torch.export`` takes seconds to be loaded,
and refuses modules whose control flow goes by data. Running the module under a
``TorchFunctionMode`` costs one forward pass and takes all that runs.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as modules
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

from callboard._core.graph import Node
from callboard._core.nested import leaves
from callboard.torch.untouched import untouched

__all__ = ["recorded_graph"]


def recorded_graph(module: nn.Module, call: Callable[[], Any], inputs: Any) -> list[Node]:
    """Return the operations of one forward pass, grouped by layers, with weights and inputs.

    The pass is made in evaluation mode and without gradients, and leaves no trace.

    Args:
        module: The module whose layers make the groups.
        call: Makes the forward pass and returns its outputs.
        inputs: The tensors that it is made with, however nested.

    Example:
        >>> layer, x = nn.Linear(2, 3), torch.ones(1, 2)
        >>> [(node.name, node.shape) for node in recorded_graph(layer, lambda: layer(x), x)]
        [('input', (1, 2)), ('Linear/weight', (3, 2)), ('Linear/bias', (3,)),
         ('Linear/linear', (1, 3)), ('output', (1, 3))]
    """
    recorder = _Recorder(module)
    for tensor in _tensors(inputs):
        recorder.add("input", "Input", (), tensor, top=True)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_eager())
        stack.enter_context(untouched(module))
        stack.enter_context(recorder.watching())
        outputs = call()
    for tensor in _tensors(outputs):
        recorder.add("output", "Output", (recorder.name_of(tensor),), tensor, top=True, new=False)
    return recorder.nodes


class _Recorder(TorchFunctionMode):
    """Notes each function that is called on tensors, under the layer that calls it.

    Args:
        module: The module that is going to run.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._scopes = _scopes(module)
        self._open: list[str] = []
        self._taken: dict[str, int] = {}
        # Weak, so that a pass needs no more memory than it does anyway.
        self._names = WeakIdKeyDictionary()
        self._owned = WeakIdKeyDictionary()
        for layer in module.modules():
            own = (*layer._parameters.items(), *layer._buffers.items())  # noqa: SLF001 - no other way without those of its children
            for name, tensor in own:
                if tensor is not None and tensor not in self._owned:
                    kind = "Parameter" if isinstance(tensor, nn.Parameter) else "Buffer"
                    self._owned[tensor] = (f"{self._scopes[id(layer)]}/{name}", kind)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function, and note it if it gives tensors."""
        kwargs = kwargs or {}
        outputs = function(*args, **kwargs)
        name = _name_of(function)
        if name == "__set__":
            return outputs
        changed = outputs if outputs is not None else next(iter(args), None)
        tensors = list(_tensors(changed))
        if tensors:
            inputs = tuple(self.name_of(tensor) for tensor in _tensors((args, kwargs)))
            self.add(name.strip("_") or name, name, inputs, *tensors)
        return outputs

    def add(
        self,
        label: str,
        op: str,
        inputs: tuple[str, ...],
        *tensors: torch.Tensor,
        top: bool = False,
        new: bool = True,
    ) -> None:
        """Add a node; from then on the tensors are its outputs, unless it gives no ``new`` ones."""
        scope = "" if top or not self._open else self._open[-1] + "/"
        name = self._unique(scope + label)
        first = tensors[0]
        dtype = str(first.dtype).removeprefix("torch.")
        self.nodes.append(Node(name, op, inputs, tuple(first.shape), dtype))
        if new:
            for tensor in tensors:
                self._names[tensor] = name

    def name_of(self, tensor: torch.Tensor) -> str:
        """Return the node that a tensor comes from; a weight's is made when it is first used."""
        if tensor not in self._names:
            label, op = "constant", "Constant"
            if owned := tensor in self._owned:
                label, op = self._owned[tensor]
            self.add(label, op, (), tensor, top=owned)
        name: str = self._names[tensor]
        return name

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Follow which layer runs, and note what runs inside."""
        # Of all modules: a scripted one takes no hook of its own.
        handles = (
            modules.register_module_forward_pre_hook(self._enter),
            modules.register_module_forward_hook(self._leave, with_kwargs=True),
        )
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()
                # torch 2.13 leaves this behind, and torch.compile would warn of it from then on.
                modules._global_forward_hooks_with_kwargs.pop(handle.id, None)  # noqa: SLF001 - as said

    def _enter(self, layer: nn.Module, _args: Any) -> None:
        inside = f"{self._open[-1]}/" if self._open else ""
        scope = self._scopes.get(id(layer), inside + type(layer).__name__)
        self._open.append(scope)

    def _leave(self, layer: nn.Module, args: Any, kwargs: Any, outputs: Any) -> None:
        # Of a layer whose code torch does not show, such as a scripted one, only this is seen.
        unseen = [tensor for tensor in _tensors(outputs) if tensor not in self._names]
        if unseen:
            kind = type(layer).__name__
            inputs = tuple(self.name_of(tensor) for tensor in _tensors((args, kwargs)))
            self.add(kind, kind, inputs, *unseen)
        self._open.pop()

    def _unique(self, name: str) -> str:
        count = self._taken.get(name, 0)
        self._taken[name] = count + 1
        return self._unique(f"{name}_{count}") if count else name


def _scopes(module: nn.Module) -> dict[int, str]:
    """Return for each layer's id the path of its group, with the types: ``Net/Linear[out]``."""
    paths = {"": type(module).__name__}
    scopes = {id(module): paths[""]}
    for name, layer in module.named_modules():
        if name:
            parent, _, own = name.rpartition(".")
            kind = str(getattr(layer, "original_name", type(layer).__name__))
            paths[name] = scopes[id(layer)] = f"{paths.get(parent, paths[''])}/{kind}[{own}]"
    return scopes


def _name_of(function: Any) -> str:
    name = str(getattr(function, "__name__", "function"))
    if name == "__get__":  # an attribute that is a tensor, such as Tensor.T
        return str(getattr(getattr(function, "__self__", None), "__name__", name))
    return name


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in leaves(tree) if isinstance(leaf, torch.Tensor))


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Have compiled modules run uncompiled."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and loading it takes seconds
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
