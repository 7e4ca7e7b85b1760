"""Start, serve and trace once, with the packages of the environment whose Python runs this."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

SERVICE = """
import numpy as np
from numpy.typing import NDArray

from spanserve import api, service, span


@service
class Squares:
    @api(batch=True)
    def square(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        with span("multiply"):
            return numbers * numbers
"""
SPANSERVE = [sys.executable, "-m", "spanserve"]
DEADLINE_S = 60.0
NAMES = ("decode", "queue", "run", "multiply", "encode", "POST /square")


def main() -> None:
    """Raise where something does not work."""
    for words in ("--help", "serve --help", "check --help", "bundle --help", "tracers"):
        subprocess.run([*SPANSERVE, *words.split()], check=True, stdout=subprocess.PIPE)
    with tempfile.TemporaryDirectory() as folder:
        serve(Path(folder))
    subprocess.run([*SPANSERVE, "demo"], check=True, stdout=subprocess.PIPE)


def serve(folder: Path) -> None:
    """Serve, ask, stop, and look at the trace."""
    (folder / "service.py").write_text(SERVICE)
    traces, url_file = folder / "traces.txt", folder / "url"
    (folder / "c.yml").write_text(
        f"tracing: {{type: [console, local], console: {{output: {traces}}}, "
        f"local: {{path: {folder / 'traces.db'}}}}}\n"
        f"server: {{port: 0, url_file: {url_file}}}\n"
    )
    command = [*SPANSERVE, "serve", "service.py", "--config", "c.yml"]
    log = folder / "log.txt"
    with log.open("w") as stderr, subprocess.Popen(command, cwd=folder, stderr=stderr) as server:
        try:
            until(url_file.exists, server)
            url = url_file.read_text().strip()
            until(lambda: asked(f"{url}/readyz") is not None, server)
            assert asked(f"{url}/square", b"[3, 0.5]") == b"[9.0,0.25]", log.read_text()
            until(lambda: b"POST /square" in (asked(f"{url}/traces/api/traces") or b""), server)
            for path in ("", "api/openapi.json", "api/breakdown", "api/timeline", "api/points"):
                assert asked(f"{url}/traces/{path}") is not None, path
        finally:
            server.terminate()
            code = server.wait(DEADLINE_S)
    assert code == 0, log.read_text()
    command = [*SPANSERVE, "traces", "list", "--path", str(folder / "traces.db")]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "POST /square" in listed, listed
    missing = [name for name in NAMES if name not in traces.read_text()]
    assert not missing, (missing, log.read_text())


def asked(url: str, body: bytes | None = None) -> bytes | None:
    """Ask this machine's server; None where it does not answer 200."""
    try:
        request = Request(url, body, {"Content-Type": "application/json"})
        with build_opener(ProxyHandler({})).open(request, timeout=DEADLINE_S) as answer:
            found: bytes = answer.read()
            return found
    except OSError:
        return None


def until(happened: Callable[[], bool], server: "subprocess.Popen[bytes]") -> None:
    """Wait for something that the server does."""
    give_up_s = time.monotonic() + DEADLINE_S
    while not happened():
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < give_up_s, "the server is not ready in time"
        time.sleep(0.05)


if __name__ == "__main__":
    main()
