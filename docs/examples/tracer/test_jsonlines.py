from collections.abc import Iterator
from contextlib import contextmanager
from json import loads
from pathlib import Path

from spanserve.testing import Backend, TracerSuite


class TestJsonLines(TracerSuite):
    tracer = "jsonlines:JsonLines"
    keeps = ("trace_id", "name")
    workers = True

    @contextmanager
    def open_backend(self, folder: Path) -> Iterator[Backend]:
        file = folder / "spans.jsonl"

        def received() -> list[dict[str, str]]:
            lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
            return [loads(line) for line in lines]

        yield Backend({"path": str(file)}, received)
