"""Files that are costly to make: made once, by one process at a time, whole or not at all."""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_RECEIPT = "receipt.json"

Say = Callable[[str], None]


class ServersError(Exception):
    """A server could not be fetched or started; the text says why, and where its log is."""


@dataclass(frozen=True)
class Workshop:
    """Where something is made: an empty `folder`, what to leave in `result`, and the `log`."""

    folder: Path
    result: Path
    log: Path
    jobs: int
    say: Say


@dataclass(frozen=True)
class Receipt:
    """What is known of something in the cache."""

    folder: Path
    took_s: float
    size_bytes: int


def cache_folder(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Return where a user's caches are on this platform, with a folder of ours below."""
    home = Path(environ.get("HOME") or Path.home())
    usual = home / ("Library/Caches" if platform == "darwin" else ".cache")
    return Path(environ.get("XDG_CACHE_HOME") or usual) / "spanserve-servers"


class Cache:
    """A folder of folders, one for each name and version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def receipt(self, key: str) -> Receipt | None:
        """Return what is known of a key that is in the cache."""
        folder = self.folder / key
        try:
            said = json.loads((folder / _RECEIPT).read_text())
        except FileNotFoundError:
            return None
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return Receipt(folder, said["took_s"], size)

    def get(self, key: str, make: Callable[[Workshop], None], *, jobs: int, say: Say) -> Receipt:
        """Return what `make` left, which is called only where the cache has nothing of that key.

        A second process that wants the same waits until the first is done. Where `make` raises,
        nothing is kept but its log, `<key>.log` in the cache's folder.
        """
        found = self.receipt(key)
        if found is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.folder / f"{key}.lock", say):
            found = self.receipt(key)
            return self._made(key, make, jobs, say) if found is None else found

    def _made(self, key: str, make: Callable[[Workshop], None], jobs: int, say: Say) -> Receipt:
        started_s = time.monotonic()
        log = self.folder / f"{key}.log"
        log.unlink(missing_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=self.folder))
        try:
            result = folder / "result"
            result.mkdir()
            make(Workshop(folder, result, log, jobs, say))
            took_s = time.monotonic() - started_s
            (result / _RECEIPT).write_text(json.dumps({"took_s": round(took_s, 1)}))
            result.rename(self.folder / key)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"{key}: ready after {duration(took_s)}")
        receipt = self.receipt(key)
        if receipt is None:
            raise ServersError(f"{self.folder / key} vanished while it was made")
        return receipt


def default_cache() -> Cache:
    """Return the cache of the user who runs this."""
    return Cache(cache_folder(os.environ))


def duration(seconds: float) -> str:
    """Return a length of time as people say it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


@contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    """Hold a lock that ends with the process that holds it, whatever becomes of it."""
    import fcntl  # noqa: PLC0415 - absent on Windows, where nothing is fetched

    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{path.stem}: another process is making it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
