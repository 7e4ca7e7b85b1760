"""`spanserve demo`: the main job in one command, run for real."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest

from spanserve import Link, Span, SpanKind
from spanserve.commands.demo.clients import send_all
from spanserve.commands.demo.job import Job, Outcome
from spanserve.commands.demo.measures import Answers, Batches, batches_of, compared
from spanserve.commands.demo.traces import Traces
from spanserve.service.bundle.load import load as load_service
from support.serving import signal_to, until
from support.zipkin_sink import ZipkinSink

ROOT = Path(__file__).parents[2]
PACKAGED = ROOT / "core/src/spanserve/commands/demo/digits"
EXAMPLE = ROOT / "docs/examples/digits"
REQUESTS = 1798
MARK = "SPANSERVE_TEST_MARK"


class Run(NamedTuple):
    """A demo that has ended; `left` are the processes and temporary files that stay."""

    code: int
    stdout: str
    stderr: str
    left: list[str]

    @property
    def port(self) -> int:
        """Where it served."""
        return port_in(self.stdout)

    def number(self, pattern: str) -> float:
        """Return the one number that the pattern finds in the output."""
        found: list[str] = re.findall(pattern, self.stdout)
        assert len(found) == 1, (pattern, self.stdout)
        return float(found[0])


def port_in(text: str) -> int:
    found = re.search(r"http://127\.0\.0\.1:(\d+)/predict", text)
    assert found, text
    return int(found[1])


def processes_with(mark: str) -> list[str]:
    """Return the command lines of all processes that inherited this mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
        except OSError:  # not ours, or gone by now
            continue
    return found


