"""Graphs: operations as TensorFlow's ``GraphDef``, the layers of Keras as their JSON."""

from __future__ import annotations

from collections.abc import Iterable

from callboard._core.errors import DataError
from callboard._core.graph import Node
from callboard.events.protobuf import encoded, field, varint
from callboard.events.tensors import shape, strings, tensor_value

__all__ = ["graph_def", "keras_model_value"]

_TYPES = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "complex64": 8,
    "int64": 9, "bool": 10, "bfloat16": 14, "complex128": 18, "float16": 19, "float8_e5m2": 24,
    "float8_e4m3fn": 25,
}  # fmt: skip
_VERSIONS = b"\x22\x02\x08\x16"  # producer 22, as torch.utils.tensorboard writes


def graph_def(nodes: Iterable[Node]) -> bytes:
    """Return a graph as a serialized ``GraphDef``.

    Args:
        nodes: In any order; inputs that are not among them are left out.

    Raises:
        DataError: If two nodes have one name, or a name is empty.

    Source: ``graph.proto``, ``node_def.proto`` and ``attr_value.proto`` of TensorFlow.
    """
    nodes = tuple(nodes)
    names = {node.name for node in nodes}
    if len(names) < len(nodes) or "" in names:
        raise DataError("the nodes of a graph have names of their own, and none is empty")
    return b"".join(field(b"\x0a", _node(node, names)) for node in nodes) + _VERSIONS


def keras_model_value(tag: str, architecture: str) -> bytes:
    """Return the JSON of a Keras model as one entry of a summary.

    Raises:
        DataError: If it is no text, or ``tag`` not a name.
    """
    content = strings([encoded(architecture, "the architecture of a Keras model")])
    return tensor_value(tag, content, "graph_keras_model", b"1")  # the version of its format


def _node(node: Node, names: set[str]) -> bytes:
    inputs = (field(b"\x1a", name.encode()) for name in node.inputs if name in names)
    head = field(b"\x0a", encoded(node.name, "a node's name"))
    head += field(b"\x12", encoded(node.op, f"the op of {node.name!r}")) + b"".join(inputs)
    attributes = {name: field(b"\x12", text.encode()) for name, text in node.attributes.items()}
    if node.shape is not None:  # a list with the one output's shape
        attributes["_output_shapes"] = field(b"\x0a", field(b"\x3a", shape(node.shape)))
    if node.dtype in _TYPES:
        attributes["dtype"] = b"\x30" + varint(_TYPES[node.dtype])
    return head + b"".join(
        field(b"\x2a", field(b"\x0a", name.encode()) + field(b"\x12", value))
        for name, value in sorted(attributes.items())
    )
