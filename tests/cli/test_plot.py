import pytest

from callboard.cli import main

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def log_of(tmp_path):
    """Write a log's text to a file."""

    def write(text):
        path = tmp_path / "log.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# ---- the command ---------------------------------------------------------------------------------


def test_a_log_becomes_an_image_beside_it(log_of, capsys):
    log = log_of("epoch,loss,val_loss\n0,0.9,0.8\n1,0.5,0.6\n")
    assert main(["plot", str(log)]) == 0
    image = log.with_suffix(".png")
    assert capsys.readouterr() == (f"wrote {image}\n", "")
    assert image.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", PNG), ("b.svg", b"<?xml"), ("c.PDF", b"%PDF")]
)
def test_the_suffix_says_the_format(name, begins, log_of, tmp_path):
    log = log_of("epoch,loss\n0,0.9\n1,0.5\n")
    image = tmp_path / "new" / name
    assert main(["plot", str(log), "-o", str(image), "--title", "Adam"]) == 0
    assert image.read_bytes().startswith(begins)


def test_columns_of_other_things_are_named_and_left_out(log_of, capsys):
    log = log_of('epoch,loss,note,confusion\n0,0.9,warm,"[[1, 2]]"\n')
    assert main(["plot", str(log)]) == 0
    assert capsys.readouterr().err == "left out, not numbers: note, confusion\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("loss,epoch\n1,2\n", "its first line is 'loss,epoch'"),
        ("x" * 500, "x" * 40 + "...'"),
        ("epoch,loss\n", "has no epochs yet"),
        ("epoch\n0\n", "has no metrics yet"),
        ("epoch,loss\none,2\n", "'one' in the column 'epoch'"),
        ("epoch,loss\n0,1,2\n", "3 values in the row of epoch 0"),
        ("epoch,note\n0,warm\n", "no column of numbers"),
        (b"\x89PNG\xff\xfe", "no text file"),
        ("epoch,loss\n0," + "1" * 200_000, "no CSV file"),
    ],
)
def test_what_is_no_log_is_one_line_and_status_1(text, said, log_of, capsys):
    assert main(["plot", str(log_of(text))]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_image_that_cannot_be_written_is_named(log_of, capsys, tmp_path):
    (tmp_path / "folder.png").mkdir()
    arguments = ["plot", str(log_of("epoch,loss\n0,1\n")), "-o", str(tmp_path / "folder.png")]
    assert main(arguments) == 1
    assert "is a directory" in capsys.readouterr().err


def test_several_runs_are_compared(log_of, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = log_of("epoch,loss,val_loss\n0,0.9,0.8\n1,0.5,0.6\n")
    other = tmp_path / "other.jsonl"
    other.write_text('{"epoch": 0, "loss": 1.0}\n')
    assert main(["plot", str(log), str(other)]) == 0
    assert capsys.readouterr().out == "wrote comparison.png\n"
    assert (tmp_path / "comparison.png").read_bytes().startswith(PNG)


def test_a_folder_is_drawn_beside_it(log_of, tmp_path):
    log_of("epoch,loss\n0,0.9\n")
    assert main(["plot", str(tmp_path)]) == 0
    assert tmp_path.with_suffix(".png").read_bytes().startswith(PNG)


def test_characters_that_the_font_lacks_are_a_note(tmp_path, capsys):
    log = tmp_path / "log.csv"
    log.write_text("epoch,\U00013080\n0,0.5\n", "utf-8")  # a hieroglyph
    assert main(["plot", str(log)]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("note: the font lacks some characters")
    assert said.out == f"wrote {tmp_path / 'log.png'}\n"
