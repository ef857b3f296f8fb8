"""Talking to a model server: JSON over HTTP with time limits, few retries and errors in words."""

from __future__ import annotations

import ipaddress
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from entropilot.errors import ConfigurationError, LimitError, ModelError, require

RETRIED: Final = (408, 429, 500, 502, 503, 504)  # a server that is busy, starting or restarting
MAX_BYTES: Final = 256 << 20  # of one reply
LONGEST_WAIT: Final = 8.0  # seconds between two attempts
CONNECT_SECONDS: Final = 10.0


class Reply(NamedTuple):
    """Status and decoded JSON of a reply; the value is None where it is no JSON."""

    status: int
    value: Any

    @property
    def is_good(self) -> bool:
        """Whether the server did what was asked."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """What the server says is wrong, in at most 300 characters."""
        found = self.value
        for key in ("error", "message", "detail"):
            if isinstance(found, dict) and key in found:
                found = found[key]
        return f"status {self.status}: {str(found)[:300]}" if found else f"status {self.status}"


@dataclass(frozen=True)
class Server:
    """A server with an OpenAI-compatible address, for example ``http://localhost:8000/v1``."""

    client: Any  # httpx.Client
    url: str  # without a slash at the end
    retries: int
    sleep: Callable[[float], None] = time.sleep

    @property
    def root(self) -> str:
        """The address without /v1, where vLLM has its tokenizer."""
        return self.url.removesuffix("/v1")

    def get(self, url: str) -> Reply:
        """Ask for a document."""
        return self._send("GET", url, None)

    def post(self, url: str, payload: Any) -> Reply:
        """Send a JSON value and read the answer."""
        return self._send("POST", url, payload)

    def _send(self, method: str, url: str, payload: Any) -> Reply:
        """One request, tried again while the server is unreachable or busy.

        Raises:
            ModelError: it stays so, or the key is refused.
            LimitError: the reply is too large.
        """
        import httpx

        reason = ""
        for attempt in range(self.retries + 1):
            if attempt:
                self.sleep(min(0.5 * 2 ** (attempt - 1), LONGEST_WAIT))
            try:
                content = None if payload is None else msgspec.json.encode(payload)
                with self.client.stream(method, url, content=content) as response:
                    reply = Reply(response.status_code, _decoded(_limited(response, url)))
            except httpx.TimeoutException as error:
                reason = f"no reply in time ({type(error).__name__})"
                continue
            except httpx.RequestError as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if reply.status in (401, 403):
                raise ModelError(
                    f"{url} refuses the request ({reply.message}); put the key of the server into "
                    "ENTROPILOT_API_KEY"
                )
            if reply.status not in RETRIED:
                return reply
            reason = reply.message
        raise ModelError(
            f"{url} does not answer after {self.retries + 1} attempts: {reason}. Check that the "
            "server runs there, or allow more time"
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def open_server(
    url: str, *, api_key: str | None = None, timeout: float = 120.0, retries: int = 3
) -> Server:
    """A server at an address; nothing is sent yet.

    Args:
        url: http or https, up to and with "/v1".
        api_key: sent as a bearer token, to this server only; redirects are not followed.
        timeout: seconds for one reply, > 0.
        retries: further attempts after one that fails, >= 0.

    Raises:
        ConfigurationError: the address is none, or a number is out of range.
        MissingExtraError: httpx is not installed.

    Examples:
        >>> open_server("http://localhost:8000/v1/").root
        'http://localhost:8000'
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise ConfigurationError(
            f"the address {url!r} is none of a server; expected for example "
            "http://localhost:8000/v1"
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            f"the address of {parts.hostname} holds a name or password; put the key into "
            "ENTROPILOT_API_KEY"
        )
    if timeout <= 0 or retries < 0:
        raise ConfigurationError(
            f"timeout = {timeout} and retries = {retries}; expected timeout > 0 and retries >= 0"
        )
    httpx = require("httpx", extra="http", purpose="an inspector behind HTTP")
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    client = httpx.Client(
        headers=headers,
        timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
        follow_redirects=False,
        trust_env=not _is_loopback(parts.hostname),  # a proxy can't reach this machine's own ports
    )
    return Server(client, url.rstrip("/"), retries)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _limited(response: Any, url: str) -> bytes:
    found = bytearray()
    for piece in response.iter_bytes():
        found += piece
        if len(found) > MAX_BYTES:
            raise LimitError(
                f"a reply of {url} is larger than {MAX_BYTES >> 20} MiB; ask for fewer listed "
                "tokens, or shorten the chain"
            )
    return bytes(found)


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
