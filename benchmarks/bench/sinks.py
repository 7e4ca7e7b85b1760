"""What takes the spans, well or badly, on the load's processor."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.processes import LOAD_CPU, running, until
from bench.servers import HANGING_PORT, HERE, SINK_PORT, UDP_PORT


@contextmanager
def sinks() -> Iterator[None]:
    """Take posts at one port and packets at another, and never answer at a third."""
    ports = {"http": SINK_PORT, "udp": UDP_PORT, "hanging": HANGING_PORT}
    with ExitStack() as stack:
        for kind, port in ports.items():
            command = [sys.executable, str(HERE / "services" / "sink.py"), kind, str(port)]
            stack.enter_context(running(command, cpus=[LOAD_CPU], env={}, name=f"sink-{kind}"))
        until(lambda: all(map(_listens, (SINK_PORT, HANGING_PORT))), 10)
        yield


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
