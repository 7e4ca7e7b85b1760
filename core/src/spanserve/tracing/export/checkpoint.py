"""Yield the CPU between the steps of a long export; it is a sign of life, too."""

import os
import threading
import time
from collections.abc import Callable

from typing_extensions import deprecated


class _Heard(threading.local):
    """Who hears the signs of this thread's work."""

    by: Callable[[float], None] | None = None


_heard = _Heard()


def checkpoint(quiet_for_s: float = 0.0) -> None:
    """Yield the CPU: to be called between the steps of a long export, after some 100 µs each.

    On a thread of the server that is the event loop, which needs the interpreter; in an exporter's
    process, whoever shares its processor: who wants it back may have to wait for the next tick of
    Linux's clock otherwise, for up to 4 ms (measured). Costs less than a microsecond where nobody
    waits.

    It is a sign of life, too: a call of `export_spans` that gives none for
    `tracing.queue.hang_after_s` is taken for hanging. Before a step that may take longer, as a wait
    for an answer, `quiet_for_s` says how much longer.
    """
    _give_way()
    if _heard.by is not None:
        _heard.by(quiet_for_s)


@deprecated("breathe() is called checkpoint() now; the old name goes with spanserve 0.3")
def breathe(quiet_for_s: float = 0.0) -> None:
    """Call `checkpoint`, which is the name since 0.2; goes with 0.3."""
    checkpoint(quiet_for_s)


def hear_signs(by: Callable[[float], None] | None) -> None:
    """Have the signs of this thread's work heard from now on, or by nobody."""
    _heard.by = by


if hasattr(os, "sched_yield"):
    _give_way = os.sched_yield
else:  # Windows

    def _give_way() -> None:
        time.sleep(0)
