"""An exporter's process, as the server sees it: records go in, what became of them comes out.

The exporter's thread keeps the queue, the retries and the books; the process only expands,
encodes and sends, so that none of it competes with the event loop for the interpreter. It
ends when its standard input does, whatever becomes of the server. Where none can be had,
the tracer is called on the thread, as if it had never asked for a process.
"""

import logging
import marshal
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal, cast

from pydantic import BaseModel

from spanserve.tracing.delivery import Delivery
from spanserve.tracing.frames import read_frame, write_frame
from spanserve.tracing.frozen import Frozen, span_count
from spanserve.tracing.outcome import Drop, Outcome
from spanserve.tracing.packing import packed, unpacked
from spanserve.tracing.span import Resource

try:
    import fcntl
except ImportError:  # not on Windows, where pipes are as they are
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

DELIVER: Final = 0
AGAIN: Final = 1
STOP: Final = 2
READY: Final = 3
MODULE: Final = "spanserve.tracing.exporter_process"


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an exporter's process is told when it starts."""

    tracer: str
    settings: BaseModel
    resource: Resource
    batch_spans: Literal["full", "linked"]
    exceptions: Literal["full", "type"]
    log_level: int


class ProcessDelivery:
    """Has a process of its own deliver.

    A process that dies takes along what it has in hand, which is counted, and is started
    anew; after one that dies before it delivered anything, `fallback` delivers for good.
    """

    def __init__(self, assignment: Assignment, fallback: Delivery) -> None:
        self._assignment = assignment
        self._fallback = fallback
        self._process: subprocess.Popen[bytes] | None = None
        self._proven = False
        self._held = 0
        self._alone = False

    def packed(self, record: Frozen) -> Frozen:
        """Return the record as bytes."""
        return packed(record)

    def start(self) -> None:
        """Start the process; it gets ready while the server does."""
        command = [sys.executable, "-P", "-m", MODULE]
        try:
            # A session of its own: Ctrl-C is for the server, which then says when to stop.
            self._process = subprocess.Popen(  # noqa: S603  # nothing in it comes from outside
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env={**_KEEP_MEMORY, **os.environ},
            )
            _widen(_stdin(self._process))
            write_frame(_stdin(self._process), pickle.dumps((sys.path, self._assignment)))
        except OSError as error:
            self._died(str(error))

    def prepare(self) -> None:
        """Wait until the process answers, or is dead."""
        self._asked((READY,))

    def deliver(self, records: Sequence[Frozen], offset_ns: int) -> Outcome:
        """Pass the records on, and wait for what became of their spans."""
        if self._process is None and not self._alone:
            self.start()
        if not self._alone:
            self._held = sum(map(span_count, records))
            outcome = self._asked((DELIVER, offset_ns, records))
            self._proven = self._process is not None
        # One that dies before it ever answered has delivered nothing.
        if self._alone:
            return self._fallback.deliver([unpacked(each) for each in records], offset_ns)
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

    def abandon(self) -> None:
        """End the process as it is."""
        if self._process is not None:
            self._process.kill()

    def _asked(self, question: tuple[Any, ...]) -> Outcome:
        process = self._process
        if process is None:
            return Outcome()
        try:
            write_frame(_stdin(process), marshal.dumps(question))
            outcome, lines = marshal.loads(read_frame(_stdout(process)))  # noqa: S302  # our own child's
        except (OSError, EOFError):
            return self._died(f"exit code {_end(process)}")
        for name, level, text in lines:
            logging.getLogger(name).log(level, "%s", text)
        dropped, spans, *rest = outcome
        self._held = rest[2]
        return Outcome({Drop(why): lost for why, lost in dropped.items()}, spans, *rest)

    def _died(self, why: str) -> Outcome:
        lost, self._held, self._process = self._held, 0, None
        name, self._alone = self._assignment.tracer, not self._proven
        self._proven = False
        then = "its tracer is called on a thread of the server" if self._alone else "starting anew"
        log.error("the exporter process of tracer %s died (%s); %s", name, why, then)
        reason = f"its exporter process died ({why})"
        return Outcome({Drop.EXPORTER_DIED: lost}, lost, reason=reason)


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
_PIPE_BYTES: Final = 1 << 20
