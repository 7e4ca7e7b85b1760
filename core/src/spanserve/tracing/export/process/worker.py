"""An exporter's process, as the server sees it: records go in, what became of them comes out.

The exporter's thread keeps the queue, the retries and the books; the process only expands,
encodes and sends, so that none of it competes with the event loop for the interpreter. It
ends when its standard input does, whatever becomes of the server.
"""

import logging
import marshal
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal, cast

from pydantic import BaseModel

from spanserve.tracing.export.delivery import Delivery
from spanserve.tracing.export.outcome import Drop, Outcome
from spanserve.tracing.export.process.frames import read_frame, write_frame
from spanserve.tracing.export.process.liveness import Liveness
from spanserve.tracing.export.process.packing import packed, unpacked
from spanserve.tracing.export.process.restarts import Restarts, clean_environment, ended_by
from spanserve.tracing.model.span import Resource
from spanserve.tracing.recording.table import Table, span_count

try:
    import fcntl
except ImportError:  # not on Windows, where pipes are as they are
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

DELIVER: Final = 0
AGAIN: Final = 1
STOP: Final = 2
READY: Final = 3
ANSWER: Final = 0
SIGN: Final = 1
UNABLE: Final = 2
MODULE: Final = "spanserve.tracing.export.process.worker_main"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an exporter's process is told when it starts."""

    tracer: str
    settings: BaseModel
    resource: Resource
    batch_spans: Literal["full", "linked"]
    exceptions: Literal["full", "type"]
    log_level: int
    beat_s: float


