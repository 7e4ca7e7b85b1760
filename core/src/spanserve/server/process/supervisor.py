"""Several workers: starts them, starts those again that died, and stops them all."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from types import FrameType
from typing import Final

from uvicorn.config import STARTUP_FAILURE

from spanserve.errors import SpanserveError
from spanserve.server.lifecycle import SIGNALS
from spanserve.server.process.process import WRONG_USE, Plan
from spanserve.server.process.serving import STOPPED
from spanserve.server.process.slot import Slot
from spanserve.server.process.stopgap import Stopgap

log = logging.getLogger(__name__)

MOST_FAILED_STARTS: Final = 5
"""How many starts of one worker may fail in a row."""


class WorkersError(SpanserveError):
    """No worker can start, for a reason that the user must mend."""


class Supervisor:
    """Keeps `workers` processes serving, and answers itself while none of them is ready.

    `on_ready` is called once, when the first is. A worker that dies is followed by another, after
    a pause that grows while its starts fail; one whose service cannot be loaded at all ends the
    server, unless others could load it before.
    """

    def __init__(
        self, plan: Plan, listener: socket.socket, workers: int, on_ready: Callable[[], None]
    ) -> None:
        self._plan = plan
        self._listener = listener
        self._slots = [Slot(number) for number in range(workers)]
        self._on_ready = on_ready
        self._was_ready = False
        self._stopgap = Stopgap(plan.loaded.config, listener)
        self._signals: list[int] = []

    def run(self) -> int:
        """Supervise until told to stop, or until it is of no use; return the exit code.

        Raises WorkersError.
        """
        with self._hearing_signals() as woken:
            self._stopgap.start()
            try:
                code = None
                while code is None and not self._signals:
                    self._start_those_due()
                    self._wait(woken)
                    code = self._look()
            finally:
                self._stop(woken)
        return STOPPED if code is None else code

    @contextmanager
    def _hearing_signals(self) -> Iterator[socket.socket]:
        """Keep the signals to stop; the socket that it gives is readable when one has come."""
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        fd_before = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            yield woken
        finally:
            signal.set_wakeup_fd(fd_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            woken.close()
            waker.close()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _start_those_due(self) -> None:
        for slot in self._slots:
            if self._signals:
                return
            if slot.process is None and slot.start_at_s <= time.monotonic():
                slot.start(self._plan, self._listener)

    def _wait(self, woken: socket.socket) -> None:
        """Wait until a worker says something or ends, a signal comes, or one may be started."""
        sources = [woken, *(source for slot in self._slots for source in slot.sources)]
        due_s = [slot.start_at_s for slot in self._slots if slot.process is None]
        left_s = max(0.0, min(due_s) - time.monotonic()) if due_s else None
        wait(sources, left_s)
        with suppress(BlockingIOError):
            while woken.recv(64):
                pass

    def _look(self) -> int | None:
        """Take note of what became of the workers; return the exit code where that is the end."""
        for slot in self._slots:
            slot.listen()
            if slot.process is not None and not slot.is_alive:
                code = self._ended(slot, slot.process.pid)
                if code is not None:
                    return code
            if slot.is_loaded and not slot.may_listen:
                self._stopgap.stop()  # first: nobody is to hear from it what is true no more
                slot.let_listen()
            if slot.is_ready and not self._was_ready:
                self._was_ready = True
                self._on_ready()
        if not any(slot.may_listen for slot in self._slots):
            self._stopgap.start()
        return None

    def _ended(self, slot: Slot, pid: int | None) -> int | None:
        """Take note of a worker's end: another is to follow, or the exit code is returned."""
        code = slot.ended()
        if self._signals:
            return STOPPED
        if code == WRONG_USE and slot.refusal and not self._was_ready:
            raise WorkersError(slot.refusal)
        if code == STARTUP_FAILURE and not self._was_ready:
            return STARTUP_FAILURE
        if slot.failed_starts >= MOST_FAILED_STARTS:
            log.error(
                "worker %s died (exit code %s) as it started, as %d before it: giving up",
                *(pid, code, slot.failed_starts - 1),
            )
            return STARTUP_FAILURE
        pause_s = slot.start_at_s - time.monotonic()
        why = f": {slot.refusal}" if slot.refusal else ""
        log.error(
            "worker %s died (exit code %s)%s; starting another in %.1f s", pid, code, why, pause_s
        )
        return None

    def _stop(self, woken: socket.socket) -> None:
        """Have all workers finish, and pass on every further signal to them."""
        self._stopgap.stop()
        # Before the workers let go of the listener: else clients would connect to nobody.
        self._listener.close()
        passed_on = len(self._signals)
        self._tell(signal.SIGTERM)
        while any(slot.is_alive for slot in self._slots):
            wait([woken, *(slot.process.sentinel for slot in self._slots if slot.process)])
            with suppress(BlockingIOError):
                woken.recv(64)
            for number in self._signals[passed_on:]:
                self._tell(number)
            passed_on = len(self._signals)
        self._stopgap.join()

    def _tell(self, number: int) -> None:
        for slot in self._slots:
            if slot.process is not None and slot.process.pid is not None and slot.is_alive:
                with suppress(ProcessLookupError):
                    os.kill(slot.process.pid, number)
