"""The tracer `console` passes the suite that every tracer does, into a file."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spanserve.testing import Backend, TracerSuite

TRACE = re.compile(r"^trace ([0-9a-f]{32}) · .* · (\d+) spans?$", re.MULTILINE)


def rows(file: Path) -> list[dict[str, str]]:
    """Return a row for each span that the lines above the trees say there are."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [{"trace_id": found} for found, spans in TRACE.findall(text) for _ in range(int(spans))]


class TestConsole(TracerSuite):
    tracer = "console"
    keeps = ("trace_id",)
    workers = True

    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        file = folder / "traces.txt"
        yield Backend({"output": str(file)}, lambda: rows(file))
