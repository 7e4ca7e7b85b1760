"""How much memory a process has."""

import os
from pathlib import Path
from typing import Final

_PAGES_AT: Final = 1


def memory_of(pid: int) -> int:
    """Return the resident bytes of a process; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[_PAGES_AT])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
