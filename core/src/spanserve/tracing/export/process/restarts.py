"""When an exporter's process that died is started again, how it ended, and in what environment."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LONGEST_PAUSE_S: Final = 60.0
_LONG_LIFE_S: Final = 60.0
"""Who lived so long and dies is no worse off than one that never died."""


class Restarts:
    """The pauses before a process is started anew: none after one that worked, then they grow."""

    def __init__(self) -> None:
        self._deaths = 0
        self._has_delivered = False
        self._started_s = 0.0
        self._not_before_s = 0.0

    def started(self, now_s: float) -> None:
        """Take note of a start."""
        self._started_s = now_s
        self._has_delivered = False

    def delivered(self) -> None:
        """Take note of a call that was answered."""
        self._has_delivered = True

    def died(self, now_s: float) -> bool:
        """Take note of an end; say whether it is the first for a while."""
        lived_long = now_s - self._started_s >= _LONG_LIFE_S
        self._deaths = 1 if lived_long else self._deaths + 1
        is_first = self._deaths == 1
        at_once = is_first and self._has_delivered
        pause_s = 0.0 if at_once else min(2.0 ** (self._deaths - 2), LONGEST_PAUSE_S)
        self._not_before_s = now_s + pause_s
        return is_first

    def wait_s(self, now_s: float) -> float:
        """Return for how long not to start another."""
        return max(0.0, self._not_before_s - now_s)


def ended_by(exit_code: int) -> str:
    """Say how a process ended."""
    try:
        return (
            f"exit code {exit_code}" if exit_code >= 0 else f"by {signal.Signals(-exit_code).name}"
        )
    except ValueError:
        return f"by signal {-exit_code}"


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what makes OpenTelemetry instrument every Python process.

    `opentelemetry-instrument` puts a folder on PYTHONPATH whose `sitecustomize.py` does that.
    """
    clean = dict(environment)
    folders = clean.get("PYTHONPATH", "").split(os.pathsep)
    kept = [folder for folder in folders if Path(folder).name != _INSTRUMENTS]
    if len(kept) < len(folders):
        clean["PYTHONPATH"] = os.pathsep.join(kept)
    return clean


_INSTRUMENTS: Final = "auto_instrumentation"
