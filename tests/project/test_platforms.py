"""Other systems than Linux: what they lack is not needed, or said."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from spanserve.cli import app
from support.serving import subprocess_server

COUNTED = Path(__file__).parents[1] / "support" / "services" / "counted.py"

HIDES = '''
"""Hides what macOS has not."""
import fcntl, os, pathlib, select, signal, socket

for module, names in (
    (os, "sched_yield sched_getaffinity sched_setaffinity memfd_create eventfd pidfd_open pipe2"),
    (fcntl, "F_SETPIPE_SZ F_GETPIPE_SZ"),
    (signal, "pidfd_send_signal"),
    (select, "epoll"),
    (socket, "TCP_QUICKACK SO_PEERCRED SOCK_CLOEXEC SOCK_NONBLOCK"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

exists = pathlib.Path.exists
pathlib.Path.exists = lambda self, **options: (
    not str(self).startswith(("/proc", "/dev/shm")) and exists(self, **options)
)
'''


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_needs_nothing_that_only_linux_has(tmp_path: Path, workers: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDES, encoding="utf-8")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    env["SPANSERVE__TRACING__TYPE"] = "console"
    check = "import os; print(hasattr(os, 'sched_yield'))"
    hidden = subprocess.run(
        [sys.executable, "-c", check], env=env, capture_output=True, text=True, check=True
    )
    assert hidden.stdout == "False\n"
    with subprocess_server(str(COUNTED), "--workers", workers, env=env) as server:
        assert httpx.post(f"{server.url}/predict", json=1).json() == 1
        assert "spanserve_requests_total" in httpx.get(f"{server.url}/metrics").text
        assert server.stop(15) == 0, server.text()
    assert "Traceback" not in server.text()
    assert "└─ encode" in server.text()


def test_serving_on_windows_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    ended = CliRunner().invoke(app, ["serve", str(COUNTED)])
    assert ended.exit_code == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: spanserve does not serve on Windows: ")
    assert "WSL" in line
