import shutil
import tempfile
from pathlib import Path

import pytest

AXE = pytest.importorskip("axe_core_python", reason="axe is not installed")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Browser:
    """A headless Chromium that shows pages from files."""

    def __init__(self, driver):
        self.driver = driver
        self.axe = (Path(AXE.__file__).parent / "axe.min.js").read_text("utf-8")

    def open(self, path, *, width=1600, scheme="light"):
        """Open a page and forget what the browser logged before."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.get_log("browser")
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get(path.resolve().as_uri())
        return self

    def run(self, script, *arguments):
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *arguments)

    def messages(self):
        """What the console says."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def violations(self):
        """Names of the rules of accessibility that the page breaks, and where."""
        self.run(self.axe)
        found = self.driver.execute_async_script(
            "axe.run(document, {resultTypes: ['violations']}).then(arguments[0])"
        )
        return [(each["id"], [n["html"] for n in each["nodes"]]) for each in found["violations"]]


@pytest.fixture(scope="session")
def browser():
    """A Chromium, if there is one."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no chromium with its driver: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(driver)
        opened = webdriver.Chrome(options=options, service=service)
        yield Browser(opened)
        opened.quit()
