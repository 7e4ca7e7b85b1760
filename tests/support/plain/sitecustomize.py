"""On `PYTHONPATH`, Python behaves as if httptools and uvloop were not installed."""

import sys

sys.modules["httptools"] = sys.modules["uvloop"] = None  # type: ignore[assignment]  # blocks imports
