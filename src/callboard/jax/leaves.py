"""The arrays in a state of training: their names, and what they are for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.tree_util import (
    keystr,
    tree_flatten,
    tree_flatten_with_path,
    tree_map_with_path,
    tree_unflatten,
)

from callboard._core.errors import DataError
from callboard.jax.arrays import is_array, is_key, like

__all__ = ["Leaf", "Role", "is_variable", "leaves_of", "weights_of", "with_values"]

Role = Literal["weights", "optimizer", "rest"]

# Names under which states keep an optimizer that is not one of optax.
_OPTIMIZERS = frozenset({"opt_state", "optimizer", "optimizer_state"})

# Where the arrays of a state are and what they are for, by its structure and their types: callbacks
# ask several times in an epoch, and to walk through it takes ten times as long as to look it up.
_PLACES: dict[tuple[Any, ...], list[tuple[tuple[str, ...], Role]]] = {}
_STATES = 16  # structures that are remembered

# For types of nodes that were met, whether they are nnx's variables.
_KINDS: dict[type, bool] = {}


class Leaf(NamedTuple):
    """An array in a state.

    Attributes:
        path: Where it is, as texts.
        role: "weights" for floating-point arrays that are not the optimizer's, "optimizer", or
            "rest": random keys, counters.
        value: The array, or a number.
        variable: What holds it if that can be changed in place, a variable of nnx; else None.
    """

    path: tuple[str, ...]
    role: Role
    value: Any
    variable: Any

    @property
    def name(self) -> str:
        """The path as one name."""
        return _joined(self.path)


def leaves_of(state: Any) -> list[Leaf]:
    """Return the arrays of a state, in its order: of any pytree, and of modules of nnx in it.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> params = {"dense": {"w": jnp.ones(2)}}
        >>> state = {"params": params, "opt_state": optax.sgd(0.1, 0.9).init(params), "step": 3}
        >>> [(leaf.name, leaf.role) for leaf in leaves_of(state)][1:]
        [('params.dense.w', 'weights'), ('step', 'rest')]
    """
    values, structure = tree_flatten(state, is_leaf=is_variable)
    if any(map(is_variable, values)):
        return list(_walk(state, (), optimizer=False))
    arrays = filter(is_array, values)
    return [
        Leaf(path, role, array, None)
        for (path, role), array in zip(_places(state, structure, values), arrays, strict=True)
    ]


def weights_of(leaves: list[Leaf]) -> dict[str, Leaf]:
    """Return the weights by name; the first part of the paths is left out if it tells nothing.

    So a weight is ``dense.w`` whether its state has it in ``params`` or in ``model``.
    """
    weights = [leaf for leaf in leaves if leaf.role == "weights"]
    shorter = {_joined(leaf.path[1:]): leaf for leaf in weights if len(leaf.path) > 1}
    if len(shorter) == len(weights):
        return shorter
    return {leaf.name: leaf for leaf in weights}


def with_values(state: Any, values: Mapping[str, Any]) -> Any:
    """Return the state with new values for some of its arrays, by the names that they have there.

    Variables of nnx are changed in place, all else stays what it is.

    Raises:
        DataError: If a shape or type differs; then nothing is changed.
    """
    found = leaves_of(state)
    leaves = {leaf.name: leaf for leaf in found if leaf.name in values}
    fitted = {name: _fitted(leaf, values[name]) for name, leaf in leaves.items()}
    in_place = {name for name, leaf in leaves.items() if leaf.variable is not None}
    for name in in_place:
        leaves[name].variable.set_value(fitted.pop(name))
    if not fitted:
        return state

    nodes, structure = tree_flatten(state, is_leaf=is_variable)
    if any(map(is_variable, nodes)):

        def replaced(path: tuple[Any, ...], node: Any) -> Any:
            return node if is_variable(node) else fitted.get(_joined(_texts(path)), node)

        return tree_map_with_path(replaced, state, is_leaf=is_variable)
    names = (leaf.name for leaf in found)
    return tree_unflatten(
        structure, [fitted.get(next(names), node) if is_array(node) else node for node in nodes]
    )


def is_variable(node: Any) -> bool:
    """Say whether a node is a variable of nnx with an array, which can be exchanged in place."""
    nnx = sys.modules.get("flax.nnx")
    if nnx is None:
        return False
    kind = type(node)
    if kind not in _KINDS:  # flax's own check of a class takes a microsecond, for every array
        _KINDS[kind] = isinstance(node, nnx.Variable)
    return _KINDS[kind] and is_array(node.get_value())


def _places(state: Any, structure: Any, values: list[Any]) -> list[tuple[tuple[str, ...], Role]]:
    """Return the paths and roles of the arrays in a state without variables of nnx."""
    kinds = (structure, *(getattr(value, "dtype", type(value)) for value in values))
    try:
        known = _PLACES.get(kinds)
    except (TypeError, ValueError):  # what a module has besides its arrays may not be comparable
        return [(leaf.path, leaf.role) for leaf in _walk(state, (), optimizer=False)]
    if known is None:
        known = [(leaf.path, leaf.role) for leaf in _walk(state, (), optimizer=False)]
        if len(_PLACES) >= _STATES:
            _PLACES.clear()
        _PLACES[kinds] = known
    return known


def _walk(node: Any, above: tuple[str, ...], *, optimizer: bool) -> Iterator[Leaf]:
    def is_whole(child: object) -> bool:
        return is_variable(child) or (not optimizer and _is_of_optax(child))

    for path, child in tree_flatten_with_path(node, is_leaf=is_whole)[0]:
        texts = (*above, *_texts(path))
        if is_variable(child):
            value = child.get_value()
            of_optimizer = optimizer or isinstance(child, sys.modules["flax.nnx"].OptState)
            yield Leaf(texts, _role(value, texts, optimizer=of_optimizer), value, child)
        elif not optimizer and _is_of_optax(child):
            yield from _walk(child, texts, optimizer=True)
        elif is_array(child):
            yield Leaf(texts, _role(child, texts, optimizer=optimizer), child, None)


def _role(value: Any, path: tuple[str, ...], *, optimizer: bool) -> Role:
    if optimizer or not _OPTIMIZERS.isdisjoint(path):
        return "optimizer"
    dtype = getattr(value, "dtype", None)
    if dtype is None or is_key(value):
        return "rest"
    return "weights" if jax.numpy.issubdtype(dtype, np.inexact) else "rest"


def _texts(path: tuple[Any, ...]) -> tuple[str, ...]:
    texts = (keystr((key,), simple=True) for key in path)
    return tuple(text.replace("%", "%25").replace(".", "%2E") for text in texts)


def _joined(texts: tuple[str, ...]) -> str:
    return ".".join(texts) or "array"  # a state that is one array has no path


def _is_of_optax(node: object) -> bool:
    module = type(node).__module__
    return isinstance(node, tuple) and (module == "optax" or module.startswith("optax."))


def _fitted(leaf: Leaf, value: Any) -> Any:
    try:
        return like(leaf.value, value)
    except DataError as error:
        raise DataError(f"{leaf.name!r} has {error}") from None
