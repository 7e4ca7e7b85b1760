"""One post to Zipkin, or one question: bytes out, an answer in."""

import gzip
import re
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import version
from typing import Final, cast

import urllib3
from urllib3.exceptions import (
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as NoAnswerError

from spanserve import Answer, Verdict, checkpoint, http_verdict, retry_after_s
from spanserve_zipkin.network import way_to
from spanserve_zipkin.settings import ZipkinSettings
from spanserve_zipkin.target import (
    basic_authorization,
    credentials,
    is_loopback,
    path_and_query,
)

CHUNK_BYTES: Final = 64 * 1024
"""Of a body, what an exporter's process sends at once. The system lets nobody else on the processor
while it copies, and a body has megabytes. With all of it at once, a server whose load shared that
processor kept 0.91 to 0.92 of its throughput; so it keeps 0.94, and 0.92 to 0.93 with half or twice
as much (measured)."""

_MAX_EXCERPT = 200
_MAX_ANSWER_BYTES = 64 * 1024
_QUESTION_TIMEOUT_S = 2.0
_MIN_SECRET = 4  # letters: shorter ones stand in too many words that are none


class Transport:
    """A kept-alive connection to Zipkin, opened at the first post."""

    def __init__(self, settings: ZipkinSettings) -> None:
        self._settings = settings
        self._path = path_and_query(settings.url)
        self._headers = _headers(settings)
        self._gzips = settings.compression == "gzip" or (
            settings.compression == "auto" and not is_loopback(settings.url)
        )
        self._secrets = _secrets(settings)
        self._urlopen, self._close = way_to(settings)

    def post(self, body: bytes | bytearray) -> Answer:
        """Send one body of JSON; never raises for what the network or the other side does."""
        headers = self._headers.copy()
        if self._gzips:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Length"] = str(len(body))
        checkpoint(2 * self._settings.timeout_s)  # to connect, and to get an answer
        try:
            response = self._urlopen(
                "POST",
                self._path,
                body=cast("Iterator[bytes]", chunks(body)),  # it sends whatever has bytes
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
            )
            return self._answer(response)
        except (HTTPError, OSError) as error:
            reason = self._shown(_failure(error, self._settings.timeout_s))
            return Answer(Verdict.LATER, reason)

    def holds(self, path: str, trace_id: str) -> bool | None:
        """Ask the query API, at this path, for a trace; None: nobody answers as Zipkin does."""
        timeout_s = min(self._settings.timeout_s, _QUESTION_TIMEOUT_S)
        try:
            response = self._urlopen(
                "GET",
                path,
                headers=self._headers,
                timeout=urllib3.Timeout(connect=timeout_s, read=timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            content = _content(response)
        except (HTTPError, OSError):
            return None
        if response.status == HTTPStatus.OK and content.startswith(b"[{"):
            return True
        # Zipkin's own words, an id of 64 bits in its short form: any other server may answer
        # 404 to a path that it does not know.
        absent = {f"{each} not found".encode() for each in (trace_id, trace_id[16:])}
        return False if response.status == HTTPStatus.NOT_FOUND and content in absent else None

    def close(self) -> None:
        """Close the connection."""
        self._close()

    def _answer(self, response: urllib3.BaseHTTPResponse) -> Answer:
        return Answer(
            http_verdict(response.status),
            self._reason(response.status, _content(response)),
            retry_after_s(response.headers.get("Retry-After"), now_s=time.time()),
        )

    def _reason(self, status: int, content: bytes) -> str:
        if HTTPStatus(300) <= status < HTTPStatus(400):
            return f"answered {status}: redirects are not followed, zipkin.url must be the last one"
        text = self._shown(content.decode("utf-8", "replace"))
        return f"answered {status}" + (f": {text}" if text else "")

    def _shown(self, text: str) -> str:
        """Return the text fit for a log: without secrets, on one line, short."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        words = re.sub(r"[^!-~\xa1-\uffff]+", " ", text).strip()
        return words if len(words) <= _MAX_EXCERPT else words[: _MAX_EXCERPT - 1] + "…"


def chunks(body: bytes | bytearray) -> Iterator[memoryview]:
    """Yield a body piece by piece, and let others go first in between.

    That is for an exporter's process, which calls a tracer on its main thread. On a thread of a
    server a body is one piece: after each, the thread would have to wait for the interpreter
    again, and fall behind a server that is busy (measured: most spans were dropped).
    """
    view = memoryview(body)
    if threading.current_thread() is not threading.main_thread():
        yield view
        return
    for start in range(0, len(view), CHUNK_BYTES):
        yield view[start : start + CHUNK_BYTES]
        checkpoint()


def _content(response: urllib3.BaseHTTPResponse) -> bytes:
    content = b""
    try:
        content = response.read(_MAX_ANSWER_BYTES)
    except (HTTPError, OSError):  # the status came, and that is the answer
        response.close()
    if len(content) == _MAX_ANSWER_BYTES:
        response.close()  # whatever this is, it is not read to its end
    response.release_conn()
    return content


def _headers(settings: ZipkinSettings) -> urllib3.HTTPHeaderDict:
    headers = urllib3.HTTPHeaderDict(
        {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"spanserve-zipkin/{version('spanserve-zipkin')}",
            "b3": "0",  # no trace of the posts themselves
        }
    )
    if authorization := basic_authorization(settings.url):
        headers["Authorization"] = authorization
    for name, value in settings.headers.items():
        headers[name] = value.get_secret_value()
    return headers


def _secrets(settings: ZipkinSettings) -> list[str]:
    values = [value.get_secret_value() for value in settings.headers.values()]
    words = {word for value in values for word in (value, *value.split())}
    words |= credentials(settings.url)
    # Longest first, since one may be a part of another.
    return sorted((word for word in words if len(word) >= _MIN_SECRET), key=len, reverse=True)


def _failure(error: Exception, timeout_s: float) -> str:
    if isinstance(error, ProxyError):
        return f"the proxy cannot be used: {_system_text(error)}"
    if isinstance(error, NameResolutionError):
        return "the host's name cannot be resolved"
    if isinstance(error, NewConnectionError):
        return f"cannot connect: {_system_text(error)}"
    if isinstance(error, NoAnswerError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, SSLError):
        return f"TLS failed: {error}"
    return f"the connection broke: {_system_text(error)}"


def _system_text(error: BaseException) -> str:
    """Return the words of the operating system's error beneath, which name no address."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__