class ProcessDelivery:
    """Has a process of its own deliver.

    A process that dies takes along what it has in hand, which is counted, and is started anew,
    after pauses that grow: its tracer is never called here, where it would kill the server.
    `fallback` delivers for good where no process can be had at all, or one says that it cannot
    have the tracer.
    """

    can_end = True

    def __init__(self, assignment: Assignment, fallback: Delivery) -> None:
        self.reason: str | None = None
        self._assignment = assignment
        self._fallback = fallback
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = Restarts()
        self._is_ready = False
        self._held = 0
        self._alone = False
        self._hung = False
        self._abandoned = False
        self._liveness: Liveness | None = None

    def packed(self, record: Table) -> Table:
        """Return the record as bytes."""
        return packed(record)

    def report_to(self, liveness: Liveness) -> None:
        """Pass on to this what the process says of its calls."""
        self._liveness = liveness
        self._fallback.report_to(liveness)

    def start(self) -> None:
        """Start the process; it gets ready while the server does."""
        self._hung = False
        self._restarts.started(time.monotonic())
        command = [sys.executable, "-P", "-m", MODULE]
        try:
            # A session of its own: Ctrl-C is for the server, which then says when to stop.
            process = self._process = subprocess.Popen(  # noqa: S603  # nothing in it comes from outside
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env={**_KEEP_MEMORY, **clean_environment(os.environ)},
            )
        except OSError as error:
            self._work_alone(f"no process can be started: {error}")
            return
        _widen(_stdin(process))
        try:
            # The path first: what the assignment is made of may lie on it.
            write_frame(_stdin(process), marshal.dumps([*map(str, sys.path)]))
            write_frame(_stdin(process), pickle.dumps(self._assignment))
        except OSError:
            self._died()

    def prepare(self, *, at_once: bool) -> float:
        """Start the process where there is none, and wait until it answers, or is dead."""
        if self._is_ready or self._alone:
            return 0.0
        if self._process is None:
            wait_s = self._restarts.wait_s(time.monotonic())
            if self._abandoned or (wait_s and not at_once):
                return max(wait_s, _SHORTEST_PAUSE_S)
            self.start()
        self._is_ready = self._process is not None and self._asked((READY,)).reason is None
        if self._is_ready or self._alone:
            return 0.0
        return max(self._restarts.wait_s(time.monotonic()), _SHORTEST_PAUSE_S)

    def deliver(self, records: Sequence[Table], offset_ns: int) -> Outcome:
        """Pass the records on, and wait for what became of their spans."""
        if self._alone:
            return self._fallback.deliver([unpacked(each) for each in records], offset_ns)
        self._held = sum(map(span_count, records))
        outcome = self._asked((DELIVER, offset_ns, records))
        if self._is_ready:
            self._restarts.delivered()
        return outcome

    def again(self) -> Outcome:
        """Have the process hand over again what it holds."""
        return self._fallback.again() if self._alone else self._asked((AGAIN,))

    def stop(self, deadline_s: float) -> None:
        """Have the process stop its tracer, and end; then stop the tracer here."""
        if self._process is not None:
            self._asked((STOP, deadline_s))
        if self._process is not None:
            _end(self._process)
        self._fallback.stop(deadline_s)

    def end_hung(self) -> None:
        """Kill the process, a stopped one too."""
        self._hung = True
        self._kill()

    def abandon(self) -> None:
        """End the process as it is."""
        self._abandoned = True
        self._kill()

    def _kill(self) -> None:
        process = self._process
        if process is not None:
            process.kill()

    def _asked(self, question: tuple[Any, ...]) -> Outcome:
        process = self._process
        if process is None:
            return Outcome()
        try:
            write_frame(_stdin(process), marshal.dumps(question))
            while True:
                kind, *answer = marshal.loads(read_frame(_stdout(process)))  # noqa: S302  # our own child's
                if kind == SIGN:
                    self._lives(*answer)
                elif kind == UNABLE:
                    self._work_alone(*answer)
                    _end(process)
                    return Outcome()
                else:
                    return self._told(*answer)
        except (OSError, EOFError):
            return self._died()

    def _lives(self, quiet_for_s: float | None) -> None:
        """The process runs, and its tracer said so itself, unless there is no wish for quiet."""
        if self._liveness is not None:
            self._liveness.beat()
            if quiet_for_s is not None:
                self._liveness.sign(quiet_for_s)

    def _told(self, outcome: tuple[Any, ...], lines: Sequence[tuple[str, int, str]]) -> Outcome:
        for name, level, text in lines:
            logging.getLogger(name).log(level, "%s", text)
        dropped, spans, *rest = outcome
        self._held = rest[2]
        return Outcome({Drop(why): lost for why, lost in dropped.items()}, spans, *rest)

    def _work_alone(self, why: str) -> None:
        self._process, self._alone = None, True
        log.error(
            "tracer %s cannot have a process of its own (%s); "
            "its tracer is called on a thread of the server",
            self._assignment.tracer,
            why,
        )

    def _died(self) -> Outcome:
        """Take note of the process's end; what it held is lost."""
        process, self._process, self._is_ready = self._process, None, False
        lost, self._held = self._held, 0
        why = ended_by(_end(process)) if process is not None else "it is gone"
        self.reason = f"its exporter process died ({why})"
        is_first = self._restarts.died(time.monotonic())
        if self._hung:
            self.reason = "its exporter process hung, and was killed"
            return Outcome({Drop.EXPORTER_HUNG: lost}, lost, reason=self.reason)
        if not self._abandoned:
            log.log(
                logging.ERROR if is_first else logging.DEBUG,
                "the exporter process of tracer %s died (%s); starting anew",
                self._assignment.tracer,
                why,
            )
        return Outcome({Drop.EXPORTER_DIED: lost}, lost, reason=self.reason)


def _end(process: subprocess.Popen[bytes]) -> int:
    """Close a process's pipes and wait for its end, which should follow; return its exit code."""
    for stream in (_stdin(process), _stdout(process)):
        with suppress(OSError):  # what was to be written cannot be
            stream.close()
    try:
        return process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _widen(pipe: BinaryIO) -> None:
    """Let a whole call's records fit in, where the system can, so that nobody waits for half."""
    with suppress(AttributeError, OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _stdin(process: subprocess.Popen[bytes]) -> BinaryIO:
    return cast("BinaryIO", process.stdin)


def _stdout(process: subprocess.Popen[bytes]) -> BinaryIO:
    return cast("BinaryIO", process.stdout)


# It makes bodies of megabytes, time and again: glibc would have the system take their memory back
# after each, and map it anew for the next, which costs as much as writing them.
_KEEP_MEMORY: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}
_PATIENCE_S: Final = 5.0
_SHORTEST_PAUSE_S: Final = 0.01
_PIPE_BYTES: Final = 1 << 20
