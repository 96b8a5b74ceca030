import os
import subprocess
import sys

import pytest

import callboard
from callboard.cli import demo, main, plot


def failed(capsys, *arguments):
    """Run a command line that fails; return its exit status and the one line it wrote."""
    status = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.endswith("\n")
    assert output.err.count("\n") == 1
    return status, output.err.strip()


def raiser(error):
    def run(arguments):
        raise error

    return run


def test_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"callboard {callboard.__version__}\n"


@pytest.mark.parametrize("command", [[], ["demo"], ["plot"]])
def test_help_has_examples_to_copy(command, capsys):
    assert main([*command, "--help"]) == 0
    examples = capsys.readouterr().out.partition("examples:")[2]
    assert f"callboard {' '.join(command)}".strip() in examples


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "arguments are required: COMMAND"),
        (["dem"], "choose from"),
        (["demo", "--epoch", "3"], "unrecognized arguments: --epoch"),
        (["demo", "--epochs", "0"], "argument --epochs: must be a whole number, 1 or more"),
        (["demo", "--epochs", "two"], "got 'two'"),
        (["demo", "--batch-size", "-1"], "argument --batch-size"),
        (["demo", "--seed", "-1"], "0 or more"),
        (["demo", "--seed", str(2**64)], "less than 2**63"),
        (["demo", "--verbose", "5"], "argument --verbose"),
        (["plot"], "required: RUN"),
        (["plot", "log.csv", "-o", "curves.pgn"], "Did you mean '.png'?"),
        (["plot", "log.csv", "-o", "log.csv"], "Allowed: .pdf, .png, .svg"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(arguments, said, capsys):
    status, line = failed(capsys, *arguments)
    assert status == 2
    assert said in line
    assert line.endswith("--help)")


@pytest.mark.parametrize("arguments", [["plot", "missing.csv"], ["demo", "--data", "missing.npz"]])
def test_missing_file_is_named(arguments, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, line = failed(capsys, *arguments)
    assert status == 1
    assert line == f"callboard: error: '{arguments[-1]}': No such file or directory"


@pytest.mark.parametrize(
    ("command", "package"),
    [("demo", "torch"), ("demo", "h5py"), ("demo", "matplotlib"), ("plot", "matplotlib")],
)
def test_missing_package_is_named_with_how_to_install_it(command, package, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    status, line = failed(capsys, command, *(["log.csv"] if command == "plot" else []))
    assert status == 1
    assert f"needs {package}," in line
    assert 'pip install "callboard[all]"' in line


def test_folder_that_is_a_file_is_named(capsys, tmp_path):
    file = tmp_path / "out"
    file.touch()
    status, line = failed(capsys, "demo", "--out", file)
    assert status == 1
    assert str(file) in line


def test_interruption_is_quiet_and_has_the_shells_status(capsys, monkeypatch):
    monkeypatch.setattr(plot, "_run", raiser(KeyboardInterrupt()))
    assert main(["plot", "log.csv"]) == 130
    assert capsys.readouterr() == ("", "")


def test_error_that_nobody_foresaw_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(demo, "_run", raiser(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["demo"])


def test_error_of_the_system_without_a_file_is_told(capsys, monkeypatch):
    monkeypatch.setattr(plot, "_run", raiser(OSError("no space\nleft")))
    assert failed(capsys, "plot", "log.csv") == (1, "callboard: error: no space left")


def test_reader_that_went_away_is_no_traceback(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text("epoch,loss\n0,1\n")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "callboard", "plot", str(log)]
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")
