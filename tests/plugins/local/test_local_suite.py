"""The local tracer passes the suite that every tracer does."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from spanserve.testing import Backend, TracerSuite
from spanserve_local.store.reader import Reader


def rows(file: Path) -> list[dict[str, Any]]:
    """Return all spans of a file, by way of its traces."""
    reader = Reader(file)
    try:
        columns = reader.entries().columns
        ids = {
            (int(high) << 64) + int(low)
            for high, low in zip(columns["high"], columns["low"], strict=True)
        }
        found = []
        for number in ids:
            trace = reader.trace(f"{number:032x}")
            assert trace is not None
            found += [{**span, "trace_id": f"{number:032x}"} for span in trace[1]]
        return found
    finally:
        reader.close()


class TestLocal(TracerSuite):
    tracer = "local"
    keeps = ("trace_id", "span_id", "parent_id", "name")
    faults = ("error",)
    exporters = ("thread", "process")
    workers = True

    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        file = folder / "traces.db"
        with closing(sqlite3.connect(file, check_same_thread=False)) as other:
            yield Backend(
                {"path": str(file)},
                lambda: rows(file),
                {"error": lambda: other.execute("BEGIN EXCLUSIVE")},
                other.rollback,
            )
