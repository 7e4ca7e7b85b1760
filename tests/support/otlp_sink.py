"""OTLP receivers over HTTP and gRPC, each on a port of its own, for tests."""

import gzip
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

import grpc  # type: ignore[import-untyped]  # grpcio ships no stubs
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # it ships none
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # as above
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_OK: Final = 200


@dataclass(frozen=True)
class Refusal:
    """How a request is refused: over HTTP by a status, over gRPC by a code and its details.

    `retry_after_s` is said as each protocol has it; `in_status` is gRPC's other place for it.
    """

    status: int = 400
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    details: str = "refused"
    retry_after_s: int | None = None
    in_status: bool = True


class OtlpSink:
    """What both receivers share; a context manager.

    `spans` are dicts with trace_id, span_id, parent_id (None at a root), name, kind (SERVER
    and so on), start_ns, end_ns, attributes, links, events, error (None, or the description)
    and resource. `headers` are those of each request, by lower-case name; `paths` of HTTP ones.
    `violations` say what a collector would refuse. `refuse_if` makes it refuse some requests or
    all, `requests` counts those that came.
    """

    host = "127.0.0.1"
    port: int

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._spans: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.violations: list[str] = []
        self.requests = 0
        self._refuses: Callable[[Sequence[str], int], bool] = lambda _names, _size: False
        self._refusal = Refusal()

    def refuse_if(
        self, predicate: Callable[[Sequence[str], int], bool], refusal: "Refusal | None" = None
    ) -> None:
        """Refuse, from now on, each request for whose spans' names and size this holds."""
        self._refuses, self._refusal = predicate, refusal or Refusal()

    def accept(self) -> None:
        """Be a good collector from now on."""
        self.refuse_if(lambda _names, _size: False)

    def refusal(self, request: ExportTraceServiceRequest) -> "Refusal | None":
        """Count a request, and say how to refuse it, if it is to be."""
        self.requests += 1
        names = [
            span.name
            for per_resource in request.resource_spans
            for per_scope in per_resource.scope_spans
            for span in per_scope.spans
        ]
        return self._refusal if self._refuses(names, request.ByteSize()) else None

    @property
    def endpoint(self) -> str:
        """The URL to send to, without a path."""
        return f"http://{self.host}:{self.port}"

    @property
    def spans(self) -> list[dict[str, Any]]:
        """All spans that came so far, in their order."""
        with self._changed:
            return list(self._spans)

    def wait_for_spans(self, count: int, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Wait until this many spans came; AssertionError: they did not, or one was bad."""
        with self._changed:
            came = self._changed.wait_for(
                lambda: self.violations or len(self._spans) >= count, timeout_s
            )
        assert not self.violations, self.violations
        assert came, f"{len(self.spans)} of {count} spans came within {timeout_s} s"
        return self.spans

    def close(self) -> None:
        """Stop receiving."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def take(self, request: ExportTraceServiceRequest, headers: dict[str, str], path: str) -> None:
        """Keep what a request holds."""
        spans = [
            _plain_span(span, _attributes(per_resource.resource.attributes))
            | {"schema_url": per_resource.schema_url}
            for per_resource in request.resource_spans
            for per_scope in per_resource.scope_spans
            for span in per_scope.spans
        ]
        bad = [f"bad ids or times: {span}" for span in spans if not _is_valid(span)]
        with self._changed:
            self._spans += spans
            self.headers.append(headers)
            self.paths.append(path)
            self.violations += bad
            self._changed.notify_all()


class OtlpHttpSink(OtlpSink):
    """Takes POST of protobuf; answers `answers` in turn, then 200 for ever.

    Only what is answered with 200 counts as received.
    """

    def __init__(self, *, answers: Sequence[int] = ()) -> None:
        super().__init__()
        left = list(answers)
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = left.pop(0) if left else _OK
                headers = {k.lower(): v for k, v in self.headers.items()}
                refusal = sink.receive(body, headers, self.path, status)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(refusal.status if refusal else status)
                if refusal and refusal.retry_after_s is not None:
                    self.send_header("Retry-After", str(refusal.retry_after_s))
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base's name
                pass

        # Closing waits for the handlers' threads, whose connections the clients keep alive.
        Handler.timeout = 5
        self._server = ThreadingHTTPServer((self.host, 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def receive(
        self, body: bytes, headers: dict[str, str], path: str, status: int
    ) -> Refusal | None:
        """Parse one request's body, and keep its spans if all is well."""
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if headers.get("content-type") != "application/x-protobuf":
            self.violations.append(f"content type {headers.get('content-type')}")
        request = ExportTraceServiceRequest.FromString(body)
        refusal = self.refusal(request)
        if refusal is None and status == _OK:
            self.take(request, headers, path)
        return refusal

    def close(self) -> None:
        """Stop receiving and close the socket."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class OtlpGrpcSink(OtlpSink):
    """Takes the unary call `Export` of the trace service."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._server = grpc.server(self._pool)
        add_TraceServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated
            _Servicer(self), self._server
        )
        self.port = self._server.add_insecure_port(f"{self.host}:0")
        self._server.start()

    def close(self) -> None:
        """Stop receiving and close the port."""
        self._server.stop(grace=None).wait()
        self._pool.shutdown()


class _Servicer(TraceServiceServicer):
    def __init__(self, sink: OtlpSink) -> None:
        self._sink = sink

    def Export(  # noqa: N802 - the service's own name
        self, request: ExportTraceServiceRequest, context: Any
    ) -> ExportTraceServiceResponse:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        refusal = self._sink.refusal(request)
        if refusal is not None:
            _refuse(context, refusal)
        self._sink.take(request, headers, "")
        return ExportTraceServiceResponse()


def _refuse(context: Any, refusal: Refusal) -> None:
    if refusal.retry_after_s is not None:
        info = RetryInfo()
        info.retry_delay.seconds = refusal.retry_after_s
        status = Status(code=refusal.code.value[0], message=refusal.details)
        status.details.add().Pack(info)
        trailer = ("google.rpc.retryinfo-bin", info.SerializeToString())
        if refusal.in_status:
            trailer = ("grpc-status-details-bin", status.SerializeToString())
        context.set_trailing_metadata((trailer,))
    context.abort(refusal.code, refusal.details)


def _plain_span(span: Span, resource: dict[str, Any]) -> dict[str, Any]:
    is_error = span.status.code == span.status.STATUS_CODE_ERROR
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_id": span.parent_span_id.hex() or None,
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        "start_ns": span.start_time_unix_nano,
        "end_ns": span.end_time_unix_nano,
        "attributes": _attributes(span.attributes),
        "links": [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": _attributes(link.attributes),
                "trace_state": link.trace_state,
                "flags": link.flags,
            }
            for link in span.links
        ],
        "events": [
            {
                "name": event.name,
                "time_ns": event.time_unix_nano,
                "attributes": _attributes(event.attributes),
            }
            for event in span.events
        ],
        "error": span.status.message if is_error else None,
        "trace_state": span.trace_state,
        "resource": resource,
    }


def _is_valid(span: dict[str, Any]) -> bool:
    lengths = len(span["trace_id"]) == 32 and len(span["span_id"]) == 16
    return lengths and span["end_ns"] >= span["start_ns"]


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return None if kind is None else getattr(value, kind)
