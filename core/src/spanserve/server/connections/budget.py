"""Memory for the bodies that are being read, of all connections of a process together."""

from typing import Final, Protocol

_A_READ: Final = 64 * 1024
"""About what a connection reads at a time, once it may."""

_MOST_OVER: Final = 2
"""Times the limit: a reader is stopped only once it has read something."""


class Reader(Protocol):
    """A connection that reads a body."""

    buffered_bytes: int

    def stop_reading(self) -> None:
        """Leave in the socket what comes."""

    def go_on_reading(self) -> None:
        """Read on."""


class BodyBudget:
    """Stops readers while they hold more than the limit, but the one that began first.

    So there is always one that goes on, however small the limit is.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._readers: dict[Reader, None] = {}
        self._stopped: dict[Reader, None] = {}

    def take(self, reader: Reader, size: int) -> None:
        """Count bytes that were read; stops the reader where there is no room for more."""
        self._readers.setdefault(reader)
        self.used += size
        reader.buffered_bytes += size
        if reader not in self._stopped and not self._may_read(reader, self.used):
            self._stopped[reader] = None
            reader.stop_reading()

    def give_back(self, reader: Reader) -> None:
        """Count a body no more: it is whole, or nobody wants it."""
        if reader not in self._readers:
            return
        del self._readers[reader]
        self.used -= reader.buffered_bytes
        reader.buffered_bytes = 0
        if reader in self._stopped:
            self._let_go(reader)
        self._wake()

    def is_stopped(self, reader: Reader) -> bool:
        """Say whether a reader waits for room."""
        return reader in self._stopped

    def is_too_much(self, reader: Reader) -> bool:
        """Say whether a reader had better go, since what all read before they stop is too much."""
        return self.used > _MOST_OVER * self.limit and reader in self._stopped

    def _may_read(self, reader: Reader, used: int) -> bool:
        return used < self.limit or reader is next(iter(self._readers))

    def _wake(self) -> None:
        """Let those go on for which there is room, the first that was stopped first."""
        used = self.used
        for reader in list(self._stopped):
            if self._may_read(reader, used):
                used += _A_READ
                self._let_go(reader)

    def _let_go(self, reader: Reader) -> None:
        del self._stopped[reader]
        reader.go_on_reading()
