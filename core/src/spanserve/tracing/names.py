"""The names that spanserve gives to spans, attributes and events.

HTTP, error and exception names are OpenTelemetry's semantic conventions 1.44; all others
are spanserve's own and start with `spanserve.`.
"""

from typing import Final

DECODE: Final = "decode"
QUEUE: Final = "queue"
COLLATE: Final = "collate"
RUN: Final = "run"
SPLIT: Final = "split"
ENCODE: Final = "encode"
BATCH: Final = "batch"

ENDPOINT: Final = "spanserve.endpoint"
REQUEST_ID: Final = "spanserve.request_id"
BATCH_TRACE_ID: Final = "spanserve.batch.trace_id"
BATCH_SPAN_ID: Final = "spanserve.batch.span_id"
BATCH_SIZE: Final = "spanserve.batch.size"
BATCH_POSITION: Final = "spanserve.batch.position"
QUEUE_DEPTH: Final = "spanserve.queue.depth"
WAIT_FOR_PEERS_MS: Final = "spanserve.wait.for_peers_ms"
WAIT_FOR_RUNNER_MS: Final = "spanserve.wait.for_runner_ms"
RELEASE_REASON: Final = "spanserve.release_reason"
RUN_SHARE_MS: Final = "spanserve.run.share_ms"
RUN_UNFINISHED: Final = "spanserve.run.unfinished"
CLIENT_LEFT: Final = "spanserve.client_left"
CUSTOM_LOST: Final = "spanserve.custom_spans.lost"
COPY_OF: Final = "spanserve.copy_of"
LINK_POSITION: Final = "position"
LINK_WAIT_MS: Final = "wait_ms"

ERROR_TYPE: Final = "error.type"
EXCEPTION: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

HTTP_METHOD: Final = "http.request.method"
HTTP_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS: Final = "http.response.status_code"
URL_PATH: Final = "url.path"
URL_QUERY: Final = "url.query"
URL_SCHEME: Final = "url.scheme"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
PEER_ADDRESS: Final = "network.peer.address"
PEER_PORT: Final = "network.peer.port"
PROTOCOL_VERSION: Final = "network.protocol.version"
USER_AGENT: Final = "user_agent.original"
