"""The benchmark's own logic: reports read right, ratios of the same round, pages filled in."""

import ast
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import production, report, wrk
from bench.cells import Row, Slice
from bench.interleaving import Sum
from bench.processes import is_alive, running, tree, until
from bench.servers import peer_entries, peers
from bench.single import heaviest
from bench.tables import Grid, Sheet, Table
from services import parts
from spanserve.tracing.plugins.loading import opened

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

OUTPUT = """Running 1s test @ http://127.0.0.1:29000/predict
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.42ms    1.03ms  15.20ms   81.43%
    Req/Sec    18.73k     1.20k   20.10k    70.00%
  Latency Distribution
     50%  950.00us
     75%    3.91ms
     90%    4.60ms
     99%    1.26s
  18734 requests in 1.00s, 5.48MB read
Requests/sec:  18712.34
Transfer/sec:      5.48MB
"""


def test_a_report_of_wrk_is_read_with_its_units() -> None:
    assert wrk.read(OUTPUT) == wrk.Report(18734, 18712.34, 950.0, 1_260_000.0, 0)


def test_answers_that_are_none_are_counted_and_are_no_answers() -> None:
    bad = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
    report = wrk.read(OUTPUT + bad)
    assert (report.requests, report.errors) == (18729, 15)
    assert report.requests_a_second == pytest.approx(18712.34 * 18729 / 18734)


def test_what_is_no_report_is_said() -> None:
    with pytest.raises(wrk.NoReportError, match=r"no report of wrk: 'unable to connect'$"):
        wrk.read("unable to connect\nand more\n")


def row(name: str, cpu_us: float, *, errors: int = 0, why: str = "", is_short: bool = False) -> Row:
    exporter_us = cpu_us / 4 if name == "traced" else 0.0
    figures = cpu_us, 2e3, 3e3, errors, exporter_us, is_short
    base = Sum(4000.0, 40.0, 0.0)
    slices = () if why else tuple(Slice(1000.0 * n, *figures, base) for n in (1, 2, 3))
    return Row(name, "", slices, 100.0, 5.0 if name == "traced" else 0.0, 0.0, why)


def test_a_table_shows_medians_ratios_spans_and_failures() -> None:
    rows = (row("off", 40), row("traced", 60), row("bad", 40, errors=2), row("none", 0, why="no"))
    lines = report.table(Table("key", "Title", 64, rows)).splitlines()
    assert lines[0] == "**Title, 64 connections**"
    figures = "2.00 ms | 3.00 ms | 1.50 | 0.5"
    assert lines[4] == f"| off | 2,000 | 40.0 | {figures} | 1 |  |  |  | 100 |"
    assert lines[5] == f"| traced | 2,000 | 60.0 | {figures} | 1.5 | 4.0 | 3.0 | 0 | 100 |"
    assert lines[6] == f"| bad (6 errors) | 2,000 | 40.0 | {figures} | 1 |  |  |  | 100 |"
    assert lines[7].startswith("| none | no |")


def test_what_a_request_takes_more_is_told_by_the_server_beside_it() -> None:
    beside = [Slice(1e3, cpu_us, 2e3, 3e3, 0, base=Sum(1e3, 40.0, 0.0)) for cpu_us in (50, 60, 90)]
    assert Row("traced", "", tuple(beside)).added_us == 20.0
    alone = [replace(each, base=None) for each in beside]
    assert Row("traced", "", tuple(alone)).ratio("cpu_us") == 0.0


def test_servers_that_were_up_one_by_one_are_compared_round_by_round() -> None:
    first, second = row("a", 40.0), row("b", 60.0)
    assert second.beside(first).ratio("cpu_us") == 1.5
    assert first.beside(first).ratio("cpu_us") == 1.0
    assert row("b", 0.0, why="gone").beside(first).why == "gone"
    assert second.beside(row("a", 0.0, why="gone")).ratio("cpu_us") == 0.0


def test_a_server_that_was_started_twice_has_one_row() -> None:
    first, second = row("traced", 50.0), row("traced", 70.0)
    second = replace(second, peak_mb=120.0, dropped_spans=3.0)
    both = Row.of([first, second])
    assert both.slices == first.slices + second.slices
    assert (both.added_us, both.ratio("cpu_us"), both.peak_mb) == (20.0, 1.5, 120.0)
    assert (both.spans_a_request, both.dropped_spans) == (5.0, 3.0)
    assert Row.of([first, row("traced", 0.0, why="gone")]).why == "gone"


