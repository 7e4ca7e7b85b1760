"""What our HTTP protocol needs of uvicorn's, which are no promises of uvicorn's."""

import inspect
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

METHODS: Final = (
    "connection_lost",
    "data_received",
    "on_body",
    "on_header",
    "on_headers_complete",
    "on_message_begin",
    "on_message_complete",
    "on_response_complete",
    "timeout_keep_alive_handler",
    "_start_asgi_task",
    "_unset_keepalive_if_required",
)
CYCLE: Final = (
    "scope",
    "transport",
    "flow",
    "logger",
    "access_logger",
    "access_log",
    "default_headers",
    "message_event",
    "expect_100_continue",
    "keep_alive",
    "on_response",
)
CYCLES_OWN: Final = ("body", "disconnected", "more_body")


def missing() -> list[str]:
    """Return what is not as it is needed in the uvicorn that is installed."""
    lacking = [name for name in METHODS if not hasattr(HttpToolsProtocol, name)]
    has = RequestResponseCycle.__init__.__code__.co_names
    lacking += [name for name in CYCLES_OWN if name not in has]
    cycle = list(inspect.signature(RequestResponseCycle).parameters)
    return lacking if cycle == list(CYCLE) else [*lacking, "RequestResponseCycle"]
