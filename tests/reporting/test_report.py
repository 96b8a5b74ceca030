import json
import math
import re

import numpy as np
import pytest

import callboard
from callboard import ConfigurationError, Decision, FileFormatError, Run
from callboard.callbacks import BackupAndRestore, CSVLogger, EarlyStopping, ReduceLROnPlateau
from callboard.cli import main
from callboard.recorded import Recording
from callboard.reporting.page import page_of
from callboard.reporting.panels import marks_of, panels_of
from callboard.reporting.series import kept
from callboard.testing import ScriptedModel


def trained(folder, losses=(0.9, 0.5, 0.4, 0.45, 0.46, 0.47)):
    """Leave what a run with a log and a backup leaves."""
    with Run(
        trainable=ScriptedModel(0.01),
        epochs=len(losses),
        callbacks=[
            CSVLogger(folder / "log.csv"),
            EarlyStopping("val_loss", patience=3),
            ReduceLROnPlateau("val_loss", patience=1),
            BackupAndRestore(folder / "backup", delete_checkpoint=False),
        ],
        verbose=0,
    ) as run:
        for epoch in run.epochs():
            for _ in run.train([1, 2]):
                run.log(loss=losses[epoch] / 2)
            for _ in run.validate([1]):
                run.log(loss=losses[epoch])
    return folder


def data_of(page):
    """The data of a page's script."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("adam"))


@pytest.fixture(scope="module")
def page(run_folder):
    return callboard.report(run_folder, run_folder / "out" / "page.html").read_text("utf-8")


# ---- what is in it -------------------------------------------------------------------------------


def test_run_folder_gives_curves_decisions_environment_and_throughput(page):
    assert [panel["name"] for panel in data_of(page)["panels"]] == ["loss", "learning rate"]
    assert "did not improve on 0.4 for 3 epochs" in page
    assert "best val_loss</dt><dd>0.4<" in page
    assert "best epoch</dt><dd>3<" in page
    assert "samples per second" in page
    assert np.__version__ in page


def test_configuration_is_that_of_the_callbacks(page):
    assert '<th scope="row">EarlyStopping patience</th><td>3</td>' in page
    assert '<th scope="row">epochs</th><td>6</td>' in page


def test_model_and_optimizer_are_in_the_configuration(tmp_path):
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    optimizer = torch.optim.SGD(net.parameters(), 0.5, momentum=0.9)
    backup = BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
    with Run(net, optimizer, callbacks=[backup], verbose=0) as run:
        for _ in run.epochs():
            for _ in run.train([0]):
                run.log(loss=1.0)
    page = callboard.report(tmp_path, tmp_path / "page.html").read_text("utf-8")
    for name, value in (
        ("model", "Sequential"),
        ("parameters", "13"),
        ("optimizer", "SGD"),
        ("SGD momentum", "0.9"),
        ("learning rate", "0.5"),
    ):
        assert f'<th scope="row">{name}</th><td>{value}</td>' in page
    assert '<p class="lead">Sequential, 13 parameters, optimizer SGD.</p>' in page
    assert re.search(r"<summary>Model</summary>.*<pre>Sequential\nLayer ", page)


def test_models_that_are_the_same_are_shown_once():
    runs = [
        Recording(name, [0], {"loss": [1.0]}, configuration={"summary": table})
        for name, table in (("a", "one layer"), ("b", "one layer"), ("c", "two layers"))
    ]
    assert "<summary>Model of a, b</summary>" in page_of(runs)
    assert "<summary>Model of c</summary>" in page_of(runs)
    assert "<summary>Model</summary>" in page_of(runs[:2])
    assert page_of(runs).count("one layer</pre>") == 1


def test_decisions_are_marked_at_their_epochs_from_1(page):
    marks = [(mark["kind"], mark["x"]) for mark in data_of(page)["marks"]]
    assert ("stopped", 6) in marks
    assert ("reduced", 4) in marks


def test_a_log_alone_gives_what_it_has(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,loss\n0,0.5\n1,NA\n2,0.25\n")
    page = callboard.report(tmp_path / "log.csv", tmp_path / "page.html").read_text("utf-8")
    assert data_of(page)["panels"][0]["series"][0]["y"] == [0.5, None, 0.25]
    assert "Decisions" not in page
    assert "Environment" not in page


def test_several_runs_are_compared_and_the_best_is_bold(tmp_path):
    for name, loss in (("a", 0.5), ("b", 0.25)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(f"epoch,loss\n0,{loss}\n1,{loss}\n")
    page = callboard.report(tmp_path, tmp_path / "page.html", title="Two").read_text("utf-8")
    assert "<h1>Two</h1>" in page
    assert [s["label"] for s in data_of(page)["panels"][0]["series"]] == ["a", "b"]
    assert re.search(r'<tr class=best-row><th scope="row"><svg[^>]*>.*?</svg> b</th>', page)


def test_runs_of_different_epochs_are_aligned():
    runs = [Recording("a", [0, 2], {"loss": [1.0, 2.0]}), Recording("b", [1], {"loss": [3.0]})]
    panel = panels_of(runs)[0]
    assert panel["x"] == [1, 2, 3]
    assert [series["y"] for series in panel["series"]] == [[1, None, 2], [None, 3, None]]


def test_saves_that_are_many_are_not_marked_but_the_others_are():
    saves = [Decision("ModelCheckpoint", "saved", e, e, "due") for e in range(1000)]
    stop = Decision("EarlyStopping", "stopped", 999, 999, "no improvement")
    run = Recording("a", list(range(1000)), {"loss": [1.0] * 1000}, decisions=[*saves, stop])
    assert [mark["kind"] for mark in marks_of(run)] == ["stopped"]


def test_names_cannot_leave_their_place():
    evil = "</script><script>alert(1)</script>"
    run = Recording(evil, [0], {evil: [1.0]}, decisions=[Decision(evil, evil, 0, 0, evil)])
    page = page_of([run])
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page


def test_nothing_in_it_is_fetched(page):
    assert "default-src 'none'" in page
    assert set(re.findall(r"""\w+://[^\s"'<]+""", page)) <= {"http://www.w3.org/2000/svg"}
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", page) == ["data:,"]