def test_several_numbers_of_connections_make_one_table() -> None:
    few = Table("few", "Title", 1, (row("a", 40), row("b", 41.6, errors=2)))
    many = Table("many", "Title", 1024, (row("a", 40, is_short=True), row("b", 0, why="gone")))
    assert report.block(Grid("key", "Title", (few, many))).splitlines() == [
        "**Title: req/s · CPU µs · median ms · p99 ms**",
        "",
        "| server | 1 connection | 1,024 connections |",
        "| --- | --- | --- |",
        "| a | 2,000 · 40 · 2.00 · 3.00 | 2,000 · 40 · >2.00 · >3.00 |",
        "| b | 2,000 · 42 · 2.00 · 3.00 (6 errors) | gone |",
    ]


def test_a_sheet_has_columns_of_its_own() -> None:
    block = report.block(Sheet("key", "Title", ("what", "figure"), (("size", 3),)))
    assert block.splitlines()[2:] == ["| what | figure |", "| --- | --- |", "| size | 3 |"]


def test_every_other_server_says_its_version_and_how_it_batches() -> None:
    settings = report.settings()
    for each in peer_entries():
        assert f"- {each['name']}: {each['settings']} (" in settings
        assert all("==" in requirement for requirement in each["requirements"])


def test_the_heaviest_imports_count_what_they_import_and_no_part_twice() -> None:
    lines = """import time: self [us] | cumulative | imported package
import time:        10 |         10 |     b.inner
import time:         5 |         15 |   b
import time:        20 |         20 |     c
import time:         1 |         21 |   a.part
import time:         2 |          2 |   b.other
import time:         3 |         41 | spanserve
"""
    assert heaviest(lines) == [("a", 21), ("c", 20), ("b", 17)]


def test_the_parts_are_measured_on_as_many_spans_as_they_are_divided_by() -> None:
    tracer = parts.Keeping()
    tracing = parts.gate(opened(tracer, "own", "tests", "1").configured({}, {}))
    tracing.start()
    for _ in range(parts.BATCHES):
        parts.one_batch(tracing)
    tracing.stop(5)
    assert tracing.exporters[0].recorded_spans == parts.SPANS
    assert {each.name for each in tracer.spans} >= {"POST /predict", "queue", "run", "split"}


DAEMON = """import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(60)
    os._exit(0)
os.wait()
time.sleep(60)
"""


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset, of util-linux")
def test_what_becomes_a_daemon_still_counts_as_the_servers_and_ends_with_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    command = [sys.executable, "-c", DAEMON, str(file)]
    with running(command, cpus=[0], env={}, name="test") as pid:
        assert until(lambda: file.exists() and bool(file.read_text()), 30)
        daemon = int(file.read_text())
        assert until(lambda: tree(pid) == [pid, daemon], 30)
    assert until(lambda: not is_alive(daemon), 10)


def test_a_page_is_filled_in_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: a -->\nold\n<!-- end -->\nafter\n")
    report.into_page(page, {"a": "new", "b": "unknown"})
    expected = "before\n<!-- bench: a -->\n\nnew\n\n<!-- end -->\nafter\n"
    assert page.read_text() == expected
    report.into_page(page, {"a": "new"})
    assert page.read_text() == expected


@pytest.mark.parametrize("path", sorted(BENCHMARKS.rglob("*.py")), ids=lambda path: path.name)
def test_every_program_of_the_benchmark_can_be_parsed(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"))


def test_every_other_server_has_its_place_in_each_workload() -> None:
    for model in ("noop", "accelerator", "digits", "long"):
        servers = peers(model)
        assert [each.name for each in servers] == [each["name"] for each in peer_entries()]
        for each in servers:
            words = " ".join((*each.command, *each.env.values()))
            assert "{venv}" not in words
            assert "{row}" in each.body
            assert each.settings


def test_a_part_of_production_is_told_as_a_share_of_the_plain_request_or_by_why_it_is_not() -> None:
    assert production.told(row("with a key", 80.0)) == "0.50"
    assert production.told(row("with a key", 80.0, errors=2)) == "6 errors"
    assert production.told(row("with a key", 0.0, why="ended before it served")) == (
        "ended before it served"
    )
