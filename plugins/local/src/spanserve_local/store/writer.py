"""Writes chunks, puts small ones together, and lets the oldest go; in the exporter alone."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from spanserve import Resource, Span, checkpoint
from spanserve_local.place import make_private
from spanserve_local.store import body, summary, table
from spanserve_local.store.gather import Gathered, gathered
from spanserve_local.store.schema import writing
from spanserve_local.store.table import json_text, row_count

log = logging.getLogger(__name__)

FULL_TRACES: Final = 1000
"""A chunk of so many is not put together with others any more."""

FAN_IN: Final = 16
"""So many chunks of a level become one of the next."""

MOST_TRACES: Final = 4000
"""A chunk holds no more: whoever wants one of its traces decompresses all."""

FULL_BYTES: Final = 512 * 1024
"""The same of a chunk of so many bytes, whatever is in it."""

_RESERVE: Final = 3 * 1024 * 1024
"""Of the bound, for what is written ahead and for one more chunk."""
_FULL: Final = -1
_VACUUM_PAGES: Final = 512
_AGE_CHECK_S: Final = 10.0


class Writer:
    """The only writer of this process; others may write to the same file."""

    def __init__(
        self,
        file: Path,
        resource: Resource,
        *,
        max_bytes: int,
        max_age_s: float,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._resource = resource
        self._max_bytes = max_bytes - min(_RESERVE, max_bytes // 3)
        self._limits = {"max_bytes": max_bytes, "max_age_s": max_age_s}
        self._max_age_s = max_age_s
        self._now_s = now_s
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._resource_id = 0
        self._next_age_check_s = 0.0

    def append(self, spans: Sequence[Span]) -> tuple[int, str | None]:
        """Write spans as a chunk, or several; raises sqlite3.Error, OSError or ConfigError.

        Either all are written or none is, but for those that are broken, which are counted, with
        what is wrong with them.
        """
        connection = self._connected()
        chunks = [gathered(part) for part in _parts(spans)]
        checkpoint()
        with self._transaction(connection):
            connection.execute(
                "INSERT OR IGNORE INTO resources (id, service, attributes) VALUES (?, ?, ?)",
                (self._resource_id, *self._told()),
            )
            for chunk in chunks:
                self._insert(connection, chunk, 0)
            self._drop_old(connection)
        with suppress(sqlite3.OperationalError):  # another worker writes: later, then
            self._merge(connection)
            self._shrink(connection)
        failures = [chunk.failure for chunk in chunks if chunk.failure]
        return sum(chunk.broken for chunk in chunks), failures[0] if failures else None

    def close(self) -> None:
        """Put this process's small chunks together, and close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                self._merge(connection, least=2)
                # Whoever closes it last may only be reading, and could not.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        """Return the connection; a new one where the file is another than it was."""
        if self._connection is not None:
            with suppress(OSError):
                if os.stat(self._file).st_ino == self._inode:  # noqa: PTH116  # a tenth of Path's time
                    return self._connection
            self._connection.close()
            self._connection = None
        make_private(self._file)
        connection = writing(self._file)
        self._inode = self._file.stat().st_ino
        with self._transaction(connection):
            cursor = connection.execute(
                "INSERT INTO resources (service, attributes) VALUES (?, ?)", self._told()
            )
            self._resource_id = cursor.lastrowid or 0
            connection.executemany(
                "INSERT OR REPLACE INTO limits (name, value) VALUES (?, ?)", self._limits.items()
            )
        self._connection = connection
        return connection

    def _told(self) -> tuple[str, str]:
        return self._resource.service_name, json_text(dict(self._resource.attributes))

    @contextmanager
    def _transaction(self, connection: sqlite3.Connection) -> Iterator[None]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _insert(self, connection: sqlite3.Connection, chunk: Gathered, level: int) -> None:
        entries = chunk.summary
        if not len(entries):
            return
        packed = summary.encoded(entries), body.encoded(chunk.blocks)
        size = sum(map(len, packed))
        is_full = len(entries) >= FULL_TRACES or size >= FULL_BYTES
        starts = entries.columns["start_ns"]
        connection.execute(
            "INSERT INTO chunks (resource, level, first_ns, last_ns, traces, spans, bytes, "
            "summary, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._resource_id,
                _FULL if is_full else level,
                int(starts.min()),
                int(starts.max()),
                len(entries),
                row_count(chunk.blocks),
                size,
                *packed,
            ),
        )

    def _drop_old(self, connection: sqlite3.Connection) -> None:
        """Let go what is too old, and the oldest of what is too much."""
        now_s = self._now_s()
        if now_s >= self._next_age_check_s:
            self._next_age_check_s = now_s + _AGE_CHECK_S
            oldest_ns = int((now_s - self._max_age_s) * 1e9)
            self._drop(connection, oldest_ns, "age")
        too_much = self._used_bytes(connection) - self._max_bytes
        if too_much <= 0:
            return
        until_ns, freed = 0, 0
        for last_ns, size in connection.execute(
            "SELECT last_ns, bytes FROM chunks ORDER BY last_ns"
        ):
            until_ns, freed = last_ns, freed + size
            if freed >= too_much + self._max_bytes // 50:
                break
        self._drop(connection, until_ns, "bytes")

    def _drop(self, connection: sqlite3.Connection, until_ns: int, why: str) -> None:
        """Let go the chunks that end by a time."""
        [[spans]] = connection.execute(
            "SELECT sum(spans) FROM chunks WHERE last_ns <= ?", (until_ns,)
        )
        if not spans:
            return
        connection.execute("DELETE FROM chunks WHERE last_ns <= ?", (until_ns,))
        self._count(connection, why, spans)
        connection.execute(
            "DELETE FROM resources WHERE id != ? AND id NOT IN (SELECT resource FROM chunks)",
            (self._resource_id,),
        )

    @staticmethod
    def _count(connection: sqlite3.Connection, name: str, spans: int) -> None:
        connection.execute(
            "INSERT INTO counters (name, spans) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET spans = spans + excluded.spans",
            (name, spans),
        )

    @staticmethod
    def _used_bytes(connection: sqlite3.Connection) -> int:
        [[pages]] = connection.execute("PRAGMA page_count")
        [[free]] = connection.execute("PRAGMA freelist_count")
        [[page_bytes]] = connection.execute("PRAGMA page_size")
        return int((pages - free) * page_bytes)

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Give back what a smaller bound than before leaves free."""
        [[pages]] = connection.execute("PRAGMA page_count")
        [[page_bytes]] = connection.execute("PRAGMA page_size")
        if pages * page_bytes > self._max_bytes:
            # As a script: `execute` takes the first of its steps alone, which is one page.
            connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")

    def _merge(self, connection: sqlite3.Connection, least: int = FAN_IN) -> None:
        """Put this process's chunks of a level together where there are many."""
        levels = connection.execute(
            "SELECT level, count(*), sum(traces), sum(bytes) FROM chunks "
            "WHERE resource = ? AND level >= 0 GROUP BY level",
            (self._resource_id,),
        ).fetchall()
        for level, count, traces, size in levels:
            is_full = traces >= FULL_TRACES or size >= FULL_BYTES
            if count >= least or (count > 1 and is_full):
                with self._transaction(connection):
                    self._put_together(connection, level)
                checkpoint()

    def _put_together(self, connection: sqlite3.Connection, level: int) -> None:
        rows = connection.execute(
            "SELECT id, traces, bytes, summary, body FROM chunks "
            "WHERE resource = ? AND level = ? ORDER BY id",
            (self._resource_id, level),
        )
        taken: list[tuple[int, int, int, bytes, bytes]] = []
        traces = size = 0
        for row in rows:
            traces, size = traces + row[1], size + row[2]
            if taken and (traces > MOST_TRACES or size > 2 * FULL_BYTES):
                break
            taken.append(row)
        if len(taken) < 2:  # noqa: PLR2004  # nothing to put together
            return
        try:
            blocks = [block for *_, packed in taken for block in body.decoded(packed)]
            entries = summary.joined([summary.decoded(packed) for *_, packed, _ in taken])
        except Exception as error:  # noqa: BLE001  # whatever is made of broken bytes
            log.warning("chunks of %s cannot be put together: %s", self._file, error)
            ids = [(_FULL, row[0]) for row in taken]
            connection.executemany("UPDATE chunks SET level = ? WHERE id = ?", ids)
            return
        connection.executemany("DELETE FROM chunks WHERE id = ?", [(row[0],) for row in taken])
        self._insert(connection, Gathered(table.joined(blocks), entries), level + 1)


def _parts(spans: Sequence[Span]) -> Sequence[Sequence[Span]]:
    """Return spans in parts of not too many traces."""
    parts = getattr(spans, "parts", None)
    if parts is None or len(spans) <= 8 * MOST_TRACES:
        return [spans]
    whole: Sequence[Sequence[Span]] = parts(len(spans) // (8 * MOST_TRACES) + 1)
    return whole
