"""The program of a replica: `python -m spanserve.running.hosted.program`.

Its main thread makes the service's instance and runs batches and calls one after the other, as the
runner's thread of a server does. Beside it a thread reads what the server says, an event loop runs
the methods that are async, and threads those that are thread-safe.
"""

import ctypes
import logging
import logging.config
import os
import pickle
import queue
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from spanserve.running.hosted.replica import Hosted
from spanserve.running.wire.frames import Arenas, FrameError, Reader
from spanserve.running.wire.messages import Assignment

log = logging.getLogger(__name__)

_READ_BYTES: Final = 1 << 18
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: Sequence[str]) -> None:
    """Serve the server whose process this is told; end with it, however it ends."""
    parent, descriptor, *arenas = map(int, arguments)
    end_with(parent)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server says when to stop
    connection = socket.socket(fileno=descriptor)
    requests, replies = arenas[: len(arenas) // 2], arenas[len(arenas) // 2 :]
    reading = reader(connection, Reader(Arenas(requests)))
    first = next(reading)
    sys.path[:] = first.content[0]
    assignment: Assignment = pickle.loads(first.data)  # noqa: S301  # from the server, our parent
    logging.config.dictConfig(assignment.logs)
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    hosted = Hosted(assignment, connection, Arenas(replies), inbox)
    threading.Thread(target=_listen, args=(reading, hosted), daemon=True, name="reader").start()
    hosted.run()


def reader(connection: socket.socket, frames: Reader) -> Any:
    """Yield what the server says, until it is gone."""
    while data := connection.recv(_READ_BYTES):
        yield from frames.fed(data)


def _listen(reading: Any, hosted: Hosted) -> None:
    """Pass on what the server says; end the process once it is gone: nobody else would."""
    try:
        for frame in reading:
            hosted.told(frame)
    except FrameError:
        log.exception("the server sent what is no frame")
    except OSError:
        pass
    finally:
        logging.shutdown()
        os._exit(0)


def end_with(parent: int) -> None:
    """Have the system end this process with its parent, where it can; EOF does it otherwise."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
