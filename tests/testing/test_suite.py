"""The suite of tracers: what breaks the contract fails it, and the page's example passes."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from spanserve import ExportResult, Span, Spans, api, hookimpl, service
from spanserve.testing import SAMPLES, client, make_span, spans_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "tracer"
BROKEN = """
from contextlib import contextmanager

import pytest

from spanserve import ExportResult, hookimpl
from spanserve.testing import Backend, TracerSuite

arrived = []


class Sound:
    @hookimpl
    def export_spans(self, spans):
        return self.take(spans)

    def take(self, spans):
        arrived.extend(spans)


class Loses(Sound):
    def take(self, spans):
        arrived.extend(spans[1:])


class Twice(Sound):
    def take(self, spans):
        arrived.extend([*spans, *spans[:1]])


class Miscounts(Sound):
    def take(self, spans):
        arrived.extend(spans)
        return ExportResult(len(spans) + 1)


class Swallows(Sound):
    def take(self, spans):
        return ExportResult(rejected=len(spans), reason="no")


class ColumnsAlone(Sound):
    def take(self, spans):
        for block in getattr(spans, "blocks", ()):
            for column in block:
                arrived.extend(column.spans())


class Raises(Sound):
    def take(self, spans):
        raise OSError("down")


class Closes(Sound):
    @hookimpl
    def tracer_stopping(self):
        type(self).take = None


class Suite(TracerSuite):
    exporters = ()

    @contextmanager
    def open_backend(self, folder):
        arrived.clear()
        yield Backend({}, lambda: [span._asdict() for span in arrived])


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("spanserve.testing.suite._ARRIVES_S", 0)


ALL = (Sound, Loses, Twice, Miscounts, Swallows, ColumnsAlone, Raises, Closes)
for each in ALL:
    name = f"Test{each.__name__}"
    globals()[name] = type(name, (Suite,), {"tracer": f"test_broken:{each.__name__}"})
"""
FAILED = re.compile(r"^FAILED \S+::Test(\w+)::", re.MULTILINE)


def run_pytest(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", file.name]
    return subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)


def test_what_breaks_the_contract_fails_and_what_keeps_it_does_not(tmp_path: Path) -> None:
    file = tmp_path / "test_broken.py"
    file.write_text(BROKEN)

    done = run_pytest(file)

    kinds = {"Loses", "Twice", "Miscounts", "Swallows", "ColumnsAlone", "Raises", "Closes"}
    assert set(FAILED.findall(done.stdout)) == kinds, done.stdout + done.stderr


def test_the_page_s_example_passes_and_is_that_of_the_page() -> None:
    done = run_pytest(EXAMPLE / "test_jsonlines.py")

    assert done.returncode == 0, done.stdout + done.stderr
    page = (ROOT / "docs" / "how-to" / "write-a-tracer.md").read_text()
    for file in ("jsonlines.py", "test_jsonlines.py"):
        assert (EXAMPLE / file).read_text() in page


def test_nothing_of_it_imports_pytest() -> None:
    code = "import sys, spanserve.testing; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("sample", SAMPLES)
def test_spans_in_columns_are_the_same_spans(sample: str) -> None:
    records = SAMPLES[sample]()

    spans = spans_of(records)

    def plain(span: Span) -> str:
        return repr((*span[:7], sorted(span.attributes.items()), [*span.links], *span[9:]))

    given = [span for record in records for span in record]
    assert sorted(map(plain, spans)) == sorted(map(plain, given))


def test_records_that_are_alike_stand_in_columns_with_their_numbers_in_cells() -> None:
    def record(count: int, waited_ms: float) -> list[Span]:
        root = make_span("batch", attributes={"count": count, "waited_ms": waited_ms, "by": "a"})
        return [root, make_span("run", root)]

    spans = spans_of([record(1, 0.5), record(2, 1.5), [make_span("alone", attributes={"n": [1]})]])

    assert [[column.name for column in block] for block in spans.blocks] == [
        ["batch", "run"],
        ["alone"],
    ]
    own = spans.blocks[0][0].own
    assert {key: cells.dtype.str for key, cells in own.items()} == {
        "count": "<i8",
        "waited_ms": "<m8[ns]",
    }


class Needs(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    word: str


class Keeps:
    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def tracer_settings(self) -> type[Needs]:
        return Needs

    @hookimpl
    def tracer_isolation(self) -> str:
        return "process"

    @hookimpl
    def tracer_started(self, settings: Needs) -> None:
        self.word = settings.word

    @hookimpl
    def export_spans(self, spans: Spans) -> ExportResult | None:
        self.seen += [f"{self.word} {span.name}" for span in spans]
        return None


@service
class Same:
    @api
    def same(self, number: int) -> int:
        return number


def test_a_client_s_tracer_has_the_settings_beside_it_and_stays_in_the_test_s_process() -> None:
    tracer = Keeps()
    given: tuple[object, dict[str, Any]] = (tracer, {"word": "saw"})
    with client(Same, tracers=[given]) as served:
        served.post("/same", json=1)

    assert "saw POST /same" in tracer.seen


def test_a_client_s_tracer_may_be_named_with_its_settings(tmp_path: Path) -> None:
    file = tmp_path / "traces.txt"
    with client(Same, tracers=[("console", {"output": str(file)})]) as served:
        served.post("/same", json=1)

    assert "POST /same" in file.read_text()
