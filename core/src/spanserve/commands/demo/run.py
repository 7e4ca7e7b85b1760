"""`spanserve demo`: train, serve, ask, and show where the time of a request went."""

import logging.config
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from spanserve.commands.demo.bundle import Bundle, make_folder, write_bundle
from spanserve.commands.demo.job import Job, Outcome
from spanserve.commands.demo.looking import VIEWER, Stay, look, viewer_is_installed
from spanserve.commands.demo.measures import Answers, batches_of, compared, fetch_metrics
from spanserve.commands.demo.report import Report
from spanserve.commands.demo.sending import Clients
from spanserve.commands.demo.server import Delivery, DemoServer
from spanserve.config.load import Loaded, load
from spanserve.server.operations.logs import logging_config
from spanserve.service.bundle.load import load as load_service
from spanserve.tracing.plugins.registry import load_tracers

ROUNDS: Final = 2
ROUTE: Final = "/predict"
TRACES_FILE: Final = "traces.txt"
VIEWER_FILE: Final = "traces.db"
INTERRUPTED: Final = 130
MAX_KINDS: Final = 3
MANY_SPANS: Final = 100_000
LONG_MS: Final = 600_000


def demo(
    config: Path | None, *, clients: int, output: Path | None, port: int, keep: bool = False
) -> int:
    """Run the demo; returns the exit code. Raises SpanserveError where it cannot start.

    With `keep` it stays up after the report, until it is interrupted.
    """
    report = Report()
    try:
        with _interruptible(), ExitStack() as stack:
            folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            make_folder(folder)  # what is written of traces lies in it
            since_ms = time.time() * 1e3
            loaded = _configuration(config, folder, port)
            bundle, failures = _run(report, loaded, folder, clients=clients)
            for failure in failures:
                report.failure(failure)
            report.what_next(output)
            stay = Stay(ROUTE, bundle.images.tolist(), since_ms, keep)
            look(report, _afterwards(config, folder, port), folder, stay)
    except KeyboardInterrupt:
        report.failure("stopped before the end")
        return INTERRUPTED
    return 1 if failures else 0


def _run(report: Report, loaded: Loaded, folder: Path, *, clients: int) -> tuple[Bundle, list[str]]:
    """Do and print all but the last words; returns what was served, and what went wrong."""
    logging.config.dictConfig(logging_config("warning"))
    tracers = load_tracers(loaded.config.tracing, sources=loaded.sources)
    for warning in (*loaded.warnings, *(text for each in tracers for text in each.warnings)):
        report.line("warning", warning)
    with Clients() as processes:
        bundle = write_bundle(folder)
        (folder / TRACES_FILE).unlink(missing_ok=True)
        report.line(
            "model",
            f"{bundle.model}, trained on {bundle.trained_on} digits in {bundle.trained_s:.2f} s",
        )
        with DemoServer(loaded, load_service(str(folder)), tracers) as server:
            targets = ", ".join(f"{each.name} ({each.target})" for each in tracers)
            report.line("server", f"{server.url}{ROUTE}, traced to {targets}")
            job = Job(server.url + ROUTE, clients, ROUNDS, bundle.images.tolist())
            with report.progress(len(bundle.images) * ROUNDS) as done:
                outcome = processes.send(job, done)
            urls = server.trace_urls_elsewhere(outcome.trace_ids)
            batches = batches_of(fetch_metrics(server.url), ROUTE)
    answers = compared(outcome, bundle.labels.tolist(), bundle.expected.tolist(), rounds=ROUNDS)
    report.answers(answers)
    report.speed(outcome, clients)
    report.batches(batches)
    traces = server.traces
    if example := traces.example():
        report.example(example, urls.get(example.trace_id))
    report.deliveries(server.deliveries)
    sample_rate = loaded.config.tracing.sample_rate
    return bundle, [
        *_failed(outcome, answers),
        *traces.problems(outcome.trace_ids, sample_rate=sample_rate),
        *_dropped(server.deliveries),
    ]


def _failed(outcome: Outcome, answers: Answers) -> Iterator[str]:
    if outcome.failures:
        kinds = "; ".join(list(dict.fromkeys(outcome.failures))[:MAX_KINDS])
        yield f"{len(outcome.failures)} of {len(outcome.answers)} requests: {kinds}"
    if answers.unlike_model:
        yield f"{answers.unlike_model} answers are not what the model says of that image"


def _dropped(deliveries: Sequence[Delivery]) -> Iterator[str]:
    for each in deliveries:
        if each.dropped:
            yield f"{each.name} dropped {sum(each.dropped.values())} spans"


def _configuration(file: Path | None, folder: Path, port: int) -> Loaded:
    """Read the configuration; one that names no tracer gets the console's, in a file, and local.

    Their traces are written after the last request: to draw them takes longer than to answer.
    """
    loaded = load(file, os.environ, _given(port))
    if loaded.config.tracing.type:
        return loaded
    written = {
        "tracing.type": ["console", *([VIEWER] if viewer_is_installed() else [])],
        "tracing.console.output": str(folder / TRACES_FILE),
        "tracing.queue.max_spans": MANY_SPANS,
        "tracing.queue.max_export_spans": MANY_SPANS,
        "tracing.queue.flush_interval_ms": LONG_MS,
    }
    return load(file, os.environ, {**_given(port), **_viewer(folder), **written})


def _afterwards(file: Path | None, folder: Path, port: int) -> Loaded:
    """Read it for the part in which traces are looked at, and shall come at once."""
    loaded = load(file, os.environ, _given(port))
    if loaded.config.tracing.type or not viewer_is_installed():
        return loaded
    local = {"tracing.type": VIEWER, **_viewer(folder)}
    return load(file, os.environ, {**_given(port), **local})


def _given(port: int) -> Mapping[str, object]:
    return {
        "server.host": "127.0.0.1",
        "server.port": port,
        "server.trace_headers": True,
    }


def _viewer(folder: Path) -> Mapping[str, object]:
    if not viewer_is_installed():
        return {}
    return {"tracing.local.path": str(folder / VIEWER_FILE)}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Be told of SIGTERM as of Ctrl-C, so that nothing is left running."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
