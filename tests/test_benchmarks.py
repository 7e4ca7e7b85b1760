"""The benchmark's own logic: reports read right, ratios of the same round, pages filled in."""

import ast
from pathlib import Path

import pytest

from bench import report, wrk
from bench.cells import Row, Slice
from bench.servers import peer_entries, peers
from bench.suites import Table

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

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


def test_answers_that_are_none_are_counted() -> None:
    bad = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
    assert wrk.read(OUTPUT + bad).errors == 15


def test_what_is_no_report_is_said() -> None:
    with pytest.raises(ValueError, match="no report of wrk: 'unable to connect'"):
        wrk.read("unable to connect")


def row(name: str, cpu_us: float, *, errors: int = 0, why: str = "") -> Row:
    slices = () if why else tuple(Slice(1000.0 * n, cpu_us, 2e3, 3e3, errors) for n in (1, 2, 3))
    return Row(name, "", slices, 0.5, 2.0, 100.0, 5.0 if name == "traced" else 0.0, 0.0, why)


def test_a_table_shows_medians_ratios_spans_and_failures() -> None:
    rows = (row("off", 40), row("traced", 60), row("bad", 40, errors=2), row("none", 0, why="no"))
    lines = report.table(Table("key", "Title", 64, rows)).splitlines()
    assert lines[0] == "**Title, 64 connections**"
    figures = "2.00 ms | 3.00 ms | 1.50 | 0.5 | 2"
    assert lines[4] == f"| off | 2,000 | 40.0 | {figures} |  |  | 100 |"
    assert lines[5] == f"| traced | 2,000 | 60.0 | {figures} | 4.0 | 0 | 100 |"
    assert lines[6] == f"| bad (6 errors) | 2,000 | 40.0 | {figures} |  |  | 100 |"
    assert lines[7].startswith("| none | no |")


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
