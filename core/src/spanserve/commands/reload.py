"""`spanserve serve --reload`: the server starts anew when a file of the service changes.

A parent holds the port and watches; a child serves. In between clients wait to be accepted. The
child is a process like any other: it has the terminal, so that breakpoints work.
"""

import ipaddress
import logging
import logging.config
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Final

from spanserve.config.load import Loaded
from spanserve.config.model import ServerConfig
from spanserve.errors import SpanserveError
from spanserve.server.operations.logs import logging_config
from spanserve.server.process.listening import INHERITED, listening_socket, url_of
from spanserve.service.bundle.load import find

log = logging.getLogger("spanserve.reload")

WATCHED: Final = (".py", ".yml", ".yaml")
_LOOK_MS: Final = 200
_PATIENCE_S: Final = 2.0
"""How long a child may finish its requests; told again, it ends at once, or is killed."""


def serve_reloading(
    target: str, loaded: Loaded, arguments: Sequence[str], *, on_any_host: bool
) -> int:
    """Serve until told to stop, anew after each change; return the last child's exit code.

    `arguments` are the child's, of `spanserve serve`. Raises SpanserveError before anything is
    served.
    """
    server = loaded.config.server
    _check(server, on_any_host=on_any_host)
    find(target)
    logging.config.dictConfig(logging_config(loaded.config.logging.level, "text"))
    with closing(listening_socket(server)) as listener:
        listener.set_inheritable(True)
        folders = [_folder_of(target), *([loaded.file.resolve()] if loaded.file else [])]
        log.info(
            "serves %s on %s, and starts anew when it changes", target, url_of(server, listener)
        )
        return _Reloader(arguments, listener, folders).run()


class _Reloader:
    """Runs one child after the other."""

    def __init__(
        self, arguments: Sequence[str], listener: socket.socket, watched: Sequence[Path]
    ) -> None:
        self._command = [sys.executable, "-m", "spanserve", "serve", *arguments]
        self._listener = listener
        self._watched = watched
        self._told_to_stop = threading.Event()
        self._signal = signal.SIGTERM

    def run(self) -> int:
        """Serve until told to stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        child = self._start()
        said = False
        for changes in _changes(self._watched, self._told_to_stop):
            if changes:
                log.info("%s changed: the server starts anew", ", ".join(sorted(changes)))
                _end(child, signal.SIGTERM)
                child, said = self._start(), False
            elif child.poll() is not None and not said:
                said = True
                log.info("the server ended (exit code %d); waiting for a change", child.returncode)
        return _end(child, self._signal)

    def _start(self) -> "subprocess.Popen[bytes]":
        descriptor = self._listener.fileno()
        return subprocess.Popen(  # noqa: S603  # as this process was started
            self._command,
            env={**os.environ, INHERITED: str(descriptor)},
            pass_fds=[descriptor],
        )

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        self._told_to_stop.set()


def _changes(watched: Sequence[Path], stop: threading.Event) -> Iterator[set[str]]:
    """Yield the names of files that changed, or none, several times a second, until `stop`."""
    from watchfiles import PythonFilter, watch  # noqa: PLC0415  # an extra

    for changes in watch(
        *watched,
        watch_filter=PythonFilter(extra_extensions=WATCHED[1:]),
        stop_event=stop,
        rust_timeout=_LOOK_MS,
        debounce=_LOOK_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        yield {Path(name).name for _, name in changes}


def _end(child: "subprocess.Popen[bytes]", how: signal.Signals) -> int:
    """Have a child end, at once where it takes its time; return its exit code."""
    for _ in range(2):
        if child.poll() is None:
            child.send_signal(how)
            try:
                return child.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
    if child.poll() is None:
        child.kill()
    return child.wait()


def _folder_of(target: str) -> Path:
    place = target.rpartition(":")[0] or target
    path = Path(place)
    if path.is_dir():
        return path.resolve()
    return path.resolve().parent if path.is_file() else Path.cwd()


def _check(server: ServerConfig, *, on_any_host: bool) -> None:
    try:
        import watchfiles  # noqa: F401, PLC0415  # an extra
    except ImportError as error:
        raise SpanserveError(
            "--reload needs watchfiles; try: pip install 'spanserve[reload]'"
        ) from error
    if not _is_loopback(server.host) and not on_any_host:
        raise SpanserveError(
            f"--reload is for development, and server.host is {server.host}, which others can "
            "reach; serve without it, or say --reload-on-any-host, too"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
