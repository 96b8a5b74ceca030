import json
import subprocess
import sys
import types

import pytest
from rich.console import Console
from rich.live import Live

from callboard import Run, UnsupportedError
from callboard.callbacks import LambdaCallback, ProgbarLogger, progbar_logger
from callboard.callbacks.displays import LinesDisplay, suitable_display
from callboard.callbacks.notebook_display import NotebookDisplay, in_notebook
from callboard.callbacks.progress_line import ProgressLine
from callboard.callbacks.terminal_display import TerminalDisplay
from callboard.callbacks.tqdm_display import TqdmDisplay


@pytest.fixture
def clock(monkeypatch):
    """Time that a test moves."""
    now = [100.0]
    fake = types.SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(progbar_logger, "time", fake)
    monkeypatch.setattr("callboard._core.passes.perf_counter", fake.perf_counter)
    return now


def train(clock, *callbacks, batches=3, epochs=1, batch_s=1.0, data=None, **logs):
    with Run(verbose=1, epochs=epochs, callbacks=callbacks) as run:
        for _ in run.epochs():
            for _ in run.train(range(batches) if data is None else data):
                run.log(**(logs or {"loss": 0.5}))
                clock[0] += batch_s
    return run


# ---- what is chosen ------------------------------------------------------------------------------


def test_a_terminal_is_drawn_on(terminal):
    terminal()
    assert isinstance(suitable_display(1), TerminalDisplay)


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("TERM", "unknown"), ("CI", "true"), ("CI", "1")]
)
def test_a_terminal_that_cannot_be_drawn_on_or_whose_output_is_kept_gets_lines(
    terminal, monkeypatch, name, value
):
    terminal()
    monkeypatch.setenv(name, value)
    assert isinstance(suitable_display(1), LinesDisplay)


@pytest.mark.parametrize("value", ["", "0", "false", "False"])
def test_ci_that_says_no_is_none(terminal, monkeypatch, value):
    terminal()
    monkeypatch.setenv("CI", value)
    assert isinstance(suitable_display(1), TerminalDisplay)


def test_what_is_no_terminal_gets_lines(capsys):
    assert isinstance(suitable_display(1), LinesDisplay)


def test_verbose_2_is_a_line_an_epoch_everywhere(terminal):
    terminal()
    for style in ("auto", "terminal", "tqdm"):
        display = suitable_display(2, style)
        assert isinstance(display, LinesDisplay)
        assert display.every_s is None


def test_where_rich_draws_already_there_are_lines(terminal):
    shown = terminal()
    with Live("a bar", console=Console(file=shown, force_terminal=True), auto_refresh=False):
        assert isinstance(suitable_display(1), LinesDisplay)


def test_without_an_output_nothing_is_shown(monkeypatch, clock):
    monkeypatch.setattr(sys, "stdout", None)
    train(clock)


def test_a_style_is_used_wherever_the_output_goes(monkeypatch, capsys):
    assert isinstance(suitable_display(1, "tqdm"), TqdmDisplay)
    assert isinstance(suitable_display(1, "terminal"), TerminalDisplay)


# ---- lines ---------------------------------------------------------------------------------------


def test_lines_show_a_title_only_if_there_is_one(capsys):
    lines = LinesDisplay()
    line = ProgressLine(2, 2)
    for title, expected in (("Epoch 1/1", "Epoch 1/1 - 2/2"), ("", "2/2")):
        lines.begin(title)
        lines.end(line)
        assert capsys.readouterr().out.startswith(f"{expected} - 0s")
    lines.close()


def test_an_epoch_that_takes_long_has_a_line_a_minute(capsys, clock):
    with Run(verbose=1) as run:
        for _ in run.epochs():
            for _ in run.train(range(5)):
                run.log(loss=0.5)
                clock[0] += 40.0
            for _ in run.validate(range(2)):
                run.log(loss=1.0)
                clock[0] += 40.0
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 1/1 - 2/5 - 1:20 - 2:00 left - 40s/step - loss: 0.5000",
        "Epoch 1/1 - 4/5 - 2:40 - 40s left - 40s/step - loss: 0.5000",
        "Epoch 1/1 - validation 1/2 - 40s - 40s left - 40s/step - val_loss: 1.0000",
        "Epoch 1/1 - 5/5 - 4:40 - 40s/step - loss: 0.5000 - val_loss: 1.0000",
    ]