def demo(
    *arguments: str,
    folder: Path,
    while_serving: Callable[[int], None] | None = None,
    serves: str = "server ",
) -> Run:
    """Run the command in a folder; `while_serving` is told its process once it `serves`."""
    mark = uuid.uuid4().hex
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SPANSERVE")}
    with (
        tempfile.TemporaryDirectory() as temporary,
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", "-m", "spanserve", "demo", *arguments],
            cwd=folder,
            env={**environment, MARK: mark, "TMPDIR": temporary, "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        head = ""
        if while_serving is not None:
            head = "".join(lines_until(process.stdout, serves))
            while_serving(process.pid)
        stdout, stderr = process.communicate()
        left = [*processes_with(mark), *map(str, Path(temporary).iterdir())]
    return Run(process.returncode, head + stdout, stderr, left)


def lines_until(lines: Iterator[str] | None, start: str) -> Iterator[str]:
    for line in lines or ():
        yield line
        if line.startswith(start):
            return


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Run:
    """Run it once, as the README says, but for keeping the bundle."""
    return demo("--output", "my digits", folder=folder)


def test_the_demo_succeeds_without_a_word_on_stderr_and_leaves_nothing_running(plain: Run) -> None:
    assert (plain.code, plain.stderr, plain.left) == (0, "", [])
    assert not is_open(plain.port)
    assert "failed" not in plain.stdout


def test_the_demo_prints_what_it_measured(plain: Run) -> None:
    assert plain.number(rf"accuracy +(\d\.\d+) of {REQUESTS} answers, each the model's own") > 0.9
    assert plain.number(r"speed +(\d+) requests/s") > 0
    assert plain.number(r"latency +median (\d+\.\d) ms, 99th percentile \d+\.\d ms") > 0
    batches = plain.number(r"batches +(\d+), of \d+\.\d images each on average")
    table = plain.stdout.partition("batch size")[2].partition("a typical request")[0]
    by_size = re.findall(r"^ +\d+(?: to \d+)? +(\d+)\b", table, re.MULTILINE)
    by_reason = re.findall(r"(?:full|idle|deadline|drain) +(\d+)", table)
    assert [sum(map(int, by_size)), sum(map(int, by_reason))] == [batches, batches]


def test_the_demo_shows_a_request_and_the_batch_that_it_shared(plain: Run) -> None:
    shown = plain.stdout.partition("a typical request, and the batch that it shared")[2]
    title, _, rest = shown.partition("\ntracer ")[0].partition("\n")
    spans = re.findall(
        r"^(?:[├└│─ ]*)([a-z]+|POST /predict|batch /predict)  +\d", rest, re.MULTILINE
    )
    assert re.fullmatch(r" with \d+ others?:", title)
    assert spans == [
        *("POST /predict", "decode", "queue", "run", "scale", "encode"),
        *("batch /predict", "collate", "run", "scale", "split"),
    ]


def test_the_demo_ends_with_where_the_time_went_and_advice(plain: Run, folder: Path) -> None:
    last = plain.stdout.partition("where the time of /predict went\n")[2]
    parts = dict(re.findall(r"^ ([a-z ]+?) +(\d+\.\d)%  +\d+\.\d+ ms", last, re.MULTILINE))
    assert list(parts) == [
        *("decode", "wait for peers", "wait for the runner", "to start", "run", "encode", "other")
    ]
    assert 98 < sum(map(float, parts.values())) < 102
    assert re.fullmatch(r"advice +\S.+\S", last.splitlines()[-1])
    assert "/traces/" not in plain.stdout  # nobody serves them any more
    assert (folder / "my digits/traces.db").stat().st_size > 0


def test_the_demo_stays_up_for_a_look_at_the_viewer_until_it_is_interrupted(tmp_path: Path) -> None:
    seen: list[int] = []

    def look_and_leave(process: int) -> None:
        port = next(filter(is_open, ports_of(process)))
        url = f"http://127.0.0.1:{port}/traces/"
        assert "text/html" in httpx.get(url).headers["content-type"]

        def count() -> int:
            endpoints = httpx.get(f"{url}api/endpoints").json()["endpoints"]
            return int(sum(each["requests"] for each in endpoints))

        assert until(lambda: count() > REQUESTS)
        seen.append(count())
        signal_to(process, signal.SIGINT)

    run = demo("--keep", folder=tmp_path, while_serving=look_and_leave, serves="look at it")
    assert (run.code, run.stderr, run.left) == (0, "", [])
    assert seen[0] > REQUESTS
    assert re.search(
        r"^serving +http://127.0.0.1:\d+/predict, with a light load", run.stdout, re.MULTILINE
    )
    assert re.search(r"^look at it +http://127.0.0.1:\d+/traces/$", run.stdout, re.MULTILINE)


def ports_of(process: int) -> list[int]:
    """Return the ports on which a process listens."""
    own = {link.readlink().name for link in Path(f"/proc/{process}/fd").iterdir()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in own]


def test_every_trace_of_the_demo_is_in_the_file_of_the_console(plain: Run, folder: Path) -> None:
    traces = (folder / "my digits/traces.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"^POST /predict", traces, re.MULTILINE)) == REQUESTS
    spans = sum(map(int, re.findall(r"^trace .* (\d+) spans$", traces, re.MULTILINE)))
    assert plain.number(r"tracer +console: (\d+) spans sent to my digits/traces.txt") == spans


def test_the_bundle_that_is_kept_can_be_served(plain: Run, folder: Path) -> None:
    assert "spanserve serve 'my digits'" in plain.stdout
    kept = load_service(str(folder / "my digits"))
    assert (kept.name, kept.version) == ("digits", "1")
    assert {path.name for path in kept.root.iterdir()} >= {"bundle.yml", "service.py", "train.py"}
    answer = kept.instantiate().predict(np.zeros((2, 64), np.float32))
    assert answer.shape == (2,)


def test_zipkin_gets_every_span_and_the_demo_says_where_to_look(tmp_path: Path) -> None:
    with ZipkinSink() as sink:
        text = f"tracing:\n  type: zipkin\n  zipkin:\n    url: {sink.url}\n"
        (tmp_path / "c.yml").write_text(text)
        run = demo("--config", "c.yml", "--clients", "16", folder=tmp_path)
        traces = sink.traces()
        spans = len(sink.spans)
        violations = sink.violations
    assert (run.code, run.stderr, run.left, violations) == (0, "", [], [])
    roots = [span for trace in traces.values() for span in trace if span.get("kind") == "SERVER"]
    assert len(roots) == REQUESTS
    assert run.number(rf"tracer +zipkin: (\d+) spans sent to {sink.url}, dropped: 0") == spans
    shown = re.search(
        rf"look at it +http://127\.0\.0\.1:{sink.port}/\S*?([0-9a-f]{{32}})", run.stdout
    )
    assert shown
    assert shown[1] in traces
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yml"]


def test_refused_requests_and_dropped_spans_are_said_and_exit_with_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    (tmp_path / "c.yml").write_text(
        "tracing:\n  type: zipkin\n"
        f"  zipkin: {{url: 'http://127.0.0.1:{port}/api/v2/spans'}}\n"
        "  queue: {retry_for_s: 0}\n"
        "batching: {max_queue: 1}\n"
    )
    run = demo("--config", "c.yml", folder=tmp_path)
    assert (run.code, run.left) == (1, [])
    refused = run.number(rf"failed +(\d+) of {REQUESTS} requests: ValueError: 429 ")
    dropped = run.number(r"failed +zipkin dropped (\d+) spans")
    assert refused > 0
    assert dropped > REQUESTS
    assert f"tracer     zipkin: 0 spans sent to http://127.0.0.1:{port}/" in run.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_demo_and_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    run = demo(folder=tmp_path, while_serving=lambda process: signal_to(process, number))
    assert (run.code, run.stderr, run.left) == (130, "", [])
    assert run.stdout.endswith("failed     stopped before the end\n")
    assert not is_open(run.port)


def test_a_missing_extra_is_said_with_what_to_do(tmp_path: Path) -> None:
    code = "import sys; sys.modules['sklearn'] = None; from spanserve.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "error: the demo needs scikit-learn and httpx; try: pip install 'spanserve[demo]'\n",
    )


def test_a_folder_with_files_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("mine")
    run = demo("--output", ".", folder=tmp_path)
    assert (run.code, run.stdout, run.left) == (2, "", [])
    assert run.stderr == (
        "error: service.py is there already and is not the demo's; "
        "name another folder with --output\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["service.py"]


@pytest.mark.parametrize("name", ["bundle.yml", "service.py", "train.py"])
def test_the_example_in_the_docs_is_the_bundle_of_the_demo(name: str) -> None:
    assert (EXAMPLE / name).read_bytes() == (PACKAGED / name).read_bytes()


def span(name: str, trace: int, number: int, parent: int | None = None, **more: object) -> Span:
    attributes = {f"spanserve.batch.{key}": value for key, value in more.items()}
    return Span(
        name,
        SpanKind.SERVER if name.startswith("POST") else SpanKind.INTERNAL,
        f"{trace:032x}",
        f"{number:016x}",
        None if parent is None else f"{parent:016x}",
        0,
        trace,
        attributes,  # type: ignore[arg-type]  # ids and numbers, as the tests below give them
    )


def request_in(batch: int, trace: int) -> list[Span]:
    queue = span("queue", trace, 2, 1, trace_id=f"{batch:032x}")
    return [span("POST /predict", trace, 1), queue]


def batch_of(trace: int, members: Sequence[int]) -> list[Span]:
    links = [Link(f"{member:032x}", f"{1:016x}") for member in members]
    return [span("batch /predict", trace, 1, size=len(members))._replace(links=links)]


ANSWERED = [f"{trace:032x}" for trace in (1, 2, 3)]
WHOLE = [*request_in(9, 1), *request_in(9, 2), *request_in(9, 3), *batch_of(9, [1, 2, 3])]


def test_whole_traces_have_no_problems_and_the_example_is_the_one_in_the_middle() -> None:
    traces = Traces(WHOLE)
    assert list(traces.problems(ANSWERED, sample_rate=1)) == []
    example = traces.example()
    assert example is not None
    assert (example.request, example.batch) == (request_in(9, 2), batch_of(9, [1, 2, 3]))


def test_the_example_shared_its_batch_if_any_request_did() -> None:
    alone = [span("POST /predict", trace, 1) for trace in range(20, 40)]
    shown = Traces([*alone, *WHOLE]).example()
    assert shown is not None
    assert (shown.request, shown.batch) == (request_in(9, 2), batch_of(9, [1, 2, 3]))
    lone = Traces(alone).example()
    assert lone is not None
    assert (lone.request, lone.batch) == ([alone[10]], [])


def test_each_kind_of_missing_span_is_a_problem() -> None:
    without_root = [each for each in WHOLE if each is not WHOLE[0]]
    assert list(Traces(without_root).problems(ANSWERED, sample_rate=1)) == [
        "1 of 3 answered requests have no trace",
        "1 spans have a parent that is missing",
    ]
    assert list(Traces(WHOLE[:-1]).problems(ANSWERED, sample_rate=1)) == ["1 batches have no trace"]
    unlinked = [*WHOLE[:-1], WHOLE[-1]._replace(links=())]
    assert list(Traces(unlinked).problems(ANSWERED, sample_rate=1)) == [
        "1 batches are not linked to all their members"
    ]


def test_a_sampled_run_need_not_have_every_request() -> None:
    assert list(Traces(WHOLE).problems([*ANSWERED, "0" * 32], sample_rate=0.1)) == []
    assert Traces(()).example() is None


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"", "ReadError: IncompleteReadError"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "ReadError: KeyError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1", "ReadError: IncompleteReadError"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n1.5", "ValueError: not a digit: 1.5"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy", "ValueError: 503 busy"),
    ],
)
async def test_a_bad_answer_is_a_failed_request(answer: bytes, failure: str) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"[1.0, 2.0]")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        job = Job(f"http://127.0.0.1:{port}/predict", 1, 1, [[1.0, 2.0]])
        done: list[int] = []
        outcome = await send_all(job, done.append)
    assert (outcome.answers, outcome.trace_ids, done) == ([None], [], [1])
    assert [each[: len(failure)] for each in outcome.failures] == [failure]


