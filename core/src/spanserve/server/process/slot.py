"""The place of one worker, in which one process follows another."""

import multiprocessing
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from spanserve.server.process.process import LISTEN, LOADED, READY, Plan, work

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0

_SPAWN: Final = multiprocessing.get_context("spawn")


class Slot:
    """Worker `number`: its process, if there is one now, and how its starts went."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: SpawnProcess | None = None
        self.is_loaded = self.may_listen = self.is_ready = False
        self.failed_starts = 0
        """In a row, up to now."""
        self.start_at_s = 0.0
        """When the next process may start, if there is none."""
        self.refusal = ""
        """Why its process would not start, if it said so."""
        self._told: Connection | None = None
        self._is_first = True

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.is_alive()

    @property
    def sources(self) -> Sequence[Any]:
        """What can be waited for: its process's words and end."""
        ended = () if self.process is None else (self.process.sentinel,)
        return ended if self._told is None else (*ended, self._told)

    def start(self, plan: Plan, listener: socket.socket) -> None:
        """Start a process; the very first says what is served."""
        self.refusal = ""
        self._told, theirs = _SPAWN.Pipe()
        announces = self._is_first and self.number == 0
        self.process = _SPAWN.Process(
            target=work,
            args=(plan, listener, theirs),
            kwargs={"number": self.number, "announces": announces},
        )
        # Ctrl-C of a terminal reaches it, too: until `work` hears it, it would leave a stack.
        resource_tracker.ensure_running()  # it unblocks signals as it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        self._is_first = False
        theirs.close()  # else we would not hear of its end, nor it of ours

    def listen(self) -> None:
        """Take note of what its process says, if anything: how far it is, or why not further."""
        try:
            if self._told is not None and self._told.poll():
                said = self._told.recv()
                self.is_loaded = self.is_loaded or said == LOADED
                self.is_ready = self.is_ready or said == READY
                self.refusal = "" if said in {LOADED, READY} else said
        except (EOFError, OSError):
            self._close()

    def let_listen(self) -> None:
        """Let its process listen, which waits for that once it is loaded."""
        self.may_listen = True
        with suppress(OSError):  # it has died
            if self._told is not None:
                self._told.send(LISTEN)

    def ended(self) -> int | None:
        """Take note of its process's end, and return the exit code: there is none now."""
        assert self.process is not None  # noqa: S101  # else it could not end
        self.process.join()
        self.listen()
        code = self.process.exitcode
        self.failed_starts = 0 if self.is_ready else self.failed_starts + 1
        pause_s = min(FIRST_PAUSE_S * 2 ** max(0, self.failed_starts - 1), LONGEST_PAUSE_S)
        self.start_at_s = time.monotonic() + pause_s
        self.process = None
        self.is_loaded = self.may_listen = self.is_ready = False
        self._close()
        return code

    def _close(self) -> None:
        if self._told is not None:
            self._told.close()
            self._told = None
