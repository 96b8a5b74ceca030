"""The real TensorBoard, asked over HTTP as its pages ask it."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

LOADERS = ["true", "false"]

# Without TensorFlow, as for most users of this package; where it is installed, loading it takes
# most of the time.
PROGRAM = (
    "import sys; sys.modules['tensorflow'] = None; "
    "from tensorboard.main import run_main; run_main()"
)


class Server:
    """A running server."""

    def __init__(self, url):
        self.url = url

    def read(self, path, **query):
        """Return the bytes of an answer."""
        address = f"{self.url}/data/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.read()

    def get(self, path, **query):
        """Return an answer that is JSON."""
        return json.loads(self.read(path, **query))

    def post(self, path, **body):
        """Return the answer to a question that is JSON."""
        request = urllib.request.Request(
            f"{self.url}/data/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def until(self, condition):
        """Wait until a condition on the server holds; return its value."""
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(urllib.error.HTTPError, KeyError, IndexError):
                value = condition()
                if value:
                    return value
            assert time.monotonic() < deadline, "TensorBoard does not show it"
            time.sleep(0.1)

    def scalars(self, run, tag):
        """Return a curve as (step, value)."""
        rows = self.get("plugin/scalars/scalars", run=run, tag=tag)
        return [(step, value) for _, step, value in rows]


@contextlib.contextmanager
def serving(logdir, load_fast="true"):
    """Serve a folder on the loopback interface."""
    command = [sys.executable, "-c", PROGRAM, f"--logdir={logdir}", "--host=127.0.0.1"]
    command += ["--port=0", f"--load_fast={load_fast}", "--reload_interval=1"]
    command += ["--samples_per_plugin=scalars=100000,images=100,text=100,histograms=100"]
    log = logdir.parent / f"tensorboard-{load_fast}.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"http://[\d.]+:\d+", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield Server(found[0])
    finally:
        process.terminate()
        process.wait(30)
