import pytest

from callboard._core.errors import FileFormatError
from callboard.checkpoint import strict_json


def test_json_is_read():
    assert strict_json.loads(b'{"a": [1, 2.5, null, "x"]}', "it") == {"a": [1, 2.5, None, "x"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not whole"),
        (b"{", "not whole"),
        (b"\xff", "not whole"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"[" * 101 + b"]" * 101, "deeper than 100"),
        (b"[" * 200_000, "deeper than 100"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "deeper than 100"),
    ],
)
def test_anything_else_is_refused(data, message):
    with pytest.raises(FileFormatError, match=message):
        strict_json.loads(data, "the manifest")


def test_brackets_in_texts_and_many_shallow_ones_do_not_count():
    text = b'["' + b"[" * 500 + b'", "\\"[[", ' + b", ".join([b"[]"] * 500) + b"]"
    assert len(strict_json.loads(text, "it")) == 502


def test_size_is_limited(monkeypatch):
    monkeypatch.setattr(strict_json, "MAX_BYTES", 10)
    with pytest.raises(FileFormatError, match="more than 10"):
        strict_json.loads(b"[" + b"1," * 10 + b"1]", "it")