def test_wrong_use_is_explained(tmp_path, capsys):
    with pytest.raises(ConfigurationError, match="no run to report on"):
        callboard.report([])
    with pytest.raises(FileFormatError, match="none of what can be read"):
        callboard.report(tmp_path)
    assert main(["report", str(tmp_path / "nothing")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_command_says_what_it_wrote(run_folder, tmp_path, capsys):
    output = tmp_path / "page.html"
    assert main(["report", str(run_folder), "-o", str(output), "--title", "Adam"]) == 0
    assert capsys.readouterr().out == f"wrote {output}\n"
    assert "<h1>Adam</h1>" in output.read_text("utf-8")


# ---- long runs -----------------------------------------------------------------------------------


def test_extremes_and_gaps_of_long_runs_are_kept():
    values = np.sin(np.arange(100_000) / 500)
    values[[17, 50_001, 99_998]] = [9.0, -9.0, math.nan]
    positions = kept({"loss": values})
    assert {0, 17, 50_001, 99_998, 99_999} <= set(positions.tolist())
    assert len(positions) < 4000


def test_short_runs_are_kept_whole():
    assert kept({"loss": np.zeros(3000)}).tolist() == list(range(3000))


# ---- in a browser --------------------------------------------------------------------------------


@pytest.fixture(
    params=["a run", "three runs", "one epoch", "gaps", "nothing finite", "long"], ids=str
)
def shown(request, page, tmp_path):
    """Pages of all kinds of runs."""
    rng = np.random.default_rng(0)
    nan = math.nan
    loss = {"loss": [1.0, 0.5, 0.3], "val_loss": [1.0, 0.6, 0.7]}
    runs = {
        "three runs": [Recording(f"{name} {'long name ' * 4}", [0, 1, 2], loss) for name in "abc"],
        "one epoch": [Recording("one", [0], {"loss": [1.0]})],
        "gaps": [Recording("g", [0, 1, 2, 3], {"loss": [1.0, nan, 0.5, math.inf]})],
        "nothing finite": [Recording("n", [0, 1], {"loss": [nan, nan]})],
        "long": [Recording("l", list(range(10_000)), {"loss": rng.random(10_000).tolist()})],
    }
    path = tmp_path / "page.html"
    path.write_text(page if request.param == "a run" else page_of(runs[request.param]), "utf-8")
    return path


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_page_is_drawn_fits_and_is_accessible(shown, width, scheme, browser):
    browser.open(shown, width=width, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert browser.run("return document.querySelectorAll('.plot > svg').length") > 0
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert "NaN" not in browser.run("return document.querySelector('.plot').innerHTML")
    assert browser.violations() == []
    assert browser.messages() == []
    loaded = "return performance.getEntriesByType('resource').map((each) => each.name)"
    assert [name for name in browser.run(loaded) if not name.startswith("data:")] == []


OVERLAPS = """
const boxes = [...document.querySelectorAll('.plot > svg')].flatMap((svg) => {
  const labels = [...svg.querySelectorAll('.label')];
  const all = labels.map((each) => [each, each.getBoundingClientRect()]);
  const outer = svg.getBoundingClientRect();
  return all.flatMap(([a, p], i) => [
    ...(p.left < outer.left || p.right > outer.right + 1 ? [a.textContent] : []),
    ...all.slice(i + 1).filter(([b, q]) =>
      p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 2 && q.top < p.bottom - 2
    ).map(([b]) => `${a.textContent} on ${b.textContent}`),
  ]);
});
return boxes;
"""
ENDS = "return [...document.querySelectorAll('.plot .label')].map((each) => each.textContent)"


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_curves_are_labelled_at_their_ends_without_overlaps(count, width, tmp_path, browser):
    name = "a_long_name_of_a_run_with_a_rate_of_{}"
    loss = {"loss": [1.0, 0.5, 0.499], "val_loss": [1.0, 0.5, 0.5]}
    runs = [Recording(name.format(i), [0, 1, 2], loss) for i in range(count)]
    path = tmp_path / "page.html"
    path.write_text(page_of(runs), "utf-8")
    browser.open(path, width=width)
    assert browser.run(OVERLAPS) == []
    told = browser.run(ENDS)
    if count == 1:
        assert set(told) == {"training", "validation", "0.5"}
    else:
        assert [text[-1] for text in told] == [str(i) for i in range(count)]
    assert browser.run("return document.querySelector('.legend').hidden")


def test_more_runs_than_labels_have_room_have_a_legend(tmp_path, browser):
    runs = [Recording(f"run {i}", [0, 1], {"loss": [1.0, i]}) for i in range(30)]
    path = tmp_path / "page.html"
    path.write_text(page_of(runs), "utf-8")
    browser.open(path)
    assert browser.run(ENDS) == []
    assert "run 29" in browser.run("return document.querySelector('.legend').innerText")


TICKS = "return [...document.querySelectorAll('.plot text')].map((each) => each.textContent)"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.8, 0.95], ["0.80", "0.85", "0.90", "0.95"]),
        ([1e-4, 9e-5], ["0.900e-4", "0.950e-4", "1.000e-4"]),
        ([0.001, 0.001], ["0.001"]),
        ([20_000.0, 30_000.0], ["20,000", "30,000"]),
        ([-0.02, 1.0], ["0.00", "0.25"]),
    ],
)
def test_ticks_of_an_axis_have_the_same_digits(values, expected, tmp_path, browser):
    path = tmp_path / "page.html"
    path.write_text(page_of([Recording("a", [0, 1], {"m": values})]), "utf-8")
    browser.open(path)
    assert set(expected) <= set(browser.run(TICKS))


