"""A model as a graph, in no framework's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Graph", "Node"]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation, input, output or weight of a model.

    Attributes:
        name: Its name, unique in the graph; ``/`` makes groups, such as layers.
        op: What it does, such as "linear".
        inputs: Names of the nodes whose outputs it takes.
        shape: Shape of its output; None if it has none.
        dtype: Data type of its output, under NumPy's name.
        attributes: Whatever else is worth knowing, by name.

    Example:
        >>> Node("dense/matmul", "matmul", ("input", "dense/kernel"), (32, 10), "float32").op
        'matmul'
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] | None = None
    dtype: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Graph:
    """What is known of how a model computes; what is not is empty.

    Attributes:
        nodes: The operations on a batch, inputs first.
        program: They as a text, in the framework's own notation.
        architecture: The layers and how they are connected, as Keras's JSON.
    """

    nodes: Sequence[Node] = ()
    program: str = ""
    architecture: str = ""
