"""Where the file is: in a folder of the user's, that nobody else can look into."""

import os
import stat
import sys
from pathlib import Path
from typing import Final

from spanserve import ConfigError

NAME: Final = "traces.db"
MARK: Final = b"sptr"
"""What SQLite's header of the file has as its application's id."""

_MARK_AT: Final = 68
_HEAD_BYTES: Final = 100
_PRIVATE_FOLDER: Final = 0o700
_PRIVATE_FILE: Final = 0o600
_ADVICE: Final = (
    "set tracing.local.path (SPANSERVE__TRACING__LOCAL__PATH) to a file in a folder that can be "
    "written, as a mounted volume"
)


def file_of(path: Path | None) -> Path:
    """Return the file that a setting means: itself, one in that folder, or the default."""
    if path is None:
        return data_folder() / NAME
    path = path.expanduser()
    return path / NAME if path.is_dir() else path


def data_folder() -> Path:
    """Return the folder of the user's own for spanserve's data."""
    if given := os.environ.get("XDG_DATA_HOME"):
        base = Path(given)
    elif sys.platform == "darwin":
        base = Path("~/Library/Application Support")
    else:
        base = Path("~/.local/share")
    try:
        return base.expanduser() / "spanserve"
    except RuntimeError as error:
        raise ConfigError(f"there is no home folder for traces; {_ADVICE}") from error


def make_private(file: Path) -> None:
    """Make the file and its folder, where they are missing, for this user alone.

    Raises ConfigError, with what to set, where that cannot be.
    """
    try:
        if not file.parent.exists():
            file.parent.mkdir(_PRIVATE_FOLDER, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077 and _is_ours(descriptor):
                os.fchmod(descriptor, _PRIVATE_FILE)
        finally:
            os.close(descriptor)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigError(f"traces cannot be written to {file}: {why}; {_ADVICE}") from error


def _is_ours(descriptor: int) -> bool:
    """Whether a file is empty, or one of traces: another's is left as it is."""
    head = os.read(descriptor, _HEAD_BYTES)
    return not head or head[_MARK_AT : _MARK_AT + len(MARK)] == MARK