def test_an_epoch_of_less_than_a_minute_has_one_line(capsys, clock):
    train(clock, batches=59)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_long_epoch_of_unknown_length_shows_no_time_left(capsys, clock):
    train(clock, data=iter([1, 2]), batch_s=61.0)
    assert capsys.readouterr().out.splitlines()[0] == (
        "Epoch 1/1 - 1/unknown - 1:01 - 61s/step - loss: 0.5000"
    )


# ---- a terminal ----------------------------------------------------------------------------------


def test_the_bar_moves_below_the_title_and_gives_way_to_the_final_line(terminal, clock):
    shown, seen = terminal(), []
    look = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(shown.lines))
    train(clock, look, epochs=2)
    assert seen[:3] == [
        ["Epoch 1/2"],
        ["Epoch 1/2", " 1/3 ━━━━━━──────────────  2s 1s/step - loss: 0.5000"],
        ["Epoch 1/2", " 2/3 ━━━━━━━━━━━━━───────  1s 1s/step - loss: 0.5000"],
    ]
    final = "3/3 - 3s - 1s/step - loss: 0.5000"
    assert shown.lines == ["Epoch 1/2", final, "Epoch 2/2", final]
    assert "\x1b[?25l" not in shown.getvalue()  # a cursor that is never hidden needs no rescue


def test_a_validation_is_drawn_below_its_epoch(terminal, clock):
    shown, seen = terminal(), []
    look = LambdaCallback(on_test_batch_begin=lambda batch, logs: seen.append(shown.lines[1:]))
    with Run(verbose=1, callbacks=[look]) as run:
        for _ in run.epochs():
            for _ in run.train([1]):
                run.log(loss=0.5)
                clock[0] += 1
            for _ in run.validate([1, 2]):
                run.log(loss=1.5)
                clock[0] += 2
    assert seen[1] == [
        " 1/1 ━━━━━━━━━━━━━━━━━━━━  1s 1s/step - loss: 0.5000",
        " validation 1/2 ━━━━━━━━━━──────────  2s 2s/step - val_loss: 1.5000",
    ]
    assert shown.lines == [
        "Epoch 1/1",
        "1/1 - 5s - 1s/step - loss: 0.5000 - val_loss: 1.5000",
    ]


def test_a_run_inside_a_run_is_drawn_below_it_and_indented(terminal, clock):
    shown, seen = terminal(), []
    look = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(shown.lines))
    with Run(verbose=1) as run:
        for _ in run.epochs():
            for number in run.train(range(2)):
                run.log(loss=0.5)
                clock[0] += 1
                if number:
                    train(clock, look, batches=2, epochs=2, inner=0.25)
    assert seen[3] == [
        "Epoch 1/1",
        "  Epoch 1/2",
        "  2/2 - 2s - 1s/step - inner: 0.2500",
        "  Epoch 2/2",
        " 1/2 ━━━━━━━━━━──────────  1s 1s/step - loss: 0.5000",
        "   1/2 ━━━━━━━━━━──────────  1s 1s/step - inner: 0.2500",
    ]
    assert shown.lines[-2:] == [
        "  2/2 - 2s - 1s/step - inner: 0.2500",
        "2/2 - 6s - 3s/step - loss: 0.5000",
    ]


