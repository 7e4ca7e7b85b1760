"""The other end of a connection: where its requests come from, and how."""

from functools import lru_cache
from typing import NamedTuple

from spanserve.tracing.admission.http_attributes import Origin


class Source(NamedTuple):
    """What all connections of a client have in common; `is_peer` as in `Origin`."""

    scheme: str
    address: str
    is_peer: bool


class Client:
    """A client, by its `source` and its port, 0 where it has none."""

    __slots__ = ("port", "source")

    def __init__(self, scheme: str, address: tuple[str, int] | None) -> None:
        host, self.port = address or ("", 0)
        self.source = _source(scheme, host, self.port > 0)


# The same object for all connections of a client, which are compared by the thousand.
_source = lru_cache(maxsize=1024)(Source)


# Most are asked for again with the next batch.
@lru_cache(maxsize=1024)
def post_origin(
    path: str, source: Source, host: bytes | None, user_agent: bytes | None, key_name: str
) -> Origin:
    """Return the origin of a POST to `path` with these headers, by whoever has this key."""
    scheme, address, is_peer = source
    return Origin("POST", path, b"", scheme, "1.1", address, is_peer, host, user_agent, key_name)
