"""Reads the file: the entries of all chunks, kept in memory once read, and single traces."""

import json
import logging
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from spanserve_local.store import body, summary
from spanserve_local.store.arrays import Cells
from spanserve_local.store.schema import reading
from spanserve_local.store.snapshot import Chunk, Entries
from spanserve_local.store.summary import Names, Summary
from spanserve_local.store.table import Block, spans_of

log = logging.getLogger(__name__)

MAX_ROWS: Final = 500_000
"""Entries that one question looks at, the newest; also how many are kept in memory."""

_MAX_BODIES: Final = 8
_MAX_CONNECTIONS_KEPT: Final = 4


class Reader:
    """Answers from the file, on any thread; what it keeps in memory is bounded."""

    def __init__(
        self,
        file: Path,
        *,
        max_age_s: float | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """What is older than `max_age_s` is not there, though nobody wrote since, and let it go."""
        self._file = file
        self._max_age_s = max_age_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._inode = 0
        self._names = Names()
        self._kept: dict[int, Mapping[str, Cells]] = {}
        self._bodies: OrderedDict[int, list[Block]] = OrderedDict()
        self._last: tuple[tuple[int, ...], Entries] = (), Entries((), (), (), 0)
        self._closed = False

    def entries(
        self, *, since_ns: int | None = None, until_ns: int | None = None, max_rows: int = MAX_ROWS
    ) -> Entries:
        """Return the entries that may have begun in this time; raises sqlite3.Error."""
        with self._transaction() as connection:
            chunks, left_out = self._chunks(connection, since_ns, until_ns, max_rows)
            found = self._summaries(connection, [chunk.id for chunk in chunks])
        with self._lock:
            key = *(chunk.id for chunk in chunks), left_out
            if key != self._last[0]:
                self._last = key, Entries(chunks, found, self._names.all, left_out)
            return self._last[1]

    def trace(self, trace_id: str) -> tuple[Mapping[str, Any], list[dict[str, Any]]] | None:
        """Return a trace's resource and its spans, in the file's order; None: there is none."""
        high, low = np.uint64(int(trace_id[:16], 16)), np.uint64(int(trace_id[16:], 16))
        with self._transaction() as connection:
            chunks, _ = self._chunks(connection, None, None, 10 * MAX_ROWS)
            ids = [
                chunk.id
                for chunk, columns in zip(
                    chunks, self._summaries(connection, [c.id for c in chunks]), strict=True
                )
                if ((columns["low"] == low) & (columns["high"] == high)).any()
            ]
            if not ids:
                return None
            ids.sort()
            blocks = [self._blocks(connection, chunk) for chunk in ids]
            resource = self._resource(connection, ids[0])
        spans = [
            span
            for several in blocks
            for block in several
            for table in block
            for span in spans_of(
                table, np.flatnonzero((table.low == low) & (table.high == high)).tolist()
            )
        ]
        return resource, spans

    def has(self, trace_id: str) -> bool:
        """Say whether the file has any span of a trace."""
        high, low = np.uint64(int(trace_id[:16], 16)), np.uint64(int(trace_id[16:], 16))
        columns = self.entries().columns
        return bool(((columns["low"] == low) & (columns["high"] == high)).any())

    def blocks(self, chunk: int) -> list[Block]:
        """Return all that a chunk holds; nothing where it is gone meanwhile."""
        with self._transaction() as connection:
            return self._blocks(connection, chunk)

    def totals(self) -> Mapping[str, Any]:
        """Return how much there is, from when, and what was let go."""
        with self._transaction() as connection:
            [[traces, spans, oldest_ns, newest_ns]] = connection.execute(
                "SELECT sum(traces), sum(spans), min(first_ns), max(last_ns) FROM chunks"
            )
            [[pages]] = connection.execute("PRAGMA page_count")
            [[free]] = connection.execute("PRAGMA freelist_count")
            [[page_bytes]] = connection.execute("PRAGMA page_size")
            counters = dict(connection.execute("SELECT name, spans FROM counters").fetchall())
            limits = dict(connection.execute("SELECT name, value FROM limits").fetchall())
            service = connection.execute(
                "SELECT service FROM resources ORDER BY id DESC LIMIT 1"
            ).fetchone()
        return {
            "traces": traces or 0,
            "spans": spans or 0,
            "bytes": (pages - free) * page_bytes,
            "oldest_ns": oldest_ns,
            "newest_ns": newest_ns,
            "dropped": counters,
            "limits": limits,
            "service": service[0] if service else "",
        }

    def close(self) -> None:
        """Close what is open; questions that run meanwhile close theirs."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._taken()
        try:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._closed and len(self._idle) < _MAX_CONNECTIONS_KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _taken(self) -> sqlite3.Connection:
        """Return a connection that nobody else uses, to the file as it is now."""
        try:
            inode = self._file.stat().st_ino
        except OSError:
            inode = 0
        with self._lock:
            if inode != self._inode:
                self._inode = inode
                self._kept.clear()
                self._bodies.clear()
                self._names = Names()
                self._last = (), Entries((), (), (), 0)
                for each in self._idle:
                    each.close()
                self._idle.clear()
            if self._idle:
                return self._idle.pop()
        return reading(self._file)

    def _chunks(
        self,
        connection: sqlite3.Connection,
        since_ns: int | None,
        until_ns: int | None,
        max_rows: int,
    ) -> tuple[list[Chunk], int]:
        """Return the newest chunks of a time, and how many entries are in those left out."""
        found: list[Chunk] = []
        rows = left_out = 0
        if self._max_age_s is not None:
            oldest_ns = int((self._now_s() - self._max_age_s) * 1e9)
            since_ns = oldest_ns if since_ns is None else max(since_ns, oldest_ns)
        for row in connection.execute(
            "SELECT id, first_ns, last_ns, traces FROM chunks "
            "WHERE last_ns >= ? AND first_ns <= ? ORDER BY last_ns DESC",
            (
                -(1 << 63) if since_ns is None else since_ns,
                (1 << 63) - 1 if until_ns is None else until_ns,
            ),
        ):
            chunk = Chunk(*row)
            if rows + chunk.traces > max_rows and found:
                left_out += chunk.traces
                continue
            rows += chunk.traces
            found.append(chunk)
        return found, left_out

    def _summaries(
        self, connection: sqlite3.Connection, ids: Sequence[int]
    ) -> list[Mapping[str, Cells]]:
        with self._lock:
            known = {chunk: self._kept[chunk] for chunk in ids if chunk in self._kept}
        for chunk in ids:
            if chunk not in known:
                [[packed]] = connection.execute(
                    "SELECT summary FROM chunks WHERE id = ?", (chunk,)
                ).fetchall()
                read = self._summary(chunk, packed)
                with self._lock:
                    known[chunk] = read.renamed(self._names).columns
        with self._lock:
            self._kept = _newest({**self._kept, **known}, set(ids))
        return [known[chunk] for chunk in ids]

    def _summary(self, chunk: int, packed: bytes) -> Summary:
        """Return the entries of a chunk; none where it is broken, which costs no other chunk."""
        try:
            return summary.decoded(packed)
        except Exception as error:  # noqa: BLE001  # whatever is made of broken bytes
            log.warning("chunk %d of %s is broken: %s", chunk, self._file, error)
            return summary.joined([])

    def _blocks(self, connection: sqlite3.Connection, chunk: int) -> list[Block]:
        with self._lock:
            if chunk in self._bodies:
                self._bodies.move_to_end(chunk)
                return self._bodies[chunk]
        rows = connection.execute("SELECT body FROM chunks WHERE id = ?", (chunk,)).fetchall()
        try:
            blocks = [block for [packed] in rows for block in body.decoded(packed)]
        except Exception as error:  # whatever is made of broken bytes
            raise sqlite3.DatabaseError(f"a chunk of {self._file} is broken: {error}") from error
        with self._lock:
            self._bodies[chunk] = blocks
            if len(self._bodies) > _MAX_BODIES:
                self._bodies.popitem(last=False)
        return blocks

    @staticmethod
    def _resource(connection: sqlite3.Connection, chunk: int) -> Mapping[str, Any]:
        row = connection.execute(
            "SELECT attributes FROM resources JOIN chunks ON resource = resources.id "
            "WHERE chunks.id = ?",
            (chunk,),
        ).fetchone()
        found: Mapping[str, Any] = json.loads(row[0]) if row else {}
        return found


def _newest(
    kept: dict[int, Mapping[str, Cells]], wanted: set[int]
) -> dict[int, Mapping[str, Cells]]:
    """Return what is worth keeping: what was wanted just now, and no more rows than `MAX_ROWS`."""
    if len(kept) == len(wanted) and sum(len(each["low"]) for each in kept.values()) <= MAX_ROWS:
        return kept
    newest: dict[int, Mapping[str, Cells]] = {}
    rows = 0
    for chunk in sorted(kept, reverse=True):
        rows += len(kept[chunk]["low"])
        if rows > MAX_ROWS and newest:
            break
        newest[chunk] = kept[chunk]
    return newest
