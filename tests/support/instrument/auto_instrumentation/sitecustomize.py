# Python imports it as it starts, from no package
"""What `opentelemetry-instrument` has every Python process do: instrument its HTTP clients.

Each process that does so notes its id in INSTRUMENTED, and each call of urllib3 that is traced.
"""

import os
import sys
from pathlib import Path
from typing import Any

import urllib3
from opentelemetry import context

NOTES = Path(os.environ["INSTRUMENTED"])
SUPPRESSED = (
    context._SUPPRESS_INSTRUMENTATION_KEY,  # noqa: SLF001  # as the real ones do
    context._SUPPRESS_HTTP_INSTRUMENTATION_KEY,  # noqa: SLF001  # as above
)
real = urllib3.HTTPConnectionPool.urlopen


def note(what: str) -> None:
    """Add a line to the notes."""
    with NOTES.open("a") as notes:
        notes.write(f"{os.getpid()} {what}\n")


def urlopen(self: Any, method: str, *args: Any, **options: Any) -> Any:
    """Open a URL, and note it, unless instrumentation is suppressed."""
    if not any(map(context.get_value, SUPPRESSED)):
        note(f"traced {method}")
    return real(self, method, *args, **options)


if "spanserve" in " ".join(sys.orig_argv):
    note("instrumented")
    urllib3.HTTPConnectionPool.urlopen = urlopen  # type: ignore[method-assign]  # that is its trade
