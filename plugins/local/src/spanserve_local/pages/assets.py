"""The viewer's scripts and styles."""

import hashlib
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "png": "image/png",
    "ico": "image/x-icon",
    "txt": "text/plain; charset=utf-8",
}


class Assets:
    """The files of one folder and its folders, and no others; each is read once."""

    def __init__(self, folder: Traversable) -> None:
        self._files = dict(_below(folder))
        self._read: dict[str, tuple[bytes, str]] = {}

    def answer(self, name: str, request: Request) -> Response:
        """Return a file, or that it is the one that the browser has."""
        if name not in self._files or request.method not in {"GET", "HEAD"}:
            return JSONResponse({"code": "not_found", "message": "there is no such file"}, 404)
        if name not in self._read:
            content = self._files[name].read_bytes()
            self._read[name] = content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        content, tag = self._read[name]
        headers = {"etag": tag, "cache-control": "no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        kind = _TYPES[name.rpartition(".")[2]]
        return Response(content, media_type=kind, headers=headers)


def _below(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for each in folder.iterdir() if folder.is_dir() else ():
        if each.is_dir():
            yield from _below(each, f"{prefix}{each.name}/")
        elif each.name.rpartition(".")[2] in _TYPES:
            yield f"{prefix}{each.name}", each
