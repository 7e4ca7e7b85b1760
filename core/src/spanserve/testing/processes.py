"""`spanserve serve` in processes of its own, for a test."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

START_S: Final = 60.0
_SERVES: Final = re.compile(r"serves .+ on (https?://[^\s\"]+)")
_LOOK_AGAIN_S: Final = 0.02


@contextmanager
def served(service: str, config: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Serve a service (`module:Class`), with the paths of this process; give where it listens.

    AssertionError where it does not start, or does not stop as it should.
    """
    file, log = folder / "spanserve.json", folder / "spanserve.log"
    file.write_text(json.dumps(config))
    command = [sys.executable, "-m", "spanserve", "serve", service, "--config", str(file)]
    paths = os.pathsep.join(filter(None, sys.path))
    with log.open("w") as said:
        process = subprocess.Popen(  # noqa: S603  # this very program
            [*command, "--port", "0"], stderr=said, env={**os.environ, "PYTHONPATH": paths}
        )
    try:
        yield _address(process, log)
        process.terminate()
        if (code := process.wait(START_S)) != 0:
            raise AssertionError(f"the server ended with {code}:\n{log.read_text()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    give_up_s = time.monotonic() + START_S
    while time.monotonic() < give_up_s and process.poll() is None:
        if (found := _SERVES.search(log.read_text())) and _is_ready(found[1]):
            return found[1]
        time.sleep(_LOOK_AGAIN_S)
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).is_success
    except httpx.TransportError:
        return False
