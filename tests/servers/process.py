"""A server as a child process: started on free ports, awaited, stopped, its log kept on failure."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from servers.cache import ServersError
from servers.recipes import tail

HOST = "127.0.0.1"
_POLL_S = 0.1
_STARTS = 3
_KEPT_ENVIRONMENT = ("HOME", "JAVA_HOME", "LANG", "PATH", "TMPDIR")


class Server(Protocol):
    """A server to be started: plain values, for its ports are chosen before it runs."""

    @property
    def name(self) -> str: ...

    @property
    def log(self) -> Path: ...

    @property
    def command(self) -> Sequence[str]: ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    @property
    def ready_urls(self) -> Sequence[str]:
        """What answers 200 once the server can be used."""
        ...


S = TypeVar("S", bound=Server)


class _PortTakenError(ServersError):
    pass


def free_ports(count: int) -> list[int]:
    """Return that many ports of the loopback address that are free for TCP and for UDP.

    Another process may take one before the server does: then the server is started anew.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        while len(ports) < count:
            tcp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            tcp.bind((HOST, 0))
            port = tcp.getsockname()[1]
            udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                udp.bind((HOST, port))
                ports.append(port)
    return ports


@contextmanager
def serving(
    plan: Callable[[Path], S],
    *,
    deadline_s: float = 60.0,
    grace_s: float = 10.0,
    keep_log: Callable[[], bool] = lambda: False,
) -> Iterator[S]:
    """Run the server that `plan` returns for a folder of its own; stop it after the block.

    Yields once it is ready; raises ServersError where it is not within the deadline. Its log
    is kept, and named in the error, where it does not start, where the block raises, or where
    `keep_log` then says so. It is told to stop, and killed after `grace_s`.
    """
    server, process = _started(plan, deadline_s, grace_s)
    keep = False
    try:
        with _ending_with_us(process, server.log.parent):
            yield server
        keep = keep_log()
    except Exception as error:
        keep = True
        error.add_note(f"the log of the real {server.name}: {server.log}")
        raise
    finally:
        stop(process, grace_s)
        if not keep:
            shutil.rmtree(server.log.parent, ignore_errors=True)


@contextmanager
def _ending_with_us(process: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """Have the server and its folder gone when this process ends without a chance to see to it.

    A watcher waits for the end of a pipe that only this process holds open: killed or not, the
    system closes it. As it begins it says so, for what is not watched might be left.
    """
    script = 'echo; read -r _; kill -KILL -"$1"; rm -rf "$2"'
    watcher = subprocess.Popen(
        ["/bin/sh", "-c", script, "watcher", str(process.pid), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        watcher.stdout.readline()
        try:
            yield
        finally:
            watcher.kill()


def _started(
    plan: Callable[[Path], S], deadline_s: float, grace_s: float
) -> tuple[S, subprocess.Popen[bytes]]:
    for starts_left in reversed(range(_STARTS)):
        server = plan(Path(tempfile.mkdtemp(prefix="spanserve-server-")))
        process = _launch(server)
        try:
            _wait_until_ready(server, process, deadline_s)
        except BaseException as error:
            stop(process, grace_s)
            retry = isinstance(error, _PortTakenError) and starts_left > 0
            if retry or not isinstance(error, Exception):
                shutil.rmtree(server.log.parent, ignore_errors=True)
            if not retry:
                raise
        else:
            return server, process
    raise AssertionError("the last start returns or raises")


def _launch(server: Server) -> subprocess.Popen[bytes]:
    """Start it with an environment of its own: the user's may configure it otherwise."""
    kept = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    with server.log.open("wb") as log:
        return subprocess.Popen(
            server.command,
            cwd=server.log.parent,
            env={**kept, **server.environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], deadline_s: float) -> None:
    end_s = time.monotonic() + deadline_s
    waiting_for = list(server.ready_urls)
    while waiting_for:
        if process.poll() is not None:
            raise _exited(server, process.returncode)
        if time.monotonic() > end_s:
            raise ServersError(
                f"{server.name} was not ready after {deadline_s:g} s: {waiting_for[0]} does not "
                f"answer 200; log: {server.log}\n{tail(server.log)}"
            )
        if answers(waiting_for[0]):
            waiting_for.pop(0)
        else:
            time.sleep(_POLL_S)


def _exited(server: Server, code: int) -> ServersError:
    text = server.log.read_text(errors="replace").lower()
    kind = _PortTakenError if "address already in use" in text else ServersError
    return kind(f"{server.name} ended with {code}; log: {server.log}\n{tail(server.log)}")


def answers(url: str) -> bool:
    """Say whether a URL of this machine answers 200; no proxy is asked for it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Tell a process to stop, and kill it where it does not within the grace."""
    process.terminate()
    try:
        process.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
