"""The operations of a model, as JAX traces them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.tree_util import keystr, tree_flatten_with_path

from callboard._core.graph import Graph, Node

__all__ = ["graph_of"]

# Calls whose operations are shown in place of them. Loops and branches are one node.
_INLINED = {"pjit", "jit", "closed_call", "core_call", "remat2", "checkpoint"}
_CUSTOM = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_TRANSFORMED = re.compile(r"\w+\(([^()]*)\)")


def graph_of(call: Callable[[Any], Any], inputs: Any, arrays: Mapping[str, Any]) -> Graph:
    """Return the operations that a call does on a batch, and as a text: its jaxpr.

    Args:
        call: What is traced; nothing is computed.
        inputs: Its one argument, arrays.
        arrays: Those of the model by their names; they may be part of what is traced.
    """
    traced = jax.make_jaxpr(call)(inputs)
    names = {id(array): name.replace(".", "/") for name, array in arrays.items()}
    nodes = _Nodes()
    known: dict[Any, str] = {}
    for variable, constant in zip(traced.jaxpr.constvars, traced.consts, strict=True):
        name = names.get(id(constant))
        known[variable] = nodes.add(name or "constant", "Weight" if name else "Constant", variable)
    paths = [
        keystr(path, simple=True, separator="/") for path, _ in tree_flatten_with_path(inputs)[0]
    ]
    for variable, path in zip(traced.jaxpr.invars, paths, strict=True):
        known[variable] = nodes.add("/".join(filter(None, ("input", path))), "Input", variable)
    nodes.follow(traced.jaxpr, known, "")
    return Graph(_live(nodes.found), str(traced.jaxpr))


def _live(nodes: list[Node]) -> list[Node]:
    """Leave out what neither depends on the inputs nor is used, as where weights are unpacked."""
    depending: set[str] = set()
    for node in nodes:
        if node.op == "Input" or depending.intersection(node.inputs):
            depending.add(node.name)
    kept: list[Node] = []
    used: set[str] = set()
    for node in reversed(nodes):
        if node.name in depending or node.name in used:
            kept.append(node)
            used.update(node.inputs)
    return kept[::-1]


class _Nodes:
    """Nodes with names of their own."""

    def __init__(self) -> None:
        self.found: list[Node] = []
        self._names: set[str] = set()
        self._used: Counter[str] = Counter()  # numbers behind names, so that none is tried twice

    def add(self, name: str, op: str, output: Any, inputs: tuple[str, ...] = ()) -> str:
        """Add a node, and return its name."""
        first = name
        while name in self._names:
            self._used[first] += 1
            name = f"{first}_{self._used[first]}"
        self._names.add(name)
        shape = getattr(output.aval, "shape", None)
        dtype = str(getattr(output.aval, "dtype", ""))
        self.found.append(Node(name, op, inputs, shape, dtype))
        return name

    def follow(self, jaxpr: Jaxpr, known: dict[Any, str], scope: str) -> None:
        """Add the operations of a jaxpr; ``known`` are the names of the nodes by variables."""
        for equation in jaxpr.eqns:
            inputs = [known.get(v, "") for v in map(_variable, equation.invars)]
            group = _joined(scope, _TRANSFORMED.sub(r"\1", str(equation.source_info.name_stack)))
            inner = _inner(equation)
            if inner is None:
                operation = equation.primitive.name
                output = equation.outvars[0] if equation.outvars else None
                if output is None:
                    continue
                name = self.add(
                    _joined(group, operation), operation, output, tuple(filter(None, inputs))
                )
                known.update(dict.fromkeys(equation.outvars, name))
                continue
            own = dict(zip(inner.invars, inputs, strict=True))
            called = str(equation.params.get("name", ""))
            self.follow(inner, own, _joined(group, called if called.isidentifier() else ""))
            results = (own.get(v, "") for v in map(_variable, inner.outvars))
            known.update(zip(equation.outvars, results, strict=True))


def _inner(equation: Any) -> Jaxpr | None:
    """Return the operations of a call that is shown by them."""
    name = equation.primitive.name
    key = "jaxpr" if name in _INLINED else _CUSTOM.get(name)
    inner = equation.params.get(key) if key else None
    if isinstance(inner, ClosedJaxpr):
        inner = inner.jaxpr
    return inner if inner is not None and len(inner.invars) == len(equation.invars) else None


def _variable(atom: Any) -> Any:
    """Return a variable; None for a number that stands in the jaxpr."""
    return None if isinstance(atom, Literal) else atom


def _joined(*parts: str) -> str:
    return "/".join(filter(None, parts))