def test_an_evaluation_and_a_prediction_have_no_title(terminal, clock):
    shown = terminal()
    with Run(verbose=1, purpose="test") as run:
        for value in run.validate([1.0, 3.0]):
            run.log(loss=value)
            clock[0] += 1
    with Run(verbose=1, purpose="predict") as run:
        for _ in run.predict([1, 2, 3]):
            clock[0] += 1
    assert shown.lines == ["2/2 - 2s - 1s/step - loss: 2.0000", "3/3 - 3s - 1s/step"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_after_an_error_the_last_state_stays_and_the_cursor_is_below(terminal, clock, error):
    shown = terminal()

    def fails(batch, logs):
        if batch == 2:
            raise error

    with pytest.raises(error):
        train(clock, LambdaCallback(on_train_batch_begin=fails), batches=4)
    assert shown.lines == ["Epoch 1/1", " 2/4 ━━━━━━━━━━──────────  2s 1s/step - loss: 0.5000"]
    assert shown.cursor == (0, 2, False)
    assert sys.stdout is shown


def test_colors_are_left_out_where_they_are_not_wanted(terminal, clock, monkeypatch):
    shown = terminal()
    train(clock)
    assert "\x1b[32m━" in shown.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    before = len(shown.getvalue())
    train(clock)
    assert "━" in shown.getvalue()[before:]
    assert "m━" not in shown.getvalue()[before:]


@pytest.mark.parametrize("columns", [5, 20, 40, 60])
def test_however_narrow_a_terminal_is_its_lines_are_not_left_behind(terminal, clock, columns):
    shown, seen = terminal(columns), []
    look = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(shown.lines))
    train(clock, look, batches=30, loss=0.5, accuracy=0.25, a_name_that_is_rather_long=1.5)
    assert len(seen[20]) == len(seen[25])
    whole = "".join(line.strip() for line in shown.lines)
    assert "━" not in whole
    assert whole.replace(" ", "").startswith("Epoch1/130/30-30s-1s/step")
    assert "a_name_that_is_rather_long:1.5000" in whole.replace(" ", "")
    if columns >= 20:
        assert all("30 " in lines[1] for lines in seen[1:])
        assert any("rath" in line for line in seen[5]) == (columns >= 40)


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252", "cp932", "latin-1"])
def test_an_encoding_that_lacks_characters_gets_others(terminal, clock, encoding):
    shown, seen = terminal(), []
    shown.encoding = encoding
    look = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(shown.lines))
    train(clock, look, präz=0.5, 损失=1.5)
    shown.getvalue().encode(encoding)
    assert seen[1][1].startswith(" 1/3 ======..............  2s 1s/step - ")
    assert "präz: 0.5000".encode(encoding, "backslashreplace").decode(encoding) in shown.lines[1]


def test_brackets_in_names_are_shown_and_not_read_as_markup(terminal, clock):
    shown = terminal()
    train(clock, **{"[bold]loss[/bold]": 0.5})
    assert "[bold]loss[/bold]: 0.5000" in shown.lines[1]


def test_values_that_are_no_numbers_do_not_break_the_line(terminal, clock):
    shown = terminal(120)

    class Adds(LambdaCallback):
        order = -10

    adds = Adds(on_epoch_end=lambda epoch, logs: logs.update(note="a\nb", grid=[[1, 2]], none=None))
    train(clock, adds)
    assert shown.lines[1].endswith("loss: 0.5000 - note: a b - grid: [[1, 2]] - none: None")


def test_a_terminal_that_is_closed_twice_or_not_begun_is_left_as_it_is(terminal):
    shown = terminal()
    display = suitable_display(1)
    display.draw(ProgressLine(1, 2))
    display.end(ProgressLine(2, 2))
    display.close()
    display.begin("")
    display.close()
    display.close()
    assert shown.getvalue() == ""
    assert sys.stdout is shown


# ---- a notebook ----------------------------------------------------------------------------------


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook's cell shows: its outputs, each as it was last updated."""
    outputs = []

    class Handle:
        def __init__(self, data):
            outputs.append(data)
            self.index = len(outputs) - 1

        def update(self, data, *, raw):
            assert raw
            outputs[self.index] = data

    def display(data, *, raw, display_id):
        assert raw
        assert display_id
        return Handle(data)

    shell = type("ZMQInteractiveShell", (), {})
    module = types.ModuleType("IPython")
    module.get_ipython = shell
    module.display = types.ModuleType("IPython.display")
    module.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", module.display)
    return outputs


def test_in_a_notebook_every_epoch_is_one_output_that_is_updated(notebook, clock):
    seen = []
    look = LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(notebook[-1]))
    train(clock, look, batches=2, epochs=2, **{"<b>": 0.5})
    texts = [each["text/plain"] for each in notebook]
    assert texts == [f"Epoch {n}/2 - 2/2 - 2s - 1s/step - <b>: 0.5000" for n in (1, 2)]
    assert "Epoch 2/2 - 2/2 - 2s - 1s/step - &lt;b&gt;: 0.5000" in notebook[1]["text/html"]
    assert seen[0]["text/plain"] == "Epoch 1/2 - "
    assert seen[1]["text/plain"].startswith("Epoch 1/2 - 1/2 ━━━━━━━━━━")
    assert '<progress value="1" max="2"' in seen[1]["text/html"]
    assert "━" not in seen[1]["text/html"]


def test_in_a_notebook_a_validation_is_a_second_line(notebook, clock):
    seen = []
    look = LambdaCallback(on_test_batch_begin=lambda batch, logs: seen.append(notebook[-1]))
    with Run(verbose=1, callbacks=[look]) as run:
        for _ in run.epochs():
            list(run.train(iter([1])))
            for _ in run.validate([1, 2]):
                clock[0] += 1
    assert seen[1]["text/html"].count("<progress") == 1  # the epoch's length is not known
    assert "validation 1/2" in seen[1]["text/html"]


