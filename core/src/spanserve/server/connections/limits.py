"""How much a client may send before it is known to be one, and how long it may take."""

from typing import Final, NamedTuple, Self

from spanserve.config.model import ServerConfig

MAX_HEADERS: Final = 128


class Limits(NamedTuple):
    """The limits of every connection, as in `server` of the configuration."""

    max_header_bytes: int
    header_timeout_s: float
    body_timeout_s: float
    max_buffered_bytes: int

    @classmethod
    def of(cls, server: ServerConfig) -> Self:
        """Return the limits that a configuration sets."""
        return cls(*(getattr(server, name) for name in cls._fields))
