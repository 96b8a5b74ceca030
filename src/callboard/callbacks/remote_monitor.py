"""Send the metrics of every epoch to a server."""

from __future__ import annotations

import base64
import json
import math
import urllib.parse
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from callboard._core.callback import Callback
from callboard._core.errors import ConfigurationError
from callboard.callbacks.arguments import flag, number, text, whole
from callboard.callbacks.outbox import Outbox

if TYPE_CHECKING:
    from callboard._core.logs import Logs

__all__ = ["RemoteMonitor"]

_TOO_EARLY_OR_MANY = (408, 425, 429)  # errors of the caller's that another attempt may mend


class RemoteMonitor(Callback):
    """Send the metrics of every epoch to a server, by HTTP POST.

    A thread of its own sends them, so that training neither waits for the server nor ends by what
    it answers: what could not be delivered is one warning and an entry in ``run.journal``. When
    training ends, it waits ``timeout_s`` at most for what has not been sent yet.

    The body is that of Keras: a form with one ``field`` that holds JSON, or JSON alone. Metrics
    that are arrays are nested lists; NaN and infinities, which JSON lacks, are the texts "NaN",
    "Infinity" and "-Infinity".

    Args:
        root: Beginning of the server's address, ``http://`` or ``https://``; a user and password
            in it are sent as basic authentication.
        path: The rest of the address.
        field: Name of the form's field.
        headers: Further headers of the request.
        send_as_json: Send JSON instead of a form.
        timeout_s: Seconds that an attempt may wait for the server, and the end of training for
            the last message.
        retries: Further attempts if the server cannot be reached or answers with 5xx.

    Raises:
        ConfigurationError: For an address that is no HTTP address, headers that are no texts, or a
            field that is empty.

    Example:
        >>> from callboard.testing import ScriptedRun
        >>> monitor = RemoteMonitor("http://localhost:9000", timeout_s=1)
        >>> monitor.body({"epoch": 0, "loss": float("nan")})
        b'data=%7B%22epoch%22%3A+0%2C+%22loss%22%3A+%22NaN%22%7D'

    Source: Keras 3.15 ``RemoteMonitor``, which needs ``requests`` and waits for the server without
        a limit.
    """

    order: ClassVar[int] = 10
    writes_only: ClassVar[bool] = True
    adds: ClassVar[tuple[str, ...] | None] = ()

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: Mapping[str, str] | None = None,
        send_as_json: bool = False,
        *,
        timeout_s: float = 5.0,
        retries: int = 2,
    ) -> None:
        self.root = text(root, "root")
        self.path = text(path, "path", may_be_empty=True)
        self.field = text(field, "field")
        self.headers = headers
        self.send_as_json = flag(send_as_json, "send_as_json")
        self.timeout_s = number(timeout_s, "timeout_s", above=0.0)
        self.retries = whole(retries, "retries")
        self._url, credentials = _address(self.root + self.path)
        kind = "application/json" if send_as_json else "application/x-www-form-urlencoded"
        self._headers = {"Content-Type": kind, "User-Agent": "callboard"} | credentials
        if headers is not None and not isinstance(headers, Mapping):
            raise ConfigurationError(f"headers must be a dict of texts, or None; got {headers!r}")
        for name, value in (headers or {}).items():
            self._headers = {
                own: given for own, given in self._headers.items() if own.lower() != name.lower()
            } | {text(name, "headers"): text(value, f"headers[{name!r}]", may_be_empty=True)}
        self._outbox: Outbox | None = None
        self._warned = False

    def body(self, values: Mapping[str, Any]) -> bytes:
        """Return the body of the request that sends these values."""
        sent = json.dumps({name: _strict(value) for name, value in values.items()}, allow_nan=False)
        return (sent if self.send_as_json else urllib.parse.urlencode({self.field: sent})).encode()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Have the epoch's metrics sent."""
        if self._outbox is None:
            self._outbox = Outbox(self._post, may_retry=_may_pass, retries=self.retries)
        self._outbox.put(self.body({"epoch": epoch, **(logs or {})}))
        if not self._warned:
            self._report()

    def close(self) -> None:
        """Wait for what has not been sent yet, ``timeout_s`` at most."""
        if self._outbox is not None:
            self._outbox.close(self.timeout_s)
            self._report()
            self._outbox = None

    def reset(self) -> None:
        """Warn anew."""
        self._warned = False

    def _post(self, body: bytes) -> None:
        import urllib.request  # here: a quarter of what import callboard would take

        request = urllib.request.Request(  # noqa: S310 - checked to be http or https
            self._url, data=body, headers=self._headers, method="POST"
        )
        with urllib.request.urlopen(request, timeout=self.timeout_s):  # noqa: S310 - as above
            """The answer to what was sent says nothing that is needed."""

    def _report(self) -> None:
        outbox = self._outbox
        if outbox is None or not outbox.lost:
            return
        done = outbox.sent + outbox.lost
        what = f"{outbox.lost} of {done} epochs could not be sent to {self._shown}: {outbox.error}"
        if self._run is not None:
            self._run.decide(self, "not sent", what)
        if not self._warned:
            self._warned = True
            warnings.warn(f"RemoteMonitor: {what}", RuntimeWarning, stacklevel=2)

    @property
    def _shown(self) -> str:
        """The address without what may be secret."""
        return self._url.partition("?")[0]


def _address(url: str) -> tuple[str, dict[str, str]]:
    """Return an address without user and password, and the header that has them."""
    parts = urllib.parse.urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(f"root={url!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            "root must be the address of a server, such as 'http://localhost:9000'; "
            f"with path, the address is {url!r}"
        )
    if any(ord(character) <= 32 or ord(character) > 126 for character in url):
        raise ConfigurationError(
            f"the address {url!r} has characters that an address cannot have; quote them as "
            "urllib.parse.quote does"
        )
    if parts.username is None:
        return url, {}
    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    place = host if port is None else f"{host}:{port}"
    encoded = base64.b64encode(pair.encode()).decode()
    return parts._replace(netloc=place).geturl(), {"Authorization": f"Basic {encoded}"}


def _may_pass(error: Exception) -> bool:
    """Say whether another attempt may succeed."""
    import http.client  # as above
    import urllib.error  # as above

    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return error.code >= 500 or error.code in _TOO_EARLY_OR_MANY
    return isinstance(error, OSError | http.client.HTTPException)


def _strict(value: Any) -> Any:
    """Return a value as strict JSON can hold it."""
    tolist = getattr(value, "tolist", None)
    if tolist is not None:
        value = tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(name): _strict(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
