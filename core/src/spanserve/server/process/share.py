"""The folder that the workers of one server have in common."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from spanserve.errors import SpanserveError

MEMORY: Final = "/dev/shm"  # noqa: S108  # a folder is made in it, and no name is guessed
PREFIX: Final = "spanserve-workers-"
LOCK: Final = "lock"
"""Locked as long as the server lives that made the folder, however it ends."""


class SharedFolderError(SpanserveError):
    """The workers have no folder in common."""


@contextmanager
def shared_folder(memory: str | Path = MEMORY) -> Iterator[Path]:
    """Give a folder that all workers have in common; raises SharedFolderError.

    It is in `memory` where there is no place for temporary files. What servers left behind that
    were killed is cleared.
    """
    folder, lock = _locked_folder(memory)
    try:
        _clear_leftovers(folder.parent)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(memory: str | Path) -> tuple[Path, int]:
    while True:
        folder = _made(memory)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        if _is_locked_by_us(lock) and os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)  # another server took it for a leftover, at that very moment


def _made(memory: str | Path) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError as error:
        # A container that is read-only has no other place.
        if os.access(memory, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=memory))
        raise SharedFolderError(
            f"server.workers above 1 needs a folder for temporary files: {error.strerror}; "
            "set TMPDIR to one that can be written"
        ) from None


def _clear_leftovers(place: Path) -> None:
    """Remove the folders of servers that live no more.

    One without a lock was made at this moment by another, or is none of ours.
    """
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # in use, or cleared by another at the same time
            if folder.lstat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _is_locked_by_us(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _is_locked_by_us(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