def test_answers_are_held_against_the_truth_and_the_model_by_their_place() -> None:
    outcome = Outcome([1, 2, 1, None, 3, 0])
    assert compared(outcome, [1, 2, 3], [1, 2, 0], rounds=2) == Answers(5, 2, 2)


def test_batches_are_read_from_the_metrics_of_the_endpoint() -> None:
    metrics = """\
# TYPE spanserve_batches counter
spanserve_batches_total{endpoint="/predict",reason="idle"} 5.0
spanserve_batches_total{endpoint="/predict",reason="full"} 2.0
spanserve_batches_total{endpoint="/other",reason="full"} 9.0
# TYPE spanserve_batch_size histogram
spanserve_batch_size_bucket{endpoint="/predict",le="1.0"} 3.0
spanserve_batch_size_bucket{endpoint="/predict",le="2.0"} 3.0
spanserve_batch_size_bucket{endpoint="/predict",le="4.0"} 5.0
spanserve_batch_size_bucket{endpoint="/predict",le="6.0"} 7.0
spanserve_batch_size_bucket{endpoint="/predict",le="+Inf"} 7.0
spanserve_batch_size_count{endpoint="/predict"} 7.0
spanserve_batch_size_sum{endpoint="/predict"} 22.0
"""
    assert batches_of(metrics, "/predict") == Batches(
        7, 22, {"1": 3, "3 to 4": 2, "5 to 6": 2}, {"idle": 5, "full": 2}
    )
