"""A line of the log for each request, written by a thread of its own.

The event loop only keeps what the line says. Lines are made and written in one go, a tenth of a
second's worth at a time; what a slow terminal or pipe does not take in time is dropped and counted.
"""

import json
import logging
import re
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TextIO

log = logging.getLogger(__name__)

MOST_ENTRIES: Final = 50_000
"""Requests that may wait to be written: a second's worth at a rate that few servers reach."""
_GATHER_S: Final = 0.1
_LONGEST_CLOSE_S: Final = 2.0
_UNSAFE: Final = re.compile(r"[^!#-\[\]-~]")


class Entry(NamedTuple):
    """What a line says; marks are monotonic nanoseconds."""

    client: str
    method: str
    path: str
    status: int
    started_ns: int
    ended_ns: int
    request_id: str
    trace_id: str
    key_name: str


class AccessLog:
    """Takes entries on the loop, from `open` to `close`, and writes them elsewhere."""

    def __init__(
        self, form: Literal["text", "json"], now_ns: Callable[[], int], stream: TextIO | None = None
    ) -> None:
        """Write to `stream`, or to stderr, as all of the server's log."""
        self._line = _json_line if form == "json" else _text_line
        self._now_ns = now_ns
        self._stream = stream
        self._entries: deque[Entry] = deque()
        self._news = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="spanserve-access", daemon=True)
        self.dropped = 0
        """Requests whose lines were not written."""

    def note(self, entry: Entry) -> None:
        """Have a line written for a request that has its answer; or count that there is none."""
        entries = self._entries
        if len(entries) >= MOST_ENTRIES:
            self._drop(1)
            return
        entries.append(entry)
        if len(entries) == 1:
            self._news.set()

    def refused(self, client: tuple[str, int] | None, status: int, request_id: str) -> None:
        """Have a line written for what was no request."""
        now_ns = self._now_ns()
        host = client[0] if client else ""
        self.note(Entry(host, "-", "-", status, now_ns, now_ns, request_id, "", ""))

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write, meanwhile, and what is left at the end."""
        self._thread.start()
        try:
            yield
        finally:
            self._closing = True
            self._news.set()
            self._thread.join(_LONGEST_CLOSE_S)
            if self._thread.is_alive():
                self._drop(len(self._entries))
                log.warning("the access log's last lines could not be written in time")

    def _write(self) -> None:
        while not self._closing:
            self._news.wait()
            if not self._closing:
                time.sleep(_GATHER_S)
            self._news.clear()
            self._write_entries(len(self._entries))
        self._write_entries(len(self._entries))

    def _write_entries(self, count: int) -> None:
        entries = [self._entries.popleft() for _ in range(count)]
        if not entries:
            return
        offset_ns = time.time_ns() - self._now_ns()
        stream = self._stream or sys.stderr
        try:
            stream.write("".join(self._lines(entries, offset_ns)))
            stream.flush()
        except (OSError, ValueError):  # a full disk; a stream that was closed
            self._drop(len(entries))

    def _lines(self, entries: list[Entry], offset_ns: int) -> Iterator[str]:
        for entry in entries:
            seconds, rest_ns = divmod(entry.ended_ns + offset_ns, 1_000_000_000)
            yield self._line(entry, seconds, rest_ns // 1_000_000)

    def _drop(self, count: int) -> None:
        if count and not self.dropped:
            log.warning("the access log cannot be written as fast as requests come; lines are lost")
        self.dropped += count


def _text_line(entry: Entry, seconds: int, millis: int) -> str:
    trace = f" trace={entry.trace_id}" if entry.trace_id else ""
    key = f" key={entry.key_name}" if entry.key_name else ""
    return (
        f"{_local(seconds)},{millis:03d} INFO    spanserve.access: "
        f"{_request(entry.client, entry.method, entry.path)} {entry.status} "
        f"{(entry.ended_ns - entry.started_ns) / 1e6:.3f} ms "
        f"request={entry.request_id}{key}{trace}\n"
    )


def _json_line(entry: Entry, seconds: int, millis: int) -> str:
    trace = f', "trace_id": "{entry.trace_id}"' if entry.trace_id else ""
    key = f', "key": "{entry.key_name}"' if entry.key_name else ""
    return (
        f'{{"time": "{_utc(seconds)}.{millis:03d}Z", "level": "info", '
        f'"logger": "spanserve.access", '
        f"{_json_request(entry.client, entry.method, entry.path)}, "
        f'"status": {entry.status}, '
        f'"duration_ms": {(entry.ended_ns - entry.started_ns) / 1e6:.3f}, '
        f'"request_id": "{entry.request_id}"{key}{trace}}}\n'
    )


# Requests of one second, and of one client, have these in common.
@lru_cache(maxsize=4)
def _local(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


@lru_cache(maxsize=4)
def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@lru_cache(maxsize=1024)
def _request(client: str, method: str, path: str) -> str:
    """Return who asked what; the client's own words are set in quotes, and cannot leave them."""
    words = [_UNSAFE.sub(_escaped, word) for word in (client or "-", method, path)]
    return f'{words[0]} "{words[1]} {words[2]}"'


@lru_cache(maxsize=1024)
def _json_request(client: str, method: str, path: str) -> str:
    message = _request(client, method, path)
    return (
        json.dumps({"message": message, "client": client, "method": method, "path": path})
        .removeprefix("{")
        .removesuffix("}")
    )


def _escaped(unsafe: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in unsafe[0].encode("utf-8", "surrogatepass"))
