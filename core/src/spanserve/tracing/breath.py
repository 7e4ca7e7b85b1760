"""Room for others, between the steps of long work."""

import os
import time


def breathe() -> None:
    """Let others go first: to be called between the steps of a long export, after some 100 µs each.

    On a thread of the server that is the event loop, which needs the interpreter; in an exporter's
    process, whoever shares its processor: who wants it back may have to wait for the next tick of
    Linux's clock otherwise, for up to 4 ms (measured). Costs less than a microsecond where nobody
    waits.
    """
    _give_way()


if hasattr(os, "sched_yield"):
    _give_way = os.sched_yield
else:  # Windows

    def _give_way() -> None:
        time.sleep(0)
