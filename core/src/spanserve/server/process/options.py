"""What uvicorn is told."""

import asyncio
import logging
import math
from importlib.metadata import version
from typing import Any

import uvicorn

from spanserve.config.model import Config
from spanserve.server.connections.limited_h11 import LimitedH11

log = logging.getLogger(__name__)


def uvicorn_config(config: Config, app: Any, logs: dict[str, Any] | None) -> uvicorn.Config:
    """Return uvicorn's configuration of a process that serves this app; its lifespan is ours."""
    server = config.server
    return uvicorn.Config(
        app,
        interface="asgi3",
        log_config=logs,
        access_log=False,  # it is written by a thread of our own
        lifespan="off",
        http=http_protocol(),
        ws="auto",
        server_header=False,
        root_path=server.root_path,
        proxy_headers=server.proxy_headers,
        ssl_certfile=server.ssl_certfile,
        ssl_keyfile=server.ssl_keyfile,
        timeout_keep_alive=server.keep_alive_timeout_s,  # type: ignore[arg-type]  # only added to times
        timeout_graceful_shutdown=math.ceil(server.drain_timeout_s),
    )


def http_protocol() -> type[asyncio.Protocol]:
    """Return the HTTP protocol: with the short way of requests, or uvicorn's own within limits."""
    try:
        # They need httptools.
        from spanserve.server.connections.limited_httptools import LimitedHttpTools  # noqa: PLC0415
        from spanserve.server.direct import protocol, upstream  # noqa: PLC0415
    except ImportError as error:
        log.warning("requests are read by h11, which costs more time: %s", error)
        return LimitedH11
    lacking = ", ".join(upstream.missing())
    if not lacking:
        return protocol.DirectProtocol
    log.warning(
        "uvicorn %s has not all that the short way of requests needs (%s); they go uvicorn's own",
        version("uvicorn"),
        lacking,
    )
    return LimitedHttpTools
