"""What a test of tracing is built of: a clock it turns, tracers of plain objects, requests."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from spanserve import Resource
from spanserve.config.model import TracingConfig
from spanserve.tracing.admission.http_attributes import Origin, origin_of
from spanserve.tracing.export.outcome import Drop
from spanserve.tracing.model.clock import Clock, Ids
from spanserve.tracing.plugins.loading import LoadedTracer, opened
from spanserve.tracing.recording.record import BatchRecord, ItemRecord, RequestRecord
from spanserve.tracing.recording.table import Table
from spanserve.tracing.tracing import Tracing

RESOURCE = Resource("tests", {"service.name": "tests"})
UNIX_NS = 1_700_000_000_000_000_000


class Watch:
    """A clock that stands still until it is told; each reading can let it tick."""

    def __init__(self, now_ns: int = 1_000, *, tick_ns: int = 0) -> None:
        self.now = now_ns
        self.tick_ns = tick_ns

    def read(self) -> int:
        self.now += self.tick_ns
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)

    @property
    def clock(self) -> Clock:
        # Unix time is read first: the offset is the same whatever a reading takes.
        return Clock(self.read, lambda: self.now + self.tick_ns + UNIX_NS)


def tracer(plugin: object, name: str = "test") -> LoadedTracer:
    """Load a plugin object as an entry point's would be."""
    return opened(plugin, name, "tests", "1").configured({}, {})


def gate(
    *plugins: object, watch: Watch | None = None, ids: Ids | None = None, **config: Any
) -> Tracing:
    """Build the gate of these plugins, called `t0`, `t1`, ...; it is not started."""
    return Tracing(
        [tracer(plugin, f"t{index}") for index, plugin in enumerate(plugins)],
        TracingConfig(**config),
        RESOURCE,
        clock=(watch or Watch(tick_ns=1_000)).clock,
        ids=ids or Ids(seed=1),
    )


def http_scope(path: str = "/predict", **changes: Any) -> dict[str, Any]:
    """Return the ASGI scope of a POST request."""
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"localhost:8000")],
        "client": ("127.0.0.1", 5555),
    }
    return scope | changes


def http_origin() -> tuple[Origin, int]:
    """Return what a record keeps of a POST request."""
    scope = http_scope()
    return origin_of(scope, dict(scope["headers"]))


class Sent(list[Table]):
    """What a gate hands to its exporters, in their place."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: Counter[Drop] = Counter()

    @classmethod
    def of(cls, tracing: Tracing) -> Self:
        """Stand in for all exporters of this gate."""
        sent = cls()
        tracing.exporters = (sent,)  # type: ignore[assignment]  # it has what the gate calls
        return sent

    def put(self, record: Table) -> None:
        """Take a record."""
        self.append(record)

    def lose(self, spans: int, why: Drop) -> None:
        """Count what was dropped before it could be taken."""
        self.lost[why] += spans


def begun(
    tracing: Tracing, headers: Mapping[str, str] | None = None, path: str = "/predict"
) -> RequestRecord:
    """Begin a request that carries these headers."""
    lines = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    record = tracing.request(http_scope(path, headers=lines), request_id="r", route=path)
    assert record is not None
    record.endpoint = path
    return record


def queued(tracing: Tracing, record: RequestRecord | None, depth: int = 0) -> ItemRecord:
    """Queue an item of a request, as the batcher does."""
    item = ItemRecord(record, tracing.now_ns(), depth)
    if record is not None:
        record.item_queued(item)
    return item


def released(tracing: Tracing, items: Sequence[ItemRecord], reason: str = "full") -> BatchRecord:
    """Release a batch of these items."""
    return tracing.batch("/predict", reason, items, runner_free_ns=0, released_ns=tracing.now_ns())


def run(tracing: Tracing, batch: BatchRecord) -> None:
    """Run a batch without failure, as the runner does, and end it, as the batcher does."""
    begin_run(tracing, batch)
    end_run(tracing, batch)


def ran(tracing: Tracing, batch: BatchRecord) -> None:
    """Run a batch without failure, as the runner does."""
    begin_run(tracing, batch)
    batch.run_ended(tracing.now_ns())
    batch.ended(tracing.now_ns())


def begin_run(tracing: Tracing, batch: BatchRecord) -> None:
    """Begin to run a batch: the model's code comes next."""
    batch.collate_started(tracing.now_ns())
    batch.run_started(tracing.now_ns())


def end_run(tracing: Tracing, batch: BatchRecord) -> None:
    """End a batch that was begun."""
    batch.run_ended(tracing.now_ns())
    batch.ended(tracing.now_ns())
    tracing.answered(batch, ())


def answered(tracing: Tracing, record: RequestRecord, status: int = 200) -> None:
    """Encode the answer of a request, and end it."""
    record.encode_started(tracing.now_ns())
    record.encode_ended(tracing.now_ns())
    record.status = status
    tracing.request_ended(record)
