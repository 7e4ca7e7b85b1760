"""The other end of a connection: where its requests come from, and how."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from spanserve.tracing.http import Origin

_NO_ORIGIN: Final = Origin("", "", b"", "", "", "", False, None, None)


class Client:
    """A client, by its address and port, and what its newest request was like."""

    __slots__ = ("_address", "_host", "_newest", "_path", "_scheme", "_user_agent", "port")

    def __init__(self, scheme: str, address: tuple[str, int] | None) -> None:
        self._address, self.port = address or ("", 0)
        self._scheme = scheme
        self._path = ""
        self._host: bytes | None = None
        self._user_agent: bytes | None = None
        self._newest = _NO_ORIGIN

    def origin(self, path: str, fields: Mapping[bytes, bytes]) -> Origin:
        """Return the origin of a POST to `path` with these headers; most are as the one before."""
        host, user_agent = fields.get(b"host"), fields.get(b"user-agent")
        if path != self._path or host != self._host or user_agent != self._user_agent:
            is_peer = self.port > 0
            newest = _origin(path, self._scheme, self._address, is_peer, host, user_agent)
            # Those that all its connections share, and not this request's: they are in the cache.
            self._path, self._host, self._user_agent = path, newest.host, newest.user_agent
            self._newest = newest
        return self._newest


# One for all connections of a client, so that a batch need not compare them.
@lru_cache(maxsize=1024)
def _origin(  # noqa: PLR0917  # as `Origin`
    path: str,
    scheme: str,
    address: str,
    is_peer: bool,  # noqa: FBT001  # as above
    host: bytes | None,
    user_agent: bytes | None,
) -> Origin:
    return Origin("POST", path, b"", scheme, "1.1", address, is_peer, host, user_agent)
