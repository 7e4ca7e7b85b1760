"""The program of an exporter's process: `python -m spanserve.tracing.export.process.worker_main`.

It is told once what to do (`process.Assignment`), then answers one question after another: are you
ready, deliver these records, try again, stop. It has one tracer, one thread, and no state but what
the tracer holds and what is to be handed over again.
"""

import gc
import logging
import marshal
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from spanserve.tracing.expansion.expand import Expander
from spanserve.tracing.export.checkpoint import checkpoint, hear_signs
from spanserve.tracing.export.delivery import DirectDelivery
from spanserve.tracing.export.outcome import Outcome
from spanserve.tracing.export.process.frames import read_frame, write_frame
from spanserve.tracing.export.process.packing import unpacked
from spanserve.tracing.export.process.worker import (
    AGAIN,
    ANSWER,
    DELIVER,
    READY,
    SIGN,
    STOP,
    UNABLE,
    Assignment,
)
from spanserve.tracing.model.failure import raised, told
from spanserve.tracing.plugins.registry import load_plugin


class Lines(logging.Handler):
    """Keeps what is logged until the server takes it along: its log is the only one."""

    MOST = 100

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if len(self._lines) < self.MOST:
            self._lines.append((record.name, record.levelno, self.format(record)))

    def taken(self) -> list[tuple[str, int, str]]:
        """Return the lines, once."""
        lines, self._lines = self._lines, []
        return lines


def main() -> None:
    """Work until the server says stop, or is gone."""
    questions, answers = _pipes()
    sys.path[:] = marshal.loads(read_frame(questions))  # noqa: S302  # from the server, our parent
    content = read_frame(questions)
    lines = Lines()
    logging.basicConfig(format="%(message)s", level=logging.WARNING, handlers=[lines])
    with suppress(EOFError, BrokenPipeError):
        try:
            assignment = pickle.loads(content)  # noqa: S301  # as above
            logging.getLogger().setLevel(assignment.log_level)
            delivery = _delivery(assignment)
        except Exception as error:
            logging.getLogger(__name__).debug("the tracer could not be started", exc_info=True)
            write_frame(answers, marshal.dumps((UNABLE, raised(error))))
            return
        # What is made of a call's records is a good part of this, forms no cycles, goes with it.
        gc.freeze()
        gc.set_threshold(100_000, 20, 20)
        voice = Voice(answers, assignment.beat_s)
        hear_signs(voice.sign)
        for outcome in _outcomes(delivery, questions, voice):
            dropped = {why.value: spans for why, spans in outcome.dropped.items()}
            voice.answer((ANSWER, (dropped, *outcome[1:]), lines.taken()))


class Voice:
    """What the process says to the server: answers, and meanwhile that it lives.

    The server listens during a call alone. `sign` passes on what the tracer says itself, a few
    times a second; another thread says now and then that the process runs.
    """

    _EVERY_S = 0.1

    def __init__(self, answers: BinaryIO, beat_s: float) -> None:
        self._answers = answers
        self._beat_s = beat_s
        self._next_s = 0.0
        self._lock = threading.Lock()
        self._calling = False
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def begin(self) -> None:
        """A call begins: the server listens."""
        self._next_s = 0.0
        self._calling = True

    def sign(self, quiet_for_s: float) -> None:
        """Pass a sign of the tracer's on, but not each."""
        now_s = time.monotonic()
        if self._calling and (quiet_for_s or now_s >= self._next_s):
            self._next_s = now_s + self._EVERY_S
            with self._lock:
                write_frame(self._answers, marshal.dumps((SIGN, float(quiet_for_s))))

    def answer(self, answer: tuple[Any, ...]) -> None:
        """Give the answer, and be silent."""
        with self._lock:
            self._calling = False
            write_frame(self._answers, marshal.dumps(answer))

    def _beat(self) -> None:
        with suppress(OSError, ValueError):  # the server is gone
            while True:
                time.sleep(self._beat_s)
                with self._lock:
                    if self._calling:
                        write_frame(self._answers, marshal.dumps((SIGN, None)))


def _outcomes(delivery: DirectDelivery, questions: BinaryIO, voice: Voice) -> Iterator[Outcome]:
    while True:
        verb, *rest = marshal.loads(read_frame(questions))  # noqa: S302  # as above
        voice.begin()
        if verb == DELIVER:
            offset_ns, records = rest
            yield delivery.deliver([unpacked(each) for each in records], offset_ns)
        elif verb == AGAIN:
            yield delivery.again()
        elif verb == READY:
            yield Outcome()
        elif verb == STOP:
            yield _stopped(delivery, *rest)
            return


def _stopped(delivery: DirectDelivery, deadline_s: float) -> Outcome:
    try:
        delivery.stop(deadline_s)
    except BaseException as error:  # a tracer may raise anything
        log = logging.getLogger(__name__)
        log.error("the tracer failed to stop: %s", told(error))  # noqa: TRY400  # one line
        log.debug("tracer_stopping raised", exc_info=error)
    return Outcome()


def _delivery(assignment: Assignment) -> DirectDelivery:
    call = load_plugin(assignment.tracer).call
    call.tracer_started(assignment.settings, assignment.resource)
    return DirectDelivery(
        call.export_spans,
        call.tracer_stopping,
        Expander(
            batch_spans=assignment.batch_spans,
            exceptions=assignment.exceptions,
            checkpoint=checkpoint,
        ),
    )


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return both ends, and let whatever prints do so on standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return sys.stdin.buffer, answers


if __name__ == "__main__":
    main()
