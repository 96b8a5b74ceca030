"""What the layers of a module give out."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from callboard.jax.leaves import is_variable

__all__ = ["innermost_layers", "module_in", "recorded", "recorded_activations"]


def module_in(state: Any) -> Any:
    """Return the first module of nnx or equinox in a state that can be called; None without one."""
    kinds = _kinds()
    found = []

    def is_module(node: Any) -> bool:
        if isinstance(node, kinds) and callable(node):
            found.append(node)
            return True
        return False

    jax.tree.flatten(state, is_leaf=is_module)
    return found[0] if found else None


def recorded_activations(module: Any, inputs: Any) -> Mapping[str, jax.Array]:
    """Return the outputs of all innermost layers of a module of nnx or equinox, by their names.

    The module is called in evaluation mode, one of equinox on sample after sample, as is its way;
    nothing of it is changed.

    Args:
        module: The module.
        inputs: A batch's inputs, first axis the samples.
    """
    nnx = sys.modules.get("flax.nnx")
    if nnx is not None and isinstance(module, nnx.Module):
        evaluated = nnx.merge(*nnx.split(module))
        evaluated.eval()
        return recorded(evaluated, lambda: evaluated(inputs))
    equinox = sys.modules["equinox"]
    evaluated = equinox.nn.inference_mode(module)

    def of_sample(sample: Any) -> Mapping[str, jax.Array]:
        return recorded(evaluated, lambda: evaluated(sample))

    outputs: Mapping[str, jax.Array] = jax.vmap(of_sample)(inputs)
    return outputs


def recorded(module: Any, call: Callable[[], object]) -> dict[str, jax.Array]:
    """Return what the innermost layers of a module give out during a call, by their names.

    It may be traced: then the outputs are to be returned by what is traced.
    """
    layers = innermost_layers(module)
    names = {id(layer): name for name, layer in layers.items()}
    outputs: dict[str, jax.Array] = {}

    def watched(layer: Any, call_layer: Callable[[], Any]) -> Any:
        name = names.get(id(layer))
        if name is None:
            return call_layer()
        with jax.named_scope(name.replace(".", "/")):  # groups operations by layers in graphs
            output = call_layer()
        arrays = [leaf for leaf in jax.tree.leaves(output) if isinstance(leaf, jax.Array)]
        if arrays:
            outputs[name] = arrays[0]
        return output

    with _watched({type(layer) for layer in layers.values()}, watched):
        call()
    return outputs


def innermost_layers(module: Any) -> dict[str, Any]:
    """Return the modules in a module that have none in them, by their names."""
    kinds = _kinds()
    layers: dict[str, Any] = {}
    _collect(module, "", kinds, layers)
    return layers


def _collect(node: Any, name: str, kinds: tuple[type, ...], layers: dict[str, Any]) -> bool:
    """Collect the innermost callable modules below a node; say whether there were any."""
    children: Mapping[Any, Any] = {}
    if isinstance(node, jax.Array) or is_variable(node):
        return False  # an array that is traced says in an error, and slowly, that it has no parts
    if isinstance(node, kinds):
        children = {k: v for k, v in vars(node).items() if not k.startswith("_")}
    elif isinstance(node, Mapping):
        children = node
    elif isinstance(node, list | tuple) or type(node).__module__.startswith("flax.nnx"):
        with contextlib.suppress(TypeError):
            children = dict(enumerate(node))
    below = [
        _collect(child, f"{name}.{key}" if name else str(key), kinds, layers)
        for key, child in children.items()
    ]
    if any(below):
        return True
    if isinstance(node, kinds) and callable(node):
        layers[name or type(node).__name__.lower()] = node
        return True
    return False


@contextlib.contextmanager
def _watched(classes: set[type], watch: Callable[[Any, Any], Any]) -> Iterator[None]:
    """Have ``watch`` make the calls of the objects of some classes, and return what they do."""
    defining = {next(c for c in kind.__mro__ if "__call__" in vars(c)) for kind in classes}
    before = {kind: vars(kind)["__call__"] for kind in defining}
    try:
        for kind, call in before.items():
            type.__setattr__(kind, "__call__", _telling(call, watch))
        yield
    finally:
        for kind, call in before.items():
            type.__setattr__(kind, "__call__", call)


def _telling(call: Any, watch: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    # Equinox puts a descriptor around methods, with the function inside of it.
    function = getattr(call, "method", call)

    @functools.wraps(function)
    def told(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return watch(layer, lambda: function(layer, *args, **kwargs))

    return told


def _kinds() -> tuple[type, ...]:
    """Return the classes of modules of the libraries that the program has imported."""
    nnx, equinox = sys.modules.get("flax.nnx"), sys.modules.get("equinox")
    return tuple(library.Module for library in (nnx, equinox) if library is not None)
