"""The pages of TensorBoard in a browser: what was written is drawn.

The screenshots are kept in the folder that the environment variable CALLBOARD_SCREENSHOTS names.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from tensorboard_server import serving

from callboard.callbacks.weight_image import weight_image
from callboard.events import EventWriter, Node

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--window-size=1400,900",
]  # fmt: skip

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no chromium on this machine")

# What each page has to show, as a text that stands in it when it is drawn.
PAGES = {
    "timeseries": "epoch_loss",
    "scalars": "epoch_loss",
    "images": "picture",
    "histograms": "weights",
    "distributions": "weights",
    "audio": "tone",
    "text": "note",
    "pr_curves": "curve",
    "custom_scalars": "both losses",
    "hparams": "learning_rate",
    "graphs": "mynet",
    "projector": "points",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    logdir = tmp_path_factory.mktemp("browser") / "logs"
    generator = np.random.default_rng(0)
    for name, rate in (("first", 0.1), ("second", 0.2)):
        for part, noise in (("train", 0.02), ("validation", 0.05)):
            with EventWriter(logdir / name / part) as writer:
                for step in range(60):
                    loss = np.exp(-step * rate / 3) + noise * generator.random()
                    writer.add_scalar("epoch_loss", loss, step)
                    if step % 6 == 0:
                        values = generator.normal(step / 20, 1 + step / 60, 1000)
                        writer.add_histogram("weights", values, step)
        with EventWriter(logdir / name) as writer:
            writer.add_hparams({"learning_rate": rate, "optimizer": "adam"})
    with EventWriter(logdir / "first" / "train") as writer:
        picture = weight_image(generator.normal(size=(16, 3, 5, 5)))
        writer.add_image("picture", picture.content, 1)
        writer.add_audio("tone", np.sin(np.arange(8000) / 5), 1, sample_rate=8000)
        writer.add_text("note", "A **note** with a | table |\n\n| a | b |\n|---|---|\n| 1 | 2 |", 1)
        scores = generator.random(500)
        writer.add_pr_curve("curve", generator.random(500) < scores, scores, 1)
        writer.add_custom_scalars({"training": {"both losses": ["epoch_loss$"]}})
        nodes = [
            Node("input", "Input", (), (32, 8), "float32"),
            Node("mynet/dense/weight", "Parameter", (), (4, 8), "float32"),
            Node(
                "mynet/dense/linear", "linear", ("input", "mynet/dense/weight"), (32, 4), "float32"
            ),
            Node("mynet/relu", "relu", ("mynet/dense/linear",), (32, 4), "float32"),
            Node("output", "Output", ("mynet/relu",), (32, 4), "float32"),
        ]
        writer.add_graph(nodes)
        labels = [f"point {n}" for n in range(60)]
        writer.add_embedding("points", generator.normal(size=(60, 8)), metadata=labels)
    with serving(logdir) as server:
        server.until(lambda: server.get("plugin/audio/tags"))
        server.until(lambda: len(server.scalars("second/validation", "epoch_loss")) == 60)
        yield server


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    program = shutil.which("chromedriver")
    if program is None:
        pytest.skip("there is no chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options, webdriver.ChromeService(program))
    yield driver
    driver.quit()


# The text of a page whose parts are shadow trees of their own.
SHOWN = """
const seen = [];
const walk = node => {
  if (node.shadowRoot) walk(node.shadowRoot);
  if (node.contentDocument?.body) walk(node.contentDocument.body);
  for (const child of node.childNodes) {
    if (child.nodeType === 3) seen.push(child.textContent);
    else if (child.nodeType === 1 && !['STYLE', 'SCRIPT', 'TEMPLATE'].includes(child.tagName))
      walk(child);
  }
};
walk(document.body);
return seen.join(' ');
"""


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_drawn(server, driver, page, tmp_path):
    folder = Path(os.environ.get("CALLBOARD_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    driver.get(f"{server.url}/#{page}")
    driver.refresh()
    driver.set_script_timeout(30)
    server.until(lambda: PAGES[page] in driver.execute_script(SHOWN))
    # Drawn is what no longer changes.
    shots = [b"", driver.get_screenshot_as_png()]
    while shots[-1] != shots[-2] and len(shots) < 20:
        shots.append(driver.get_screenshot_as_png())
    assert len(shots[-1]) > 10_000
    (folder / f"{page}.png").write_bytes(shots[-1])