KEY = """
const plot = document.querySelector('.plot');
plot.focus();
plot.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}));
return [plot.querySelector('.tip').textContent, plot.getAttribute('aria-valuetext')];
"""


def test_keyboard_walks_over_the_epochs(page, tmp_path, browser):
    path = tmp_path / "page.html"
    path.write_text(page, "utf-8")
    browser.open(path)
    told, spoken = browser.run(KEY, "Home")
    assert told == "epoch 1training 0.45validation 0.9"
    assert spoken == "epoch 1: training 0.45, validation 0.9"
    assert browser.run(KEY, "ArrowRight")[1].startswith("epoch 2: ")
    assert "EarlyStopping stopped" in browser.run(KEY, "End")[0]


def test_pointer_shows_values_and_button_changes_the_axis(page, tmp_path, browser):
    path = tmp_path / "page.html"
    path.write_text(page, "utf-8")
    browser.open(path)
    told = browser.run(
        "const plot = document.querySelector('.plot'), box = plot.getBoundingClientRect();"
        "plot.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 15}));"
        "return plot.querySelector('.tip').textContent"
    )
    assert told.startswith("epoch 6")
    before = browser.run("return document.querySelector('.curve').getAttribute('d')")
    browser.run("document.querySelector('.panel button').click()")
    assert browser.run("return document.querySelector('.curve').getAttribute('d')") != before
    assert browser.run("return document.querySelector('button').ariaPressed") == "true"
