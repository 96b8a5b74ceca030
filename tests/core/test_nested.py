from collections import OrderedDict
from typing import NamedTuple

from callboard._core.nested import leaves, mapped


class Pair(NamedTuple):
    left: object
    right: object


def test_a_function_reaches_every_leaf_and_none_stays_none():
    tree = {"a": 1, "b": [2, (3, None)], "c": Pair(4, {"d": 5})}
    assert mapped(lambda x: x * 10, tree) == {
        "a": 10,
        "b": [20, (30, None)],
        "c": Pair(40, {"d": 50}),
    }
    assert isinstance(mapped(str, Pair(1, 2)), Pair)
    assert mapped(str, None) is None
    assert mapped(str, 7) == "7"


def test_leaves_come_in_order_without_the_nones():
    tree = OrderedDict(a=1, b=[2, (None, 3)], c=Pair(4, None))
    assert list(leaves(tree)) == [1, 2, 3, 4]
    assert list(leaves(None)) == []
    assert list(leaves(5)) == [5]
