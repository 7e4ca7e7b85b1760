"""Everything under /traces/: the gate, the pages and the read API."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from spanserve_local.pages.access import Access, Refusal
from spanserve_local.pages.api import Api
from spanserve_local.pages.assets import Assets
from spanserve_local.place import file_of
from spanserve_local.settings import LocalSettings
from spanserve_local.store.reader import Reader

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PREFIX: Final = "/traces"
LOGIN_STYLE: Final = "/assets/login.css"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
MAX_FORM_BYTES: Final = 4096
_SAFE_QUERY: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=&%._-+~*"
)


class Viewer:
    """The viewer of one server."""

    def __init__(self, settings: LocalSettings, server_url: str | None) -> None:
        token = settings.token
        self._access = Access(None if token is None else token.get_secret_value())
        self._url = server_url
        self._reader = Reader(file_of(settings.path), max_age_s=settings.max_age)
        self._api = Api(self._reader)
        self._web = files("spanserve_local") / "web"
        self._assets = Assets(self._web / "assets")

    @property
    def paths(self) -> Sequence[str]:
        """Return the paths whose requests are not to be traced."""
        return PREFIX, f"{PREFIX}/*"

    def add_to(self, app: "FastAPI") -> None:
        """Let an app answer here."""
        app.mount(PREFIX, self)

    def trace_url(self, trace_id: str) -> str | None:
        """Return where a trace can be looked at."""
        return None if self._url is None else f"{self._url}{PREFIX}/?trace={trace_id}"

    def close(self) -> None:
        """Close the file."""
        self._api.close()
        self._reader.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request below the prefix, if whoever sent it may look."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        path = _path(scope)
        if path == "/api" or path.startswith("/api/"):
            refusal = self._access.refusal(scope)
            answer = self._api.app if refusal is None else _json(refusal)
        else:
            answer = await self._page(path, Request(scope, receive))
        await answer(scope, receive, sent)

    async def _page(self, path: str, request: Request) -> Response:
        if path == LOGIN_STYLE:  # of the pages for those who may not look
            return self._assets.answer(path.removeprefix("/assets/"), request)
        if path == "/login":
            return await self._login(request)
        refusal = self._access.refusal(request.scope)
        if refusal is not None:
            return self._refused(refusal, request)
        if request.method not in {"GET", "HEAD"}:
            return Response(status_code=405, headers={"allow": "GET, HEAD"})
        return self._shown(path, request)

    def _shown(self, path: str, request: Request) -> Response:
        """Answer somebody who may look."""
        if path.startswith("/assets/"):
            return self._assets.answer(path.removeprefix("/assets/"), request)
        if path == "":
            query = request.url.query
            root = request.scope.get("root_path", "")
            return RedirectResponse(f"{root}/{f'?{query}' if query else ''}", 307)
        if path != "/":
            return JSONResponse({"code": "not_found", "message": "there is no such page"}, 404)
        page = (self._web / "index.html").read_text(encoding="utf-8")
        return HTMLResponse(page, headers={"cache-control": "no-store"})

    def _refused(self, refusal: Refusal, request: Request) -> Response:
        if refusal.status == 401:  # noqa: PLR2004  # whoever has the token may log in
            return self._form(request.url.query, status=401)
        page = (self._web / "refused.html").read_text(encoding="utf-8")
        return HTMLResponse(page.replace("{{why}}", _escaped(refusal.message)), refusal.status)

    def _form(self, query: str, *, status: int, wrong: bool = False) -> Response:
        page = (self._web / "login.html").read_text(encoding="utf-8")
        page = page.replace("{{next}}", _escaped(_safe(query)))
        page = page.replace("{{wrong}}", "This is not the token." if wrong else "")
        headers = {"cache-control": "no-store", "www-authenticate": 'Bearer realm="traces"'}
        return HTMLResponse(page, status, headers)

    async def _login(self, request: Request) -> Response:
        if not self._access.has_token:
            return RedirectResponse("./", 303)
        if request.method != "POST":
            return self._form("", status=200)
        form = parse_qs(await _body(request), max_num_fields=10)
        following = _safe(form.get("next", [""])[0])
        if not self._access.knows(form.get("token", [""])[0]):
            return self._form(following, status=401, wrong=True)
        root = request.scope.get("root_path", "")
        cookie = self._access.cookie(path=root or PREFIX, secure=request.url.scheme == "https")
        headers = {"set-cookie": cookie, "cache-control": "no-store"}
        return RedirectResponse(f"./{f'?{following}' if following else ''}", 303, headers)


def _path(scope: Scope) -> str:
    path, root = scope["path"], scope.get("root_path", "")
    return str(path.removeprefix(root))


def _json(refusal: Refusal) -> Response:
    headers = {"cache-control": "no-store"}
    if refusal.status == 401:  # noqa: PLR2004  # as HTTP has it
        headers["www-authenticate"] = 'Bearer realm="traces"'
    content = {"code": refusal.code, "message": refusal.message}
    return JSONResponse(content, refusal.status, headers)


def _safe(query: str) -> str:
    """Return a query that leads nowhere else; nothing where there is more in it."""
    return query if set(query) <= _SAFE_QUERY else ""


async def _body(request: Request) -> str:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM_BYTES:
            return ""
    return body.decode("utf-8", "replace")


def _escaped(text: str) -> str:
    for character, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot")):
        text = text.replace(character, f"&{name};")
    return text
