import io
import sys

import pytest

from callboard._core.output import printable, say


class Stream(io.StringIO):
    encoding = "utf-8"


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("utf-8", "损失 0.5", "损失 0.5"),
        ("ascii", "präz", "pr\\xe4z"),
        ("latin-1", "präz 损", "präz \\u635f"),
        (None, "损失", "损失"),
        ("utf-8", "path \udcff", "path \\udcff"),  # a file name that is no text
    ],
)
def test_characters_that_the_output_lacks_become_escapes(monkeypatch, encoding, text, shown):
    stream = Stream()
    stream.encoding = encoding
    monkeypatch.setattr(sys, "stdout", stream)
    assert printable(text) == shown
    say(text)
    assert stream.getvalue() == f"{shown}\n"


def test_without_an_output_nothing_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    say("anything")


def test_an_output_that_cannot_be_written_to_does_not_end_a_training(monkeypatch):
    class Full(Stream):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    say("anything")
