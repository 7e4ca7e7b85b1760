"""What answers while the service loads, and lets the service's own app take over."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from spanserve.server.app import App
from spanserve.server.connections.shared import Connections
from spanserve.server.http.answer import RequestError
from spanserve.server.http.exchange import Receive, Scope, Send
from spanserve.server.http.front_door import FrontDoor

RETRY_AFTER_S: Final = 1

_ALIVE: Final = ("/livez", "/healthz")
_OPERATIONS: Final[Mapping[str, Callable[[], Response]]] = {
    **dict.fromkeys(_ALIVE, lambda: PlainTextResponse("ok\n")),
    "/readyz": lambda: PlainTextResponse("starting\n", 503, _headers()),
    "/v2/health/live": lambda: JSONResponse({"live": True}),
    "/v2/health/ready": lambda: JSONResponse({"ready": False}, 503, _headers()),
}


class Starting:
    """Says that it is alive and not ready, and of everything else that it must be asked later.

    With `closing` each connection ends with its answer: whoever serves then is another process.
    """

    def __init__(self, connections: Connections, *, root_path: str, closing: bool = False) -> None:
        self.connections = connections
        self._root_path = root_path
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; its body is not read."""
        answer = _OPERATIONS.get(scope["path"].removeprefix(self._root_path), _later)
        response = answer()
        if self._closing:
            response.headers["connection"] = "close"
        await response(scope, receive, send)


def _later() -> Response:
    request_id = uuid.uuid4().hex
    refusal = RequestError(
        503, "starting", f"the service is loading; try again in {RETRY_AFTER_S} s"
    )
    body = refusal.body(request_id, None)
    return JSONResponse(body, 503, {**_headers(), "X-Request-Id": request_id})


def _headers() -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_S)}


class Entrance:
    """The app that uvicorn is given: the service's own, once that is there."""

    def __init__(self, connections: Connections, *, root_path: str) -> None:
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]]
        self._app = Starting(connections, root_path=root_path)
        self.connections = connections
        self.front: FrontDoor | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Have a request answered, by whichever app is there."""
        return self._app(scope, receive, send)

    def open(self, app: App) -> None:
        """Let the service's app answer from now on, on all connections."""
        self._app = app
        self.front = app.front
        app.connections = self.connections
        if self.front is not None:
            self.connections.access = self.front.access
