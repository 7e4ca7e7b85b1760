"""Processes under measurement: where they run, and what they use. Linux's /proc is read."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
EXPORTER: Final = "spanserve.tracing.export.process.worker_main"
_SET_CHILD_SUBREAPER: Final = 36  # prctl's
_LIBC: Final = ctypes.CDLL(None)
_LOGS: Final = Path(os.environ.get("SPANSERVE_BENCHMARK_LOGS", "/tmp"))  # noqa: S108  # logs of one run


@contextmanager
def running(
    command: Sequence[str], *, cpus: Sequence[int], env: Mapping[str, str], name: str
) -> Iterator[int]:
    """Run a command on these processors; yield its pid, and end all of its tree at exit."""
    log = _LOGS / f"spanserve-benchmark-{name}.log"
    pinned = ["taskset", "-c", ",".join(map(str, cpus)), *command]
    with (
        log.open("w") as out,
        subprocess.Popen(
            pinned,
            env={**os.environ, **env},
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_adopt,  # noqa: PLW1509  # no threads here
        ) as process,
    ):
        try:
            yield process.pid
        finally:
            _end(process)


def _adopt() -> None:
    """Take in what becomes a daemon: all that a server starts stays in its tree, and counts."""
    _LIBC.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end(process: subprocess.Popen[bytes]) -> None:
    children = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    send(children, signal.SIGKILL)


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    pids = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            pids += [each for child in children.read_text().split() for each in tree(int(child))]
        except OSError:
            continue
    return pids


def is_alive(pid: int) -> bool:
    """Say whether a process still runs, and is not only there to be asked what became of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Meter:
    """Reads the processor time that a process and all its descendants use from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._start_s = _cpu_s(tree(pid))

    def read(self) -> tuple[float, float]:
        """Return the seconds that all of them used, and those of the exporters among them."""
        now_s = _cpu_s(tree(self._pid))
        used_s = {pid: spent - self._start_s.get(pid, 0.0) for pid, spent in now_s.items()}
        return sum(used_s.values()), sum(used_s.get(pid, 0.0) for pid in exporters(self._pid))


def _cpu_s(pids: Sequence[int]) -> dict[int, float]:
    """Return what each process used, to the nanosecond: /proc counts in hundredths of a second."""
    used_s = {}
    for pid in pids:
        with suppress(OSError):
            used_s[pid] = time.clock_gettime((~pid << 3) | 2)  # the clock of another process
    return used_s


def memory_mb(pids: Sequence[int], field: str = "VmRSS") -> float:
    """Return the resident memory of these processes; `VmHWM` is the most there ever was."""
    return sum(_status_kb(pid, field) for pid in pids) / 1024


def _status_kb(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def exporters(pid: int) -> list[int]:
    """Return the exporters' processes below a server."""
    return [each for each in tree(pid) if EXPORTER in _command(each)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@contextmanager
def alone(pid: int, others: Sequence[int]) -> Iterator[None]:
    """Stop the trees of other servers for a while: some use the processor while they idle."""
    with stopped([each for other in others if other != pid for each in tree(other)]):
        yield


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Stop processes for a while."""
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


def send(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those of these processes that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def move(pid: int, cpu: int) -> None:
    """Pin all threads of a process to a processor."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {cpu})


def until(happened: object, deadline_s: float) -> bool:
    """Ask again and again until it happened or it is too late."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if happened():  # type: ignore[operator]  # a callable
            return True
        time.sleep(0.05)
    return False
