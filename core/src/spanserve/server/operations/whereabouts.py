"""Where the service's code stands at this moment, for a log line about one that takes long."""

import sys
import threading
from typing import Final

THREADS: Final = ("spanserve-runner", "spanserve-loader")
"""The threads that run the service's code, the later one first."""


def whereabouts() -> str:
    """Return file, line and function of the innermost call; empty where nothing runs."""
    frames = sys._current_frames()  # noqa: SLF001  # documented, for this
    idents = {thread.name: thread.ident for thread in threading.enumerate()}
    for name in THREADS:
        ident = idents.get(name)
        if ident is not None and (frame := frames.get(ident)) is not None:
            code = frame.f_code
            return f"{code.co_filename}:{frame.f_lineno}, in {code.co_name}"
    return ""