def test_a_notebook_that_is_closed_in_the_middle_keeps_what_it_shows(notebook):
    shown = NotebookDisplay()
    shown.begin("Epoch 1/1")
    shown.close()
    shown.draw(ProgressLine(1, 2))
    shown.end(ProgressLine(2, 2))
    assert [each["text/plain"] for each in notebook] == ["Epoch 1/1 - "]


def test_verbose_2_in_a_notebook_is_plain_lines(notebook):
    assert isinstance(suitable_display(1), NotebookDisplay)
    assert isinstance(suitable_display(2), LinesDisplay)


def test_the_shells_that_extend_jupyters_are_notebooks_and_ipython_on_a_terminal_is_none(notebook):
    module = sys.modules["IPython"]
    module.get_ipython = type("ColabShell", (module.get_ipython,), {})
    assert in_notebook()
    module.get_ipython = type("TerminalInteractiveShell", (), {})
    assert not in_notebook()
    module.get_ipython = lambda: None
    assert not in_notebook()


def test_a_notebook_without_ipython_is_an_error_that_says_so(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(UnsupportedError, match=r"style='notebook'.* needs the ipython package"):
        train(clock, ProgbarLogger(style="notebook"))


def test_a_real_notebook_keeps_the_final_lines():
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("nbclient")
    source = (
        "from callboard import Run\n"
        "with Run(epochs=2) as run:\n"
        "    for epoch in run.epochs():\n"
        "        for i in run.train(range(3)):\n"
        "            run.log(loss=0.5)\n"
        "        print('mine')\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    # In a process of its own: the client's event loop warns of things that are not ours.
    run = (
        "import json, sys, nbclient, nbformat\n"
        "notebook = nbformat.reads(sys.stdin.read(), 4)\n"
        "nbclient.NotebookClient(notebook, kernel_name='python3').execute()\n"
        "print(json.dumps(notebook.cells[0].outputs))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", run],
        input=nbformat.writes(notebook),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown, said, *rest = json.loads(done.stdout)
    assert said["text"] == "mine\n"
    assert len(rest) == 2
    assert shown["data"]["text/plain"].startswith("Epoch 1/2 - 3/3 - 0s - ")
    assert "loss: 0.5000</div>" in shown["data"]["text/html"]


# ---- tqdm ----------------------------------------------------------------------------------------


def test_tqdm_has_a_bar_for_each_epoch(capsys, clock):
    train(clock, ProgbarLogger(style="tqdm"), epochs=2, loss=0.5, accuracy=0.25)
    out, err = capsys.readouterr()
    assert out == ""
    bars = [line for line in err.replace("\r", "\n").split("\n") if "3/3" in line]
    assert bars[0].startswith("Epoch 1/2: 100%|")
    assert "accuracy=0.2500, loss=0.5000" in bars[-1]
    assert bars[-1].startswith("Epoch 2/2: 100%|")


def test_tqdm_shows_a_validation_and_a_length_that_is_not_known(capsys, clock):
    with Run(verbose=1, callbacks=[ProgbarLogger(style="tqdm")]) as run:
        for _ in run.epochs():
            for _ in run.train(iter([1, 2])):
                clock[0] += 1
            for _ in run.validate([1, 2]):
                run.log(loss=1.5)
                clock[0] += 1
    err = capsys.readouterr().err
    assert "validation: 100%|" in err
    assert "val_loss=1.5000" in err
    assert "Epoch 1/1: 2step" in err


def test_tqdm_is_closed_after_an_error(capsys, clock):
    display = TqdmDisplay()
    display.begin("Epoch 1/1")
    display.draw(ProgressLine(5, 10, begun_at=4), ProgressLine(1, 2, label="validation"))
    bar = display._bar
    assert (bar.n, bar.initial) == (5, 4)
    display.close()
    display.draw(ProgressLine(6, 10))
    display.end(ProgressLine(6, 10))
    assert bar.disable
    assert display._bar is None


def test_without_tqdm_an_error_before_the_first_batch_says_what_to_install(monkeypatch, clock):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(UnsupportedError, match=r"pip install .callboard\[tqdm\]"):
        train(clock, ProgbarLogger(style="tqdm"))
