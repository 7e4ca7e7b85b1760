"""How a replica's process is started: spawned, with a socket and arenas, from a lasting thread."""

import os
import pickle
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import NamedTuple

from spanserve.running.wire.frames import Arenas, packed
from spanserve.running.wire.messages import MODULE, Assignment


class Spawned(NamedTuple):
    """A process that was started, and what there is of it here."""

    process: "subprocess.Popen[bytes]"
    connection: socket.socket
    requests: Arenas
    replies: Arenas


class Spawner:
    """A thread that starts processes, and lives as long as any of them.

    Where the system ends a process with its parent, it does so with the thread that started it.
    """

    def __init__(self) -> None:
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spanserve-spawner", daemon=True)
        self._thread.start()

    def spawn(
        self, assignment: Assignment, environment: Mapping[str, str], arenas: int
    ) -> "Future[Spawned]":
        """Start a replica's process."""
        future: Future[Spawned] = Future()

        def start() -> None:
            try:
                future.set_result(_spawned(assignment, environment, arenas))
            except BaseException as error:  # noqa: BLE001  # handed to whoever waits
                future.set_exception(error)

        self._inbox.put(start)
        return future

    def close(self) -> None:
        """End the thread, once no process is left."""
        self._inbox.put(None)

    def _run(self) -> None:
        while (start := self._inbox.get()) is not None:
            start()


def _spawned(assignment: Assignment, environment: Mapping[str, str], arenas: int) -> Spawned:
    content = pickle.dumps(assignment)
    ours, theirs = socket.socketpair()
    requests, replies = Arenas.made(arenas), Arenas.made(arenas)
    descriptors = [theirs.fileno(), *requests.descriptors, *replies.descriptors]
    command = [sys.executable, "-P", "-m", MODULE, str(os.getpid()), *map(str, descriptors)]
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603  # nothing in it comes from outside
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,  # Ctrl-C is for the server, which says when to stop
                env=dict(environment),
            )
        except BaseException:
            ours.close()
            requests.close()
            replies.close()
            raise
    for part in packed([[*map(str, sys.path)]], [content], arenas=Arenas(())):
        try:
            ours.sendall(part)
        except OSError:
            break  # it is dead, and whoever listens is told
    ours.setblocking(False)
    return Spawned(process, ours, requests, replies)
