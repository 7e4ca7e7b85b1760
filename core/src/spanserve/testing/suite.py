"""`TracerSuite`: the contract of a tracer, as tests for pytest to run."""

import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias

from spanserve.testing import load
from spanserve.testing.backend import Backend, Fault
from spanserve.testing.builders import spans_of
from spanserve.testing.clients import client
from spanserve.testing.processes import served
from spanserve.testing.samples import SAMPLES
from spanserve.tracing.hookspecs import ExportResult
from spanserve.tracing.model.span import Resource, Span
from spanserve.tracing.plugins.loading import LoadedTracer
from spanserve.tracing.plugins.registry import load_plugin

_RESOURCE: Final = Resource("suite", {"service.name": "suite"})
_ARRIVES_S: Final = 10.0
_STOPS_S: Final = 15.0
_CALL_S: Final = 30.0
_CALLS: Final = 100
_FLUSH_S: Final = 2
_LOOK_AGAIN_S: Final = 0.01

Rows: TypeAlias = Counter[tuple[Any, ...]]


class _Metafunc(Protocol):
    """Of pytest's `Metafunc`, what is needed."""

    fixturenames: Sequence[str]

    def parametrize(self, argnames: str, argvalues: Sequence[object], /) -> None: ...


class TracerSuite:
    """Tests that every tracer passes: subclass it, as `TestMine`, and pytest runs them.

    `tracer` is the name in `tracing.type`, of an entry point or as `module:object`. `keeps` names
    the fields of `Span` that the backend gives back as they were; of hostile texts, `name` is not
    compared. `faults` are those that the backend of `open_backend` can have; `exporters`, where
    `export_spans` may be called; `workers` says whether servers of two workers can be tried, for
    which the tracer must be importable under its name by other processes.
    """

    tracer: ClassVar[str]
    keeps: ClassVar[Sequence[str]] = ("trace_id", "span_id", "name")
    faults: ClassVar[Sequence[Fault]] = ()
    exporters: ClassVar[Sequence[Literal["thread", "process"]]] = ("thread",)
    workers: ClassVar[bool] = False

    @abstractmethod
    def open_backend(self, folder: Path) -> AbstractContextManager[Backend]:
        """Run a backend, new and empty; `folder` is a test's own."""
        raise NotImplementedError

    def kept(self, key: str, value: Any) -> Any:  # noqa: ARG002  # for those that override it
        """Return what the backend makes of a field, where it keeps it in another form."""
        return value

    def __init_subclass__(cls, **options: Any) -> None:
        """Leave out the tests that have no case here: they are none, and not skipped ones."""
        super().__init_subclass__(**options)
        cases = cls._cases()
        for name, test in vars(TracerSuite).items():
            arguments = signature(test).parameters if name.startswith("test_") else ()
            if any(not cases.get(each, (each,)) for each in arguments):
                setattr(cls, name, None)
            elif arguments and getattr(cls, name) is None:
                setattr(cls, name, test)

    @classmethod
    def _cases(cls) -> dict[str, Sequence[object]]:
        """Return what an argument of the tests can be."""
        return {
            "sample": sorted(SAMPLES),
            "fault": cls.faults,
            "exporter": cls.exporters,
            "workers": [2] if cls.workers else [],
        }

    def pytest_generate_tests(self, metafunc: _Metafunc) -> None:
        """Run a test for each sample, fault, exporter and number of workers that it takes."""
        for argument, values in self._cases().items():  # in the same order in every process
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, values)

    def test_every_setting_is_described(self, tmp_path: Path) -> None:
        with self.open_backend(tmp_path) as backend:
            tracer = self._loaded(backend)
        fields = type(tracer.settings).model_fields
        bare = [name for name, each in fields.items() if not each.description]
        _expect(not bare, f"settings without a description: {', '.join(bare)}")
        if tracer.isolation == "process":
            tracer.check_settings_cross()

    def test_spans_arrive_once_and_as_they_are(self, sample: str, tmp_path: Path) -> None:
        spans = spans_of(SAMPLES[sample]())
        keeps = [key for key in self.keeps if sample != "hostile" or key != "name"]
        with self.open_backend(tmp_path) as backend, self._started(backend) as tracer:
            result = _exported(tracer, spans)
            _expect(not result.rejected and not result.retry, f"not all were taken: {result}")
            self._check_arrived(backend, spans, keeps)

    def test_columns_and_single_spans_arrive_alike(self, tmp_path: Path) -> None:
        records = [*SAMPLES["usual"](), *SAMPLES["failed"]()]
        with self.open_backend(tmp_path) as backend, self._started(backend) as tracer:
            _exported(tracer, [span for record in records for span in record])
            self._check_arrived(backend, spans_of(records), self.keeps)

    def test_of_no_spans_nothing_arrives(self, tmp_path: Path) -> None:
        with self.open_backend(tmp_path) as backend, self._started(backend) as tracer:
            _exported(tracer, spans_of([]))
            self._check_arrived(backend, [], self.keeps)

    def test_after_a_stop_another_starts(self, tmp_path: Path) -> None:
        spans = [spans_of(SAMPLES["usual"]()) for _ in range(2)]
        with self.open_backend(tmp_path) as backend:
            for each in spans:
                with self._started(backend) as tracer:
                    _exported(tracer, each)
            self._check_arrived(backend, [*spans[0], *spans[1]], self.keeps)

    def test_what_a_faulty_backend_does_not_take_is_handed_back_or_counted(
        self, fault: Fault, tmp_path: Path
    ) -> None:
        spans = spans_of(SAMPLES["usual"]())
        with self.open_backend(tmp_path) as backend, self._started(backend) as tracer:
            backend.faults[fault]()
            results = [_exported(tracer, spans)]
            if backend.recover is None:
                return
            if fault != "partial":
                backend.recover()
            while results[-1].retry and len(results) < _CALLS:
                results.append(_exported(tracer, results[-1].retry))
            _expect(not results[-1].retry, f"never taken: {results[-1].reason}")
            _expect(fault == "dead" or not results[0].rejected, f"given up: {results[0].reason}")
            if fault != "slow" and not any(each.rejected for each in results):
                self._check_arrived(backend, spans, self.keeps)

    def test_all_spans_of_a_server_arrive(self, exporter: str, tmp_path: Path) -> None:
        config = {"tracing": {"exporter": exporter}}
        with self.open_backend(tmp_path) as backend:
            tracer = (self.tracer, backend.settings)
            with client(load.Doubles, config=config, tracers=[tracer]) as server:
                load.ask(str(server.base_url), 40)
            spans = [span for trace in server.traces() for span in trace.spans]
            self._check_arrived(backend, spans, self.keeps)

    def test_of_a_server_that_stops_under_load_all_spans_arrive(
        self, exporter: str, tmp_path: Path
    ) -> None:
        config = {"tracing": {"exporter": exporter}}
        with self.open_backend(tmp_path) as backend:
            tracer = (self.tracer, backend.settings)
            with client(load.Doubles, config=config, tracers=[tracer]) as server:
                asking = load.Asking(str(server.base_url))
            answered = asking.answered()
            spans = [span for trace in server.traces() for span in trace.spans]
            _expect(answered > 0, "nothing was answered before the stop")
            self._check_arrived(backend, spans, self.keeps)

    def test_no_request_notices_a_fault_and_a_stop_ends(
        self, fault: Fault, exporter: str, tmp_path: Path
    ) -> None:
        queue = {"flush_timeout_s": _FLUSH_S, "flush_interval_ms": 1}
        config = {"tracing": {"exporter": exporter, "queue": queue}}
        with self.open_backend(tmp_path) as backend:
            tracer = (self.tracer, backend.settings)
            with client(load.Doubles, config=config, tracers=[tracer]) as server:
                backend.faults[fault]()
                load.ask(str(server.base_url), 40)
                load.check_books(server.get("/metrics").text, self.tracer)
                stops_s = time.monotonic()
            took_s = time.monotonic() - stops_s
            _expect(took_s < _STOPS_S, f"the stop took {took_s:.1f} s")

    def test_all_spans_of_two_workers_arrive(self, workers: int, tmp_path: Path) -> None:
        with self.open_backend(tmp_path) as backend:
            section = {"type": self.tracer, self.tracer: dict(backend.settings)}
            config = {"tracing": section, "server": {"workers": workers}}
            with served(load.SERVICE, config, tmp_path) as url:
                ids = load.ask(url, 40)
            _until(lambda: not self._missing(backend, ids))
            missing = self._missing(backend, ids)
            _expect(not missing, f"of {len(ids)} requests {missing} did not arrive once")
            _expect(not [*backend.problems()], f"{[*backend.problems()]}")

    def _missing(self, backend: Backend, ids: Collection[str]) -> int:
        """Return how many requests are not there, or there more than once."""
        rows = [*backend.received()]
        missing = len({*ids} - {row["trace_id"] for row in rows}) if "trace_id" in self.keeps else 0
        name = self.kept("name", load.ROOT)
        roots = [row for row in rows if "name" in self.keeps and row["name"] == name]
        return max(missing, abs(len(ids) - len(roots)) if "name" in self.keeps else 0)

    def _loaded(self, backend: Backend) -> LoadedTracer:
        return load_plugin(self.tracer).configured(dict(backend.settings), {})

    @contextmanager
    def _started(self, backend: Backend) -> Iterator[LoadedTracer]:
        tracer = self._loaded(backend)
        tracer.call.tracer_started(tracer.settings, _RESOURCE)
        try:
            yield tracer
        finally:
            tracer.call.tracer_stopping(1)

    def _check_arrived(self, backend: Backend, spans: Iterable[Span], keeps: Sequence[str]) -> None:
        """Wait until these spans arrived; AssertionError where others did, or one did twice."""
        expected = Rows(
            tuple(self.kept(key, getattr(span, key)) for key in keeps) for span in spans
        )

        def rows() -> Rows:
            return Rows(tuple(row[key] for key in keeps) for row in backend.received())

        _until(lambda: rows() == expected)
        found = rows()
        missing, more = expected - found, found - expected
        _expect(
            not missing and not more,
            f"of {expected.total()} spans {missing.total()} did not arrive and {more.total()} "
            f"others did ({', '.join(keeps)}): missing {[*missing][:3]}, others {[*more][:3]}",
        )
        _expect(not [*backend.problems()], f"{[*backend.problems()]}")


def _exported(tracer: LoadedTracer, spans: Sequence[Span]) -> ExportResult:
    """Return what became of spans; AssertionError where the numbers do not add up."""
    began_s = time.monotonic()
    result = tracer.call.export_spans(spans) or ExportResult(len(spans))
    took_s = time.monotonic() - began_s
    _expect(took_s < _CALL_S, f"export_spans took {took_s:.1f} s")
    sent = result.delivered + result.unconfirmed
    told = sent + result.rejected + len(result.retry)
    _expect(told == len(spans), f"of {len(spans)} spans the result has {told}: {result}")
    needs_reason = result.rejected or len(result.retry)
    _expect(not needs_reason or bool(result.reason), "the result gives no reason")
    return result


def _until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + _ARRIVES_S
    while not is_so() and time.monotonic() < give_up_s:
        time.sleep(_LOOK_AGAIN_S)


def _expect(is_so: bool, words: str) -> None:  # noqa: FBT001  # as assert has it
    """Say what is wrong in words: pytest explains the asserts of a test's own module only."""
    if not is_so:
        raise AssertionError(words)
