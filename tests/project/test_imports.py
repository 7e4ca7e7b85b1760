"""Importing does nothing: no thread, no socket, nothing written, nothing heavy."""

import json
import subprocess
import sys

AUDITED = """
import json, os, sys

did = []

def audit(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn")):
        did.append([event, ""])
    elif event == "_thread.start_new_thread":
        did.append([event, ""])
    elif event == "open":
        path, mode, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and "__pycache__" not in str(path):
            did.append([event, str(path)])

# Their own imports may do what they like; ours starts here.
import numpy, pydantic, logging, asyncio, importlib.metadata
sys.addaudithook(audit)
before = set(sys.modules)
import spanserve
print(json.dumps({"did": did, "modules": sorted(set(sys.modules) - before)}))
"""


def imported() -> dict[str, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", AUDITED], check=True, capture_output=True, text=True, timeout=60
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_importing_spanserve_starts_nothing_and_loads_no_server_sdk_or_plugin() -> None:
    found = imported()
    assert found["did"] == []
    heavy = ("uvicorn", "fastapi", "opentelemetry.sdk", "spanserve_", "spanserve.tracers")
    assert [name for name in found["modules"] if name.startswith(heavy)] == []
    assert "spanserve.tracing.model.span" in found["modules"]
