"""RemoteMonitor against a real server on this machine."""

import json
import math
import os
import socket
import threading
import time
import urllib.parse
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from callboard import ConfigurationError, callbacks
from callboard.testing import ScriptedRun

os.environ.setdefault("KERAS_BACKEND", "torch")


class Server:
    """Answers POST requests with the statuses it is given, then with 200, and notes them."""

    def __init__(self):
        self.requests = []
        self.statuses = []
        self.released = threading.Event()
        self.released.set()
        noted = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                noted.requests.append((self.path, headers, body))
                noted.released.wait(30)
                self.send_response(noted.statuses.pop(0) if noted.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Stay silent."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                """A client that left before the answer is what some tests are about."""

        self.server = Quiet(("127.0.0.1", 0), Answer)
        self.root = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def sent(self):
        return [
            json.loads(urllib.parse.parse_qs(b.decode())["data"][0]) for _, _, b in self.requests
        ]


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def play(monitor, losses=(0.5, 0.25)):
    return ScriptedRun(losses, monitor="loss").play(monitor)


def test_every_epoch_arrives_in_order(server):
    played = play(callbacks.RemoteMonitor(server.root), [n / 4 for n in range(20)])
    assert server.sent() == [{"epoch": n, "loss": n / 4} for n in range(20)]
    assert [path for path, _, _ in server.requests] == ["/publish/epoch/end/"] * 20
    assert not played.journal.of("not sent")


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("headers", [None, {"X-Run": "7"}, {"content-type": "text/plain"}])
def test_the_request_is_that_of_keras(server, as_json, headers):
    pytest.importorskip("requests")
    keras = pytest.importorskip("keras")
    options = {"path": "/a/b?c=d", "field": "run data", "headers": headers, "send_as_json": as_json}
    logs = {
        "loss": 0.1,
        "val_acc": 1e-9,
        "größe & mehr": 3.5,
        "note": "a=b&c",
        "mean": np.float32(2),
    }
    theirs = keras.callbacks.RemoteMonitor(server.root, **options)
    theirs.on_epoch_end(3, logs)
    ours = callbacks.RemoteMonitor(server.root, **options)
    ours.on_epoch_end(3, logs)
    ours.close()
    (path, their_headers, body), (our_path, our_headers, our_body) = server.requests
    assert (our_path, our_body) == (path, body)
    for name in ("content-type", "x-run", "content-length"):
        assert our_headers.get(name) == their_headers.get(name)


def test_nan_infinities_and_arrays_are_strict_json():
    monitor = callbacks.RemoteMonitor(send_as_json=True)
    body = monitor.body(
        {
            "nan": math.nan,
            "inf": [math.inf, -math.inf],
            "array": np.array([[1.0, math.nan]]),
            "count": np.int64(3),
            "none": None,
            "object": {1: 1j},
        }
    )

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(body, parse_constant=refuse) == {
        "nan": "NaN",
        "inf": ["Infinity", "-Infinity"],
        "array": [[1.0, "NaN"]],
        "count": 3,
        "none": None,
        "object": {"1": "1j"},
    }


def test_a_server_that_fails_for_a_moment_is_asked_again(server):
    server.statuses = [500, 503]
    played = play(callbacks.RemoteMonitor(server.root))
    assert [sent["epoch"] for sent in server.sent()] == [0, 0, 0, 1]
    assert not played.journal.of("not sent")


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (401, 1), (500, 2), (429, 2)])
def test_errors_of_the_server_are_one_warning_and_in_the_journal(server, status, attempts):
    server.statuses = [status] * 99
    with pytest.warns(RuntimeWarning, match=rf"RemoteMonitor: .*HTTP Error {status}") as caught:
        played = play(callbacks.RemoteMonitor(server.root, retries=1), [0.5] * 4)
    assert len(caught) == 1
    assert len(server.requests) == 4 * attempts
    assert "4 of 4 epochs" in played.journal.of("not sent")[-1].cause


def test_a_closed_port_is_one_warning():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monitor = callbacks.RemoteMonitor(f"http://127.0.0.1:{port}", retries=0)
    with pytest.warns(RuntimeWarning, match="2 of 2 epochs|1 of 1 epochs") as caught:
        played = play(monitor)
    assert len(caught) == 1
    assert len(played.history["loss"]) == 2


def test_a_server_that_never_answers_delays_no_epoch_and_the_end_by_the_timeout(server):
    server.released.clear()
    monitor = callbacks.RemoteMonitor(server.root, timeout_s=0.4, retries=5)
    longest = 0.0
    began = time.perf_counter()
    for epoch in range(50):
        before = time.perf_counter()
        monitor.on_epoch_end(epoch, {"loss": 0.5})
        longest = max(longest, time.perf_counter() - before)
    with pytest.warns(RuntimeWarning, match="50 of 50 epochs could not be sent"):
        monitor.close()
    assert longest < 0.3
    assert time.perf_counter() - began < 3


def test_a_slow_server_gets_everything(server):
    server.released.clear()
    monitor = callbacks.RemoteMonitor(server.root, timeout_s=20)
    monitor.on_epoch_end(0, {"loss": 0.5})
    monitor.on_epoch_end(1, {"loss": 0.4})
    assert monitor._outbox.sent == 0
    server.released.set()
    monitor.close()
    assert [sent["epoch"] for sent in server.sent()] == [0, 1]


def test_what_waits_is_bounded(server):
    server.released.clear()
    monitor = callbacks.RemoteMonitor(server.root, timeout_s=20, retries=0)

    def play():
        for epoch in range(300):
            monitor.on_epoch_end(epoch)

    with pytest.warns(RuntimeWarning, match="100 messages were waiting"):
        play()
    assert monitor._outbox._waiting.qsize() <= 100
    server.released.set()
    monitor.close()


def test_it_may_be_used_again_and_after_a_failure(server):
    monitor = callbacks.RemoteMonitor(server.root, retries=0)
    server.statuses = [400]
    with pytest.warns(RuntimeWarning, match="1 of"):
        play(monitor)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        play(monitor)
    assert [sent["epoch"] for sent in server.sent()] == [0, 1, 0, 1]


def test_user_and_password_go_into_a_header_and_into_no_message(server):
    root = server.root.replace("http://", "http://me:s%40cret@")
    server.statuses = [403] * 9
    with pytest.warns(RuntimeWarning, match="403") as caught:
        play(callbacks.RemoteMonitor(root, path="/x?token=s%40cret"))
    path, headers, _ = server.requests[0]
    assert headers["authorization"] == "Basic bWU6c0BjcmV0"
    assert path == "/x?token=s%40cret"
    assert "cret" not in str(caught[0].message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": "localhost:9000"}, "address of a server"),
        ({"root": "file:///etc"}, "address of a server"),
        ({"root": "http://localhost:port"}, "no address"),
        ({"root": 9000}, "root must be a text"),
        ({"path": "/with space"}, "quote them"),
        ({"field": ""}, "field must be a text"),
        ({"headers": "X: 1"}, "headers must be a dict"),
        ({"headers": {"X": 1}}, r"headers\['X'\] must be a text"),
        ({"timeout_s": 0}, "timeout_s must be a finite number above 0"),
        ({"retries": 1.5}, "retries must be a whole number"),
        ({"send_as_json": "yes"}, "send_as_json must be True or False"),
    ],
)
def test_impossible_arguments_are_errors_at_once(options, message):
    with pytest.raises(ConfigurationError, match=message):
        callbacks.RemoteMonitor(**options)
