"""`spanserve demo`: train, serve, ask, and show where the time of a request went."""

import logging.config
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from spanserve.commands.demo.bundle import make_folder, write_bundle
from spanserve.commands.demo.job import Job, Outcome
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
INTERRUPTED: Final = 130
MAX_KINDS: Final = 3
MANY_SPANS: Final = 100_000
LONG_MS: Final = 600_000


def demo(config: Path | None, *, clients: int, output: Path | None, port: int) -> int:
    """Run the demo; returns the exit code. Raises SpanserveError where it cannot start."""
    report = Report()
    try:
        with _interruptible(), ExitStack() as stack:
            folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            make_folder(folder)  # the console's file lies in it
            loaded = _configuration(config, folder, port)
            failures = _run(report, loaded, folder, clients=clients)
    except KeyboardInterrupt:
        report.failure("stopped before the end")
        return INTERRUPTED
    for failure in failures:
        report.failure(failure)
    report.what_next(output)
    return 1 if failures else 0


def _run(report: Report, loaded: Loaded, folder: Path, *, clients: int) -> list[str]:
    """Do and print all but the last words; returns what went wrong."""
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
            urls = server.trace_urls(outcome.trace_ids)
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
    return [
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
    """Read the configuration; one that names no tracer gets the console's, in a file.

    Its traces are written after the last request: to draw them takes longer than to answer.
    """
    given: Mapping[str, object] = {
        "server.host": "127.0.0.1",
        "server.port": port,
        "server.trace_headers": True,
    }
    loaded = load(file, os.environ, given)
    if loaded.config.tracing.type:
        return loaded
    console = {
        "tracing.type": "console",
        "tracing.console.output": str(folder / TRACES_FILE),
        "tracing.queue.max_spans": MANY_SPANS,
        "tracing.queue.max_export_spans": MANY_SPANS,
        "tracing.queue.flush_interval_ms": LONG_MS,
    }
    return load(file, os.environ, {**given, **console})


@contextmanager
def _interruptible() -> Iterator[None]:
    """Be told of SIGTERM as of Ctrl-C, so that nothing is left running."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
