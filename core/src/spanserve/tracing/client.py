"""The other end of a connection: where its requests come from, and how."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from spanserve.tracing.http import Origin

_NO_ORIGIN: Final = Origin("", "", b"", "", "", "", False, None, None)


class Client:
    """A client, by its address and port, and what its newest request was like."""

    __slots__ = ("_address", "_key", "_newest", "_scheme", "port")

    def __init__(self, scheme: str, address: tuple[str, int] | None) -> None:
        self._address, self.port = address or ("", 0)
        self._scheme = scheme
        self._key: tuple[str, bytes | None, bytes | None] = "", None, None
        self._newest = _NO_ORIGIN

    def origin(self, path: str, fields: Mapping[bytes, bytes]) -> Origin:
        """Return the origin of a POST to `path` with these headers; most are as the one before."""
        if self._key != (path, fields.get(b"host"), fields.get(b"user-agent")):
            self._newest = self._origin(path, fields)
        return self._newest

    def _origin(self, path: str, fields: Mapping[bytes, bytes]) -> Origin:
        host, user_agent = fields.get(b"host"), fields.get(b"user-agent")
        origin = _origin(path, self._scheme, self._address, self.port > 0, host, user_agent)
        # Those that all its connections share, and not this request's: they are in the cache.
        self._key = origin.path, origin.host, origin.user_agent
        return origin


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
