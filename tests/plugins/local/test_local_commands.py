"""`spanserve traces`: the same file in the terminal, while a server writes it and afterwards."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.serving import DEADLINE_S, subprocess_server

SERVICE = """
import numpy as np
from spanserve import api, service, span


@service
class Squares:
    @api(batch=True)
    def square(self, numbers: np.ndarray) -> np.ndarray:
        with span("multiply", note="\\x1b[31mred"):
            return numbers * numbers
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the traces of three requests, whose server ended."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "service.py").write_text(SERVICE)
    (folder / "c.yml").write_text(
        f"tracing: {{type: local, local: {{path: {folder}/data/traces.db}}}}"
    )
    with subprocess_server(str(folder / "service.py"), "--config", str(folder / "c.yml")) as server:
        following = started(folder, "follow", "--json")
        ids = [httpx.post(f"{server.url}/square", json=[n]).headers["x-trace-id"] for n in range(3)]
        (folder / "ids").write_text("\n".join(ids))
        assert following.stdout is not None
        followed = [json.loads(following.stdout.readline())["trace_id"] for _ in ids]
        following.send_signal(signal.SIGINT)
        assert following.wait(DEADLINE_S) == 0
        following.stdout.close()
        (folder / "followed").write_text("\n".join(followed))
        assert server.stop(signal.SIGTERM) == 0
    return folder


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "spanserve", "traces", *words, "--config", f"{folder}/c.yml"]


def clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith("SPANSERVE")}


def started(folder: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command(folder, *words), env=clean(), stdout=subprocess.PIPE, text=True, bufsize=1
    )


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(folder, *words), env=clean(), capture_output=True, text=True, check=False
    )


def test_what_comes_is_followed(folder: Path) -> None:
    assert (folder / "followed").read_text() == (folder / "ids").read_text()


def test_traces_are_listed_without_a_server_newest_first(folder: Path) -> None:
    ids = (folder / "ids").read_text().split()
    listed = run(folder, "list")
    heading, *lines = listed.stdout.splitlines()
    assert heading.split() == ["start", "duration", "status", "name", "batch", "trace"]
    assert [line.split()[-1] for line in lines] == ids[::-1]
    slow = run(folder, "list", "--sort", "duration", "--limit", "1", "--json")
    assert json.loads(slow.stdout)["trace_id"] in ids


def test_a_trace_is_shown_by_the_first_digits_of_its_id_with_nothing_a_terminal_would_obey(
    folder: Path,
) -> None:
    first, *_ = (folder / "ids").read_text().split()
    shown = run(folder, "show", first[:12]).stdout
    assert shown.startswith(f"trace {first}, ")
    names = [re.split(r" +\|", line)[0].strip() for line in shown.splitlines()[1:]]
    assert names == [
        *("POST /square", "decode", "queue", "collate", "run", "multiply", "split", "encode"),
    ]
    assert "note= [31mred" in shown
    assert "\x1b" not in shown


def test_the_breakdown_ends_with_advice(folder: Path) -> None:
    told = run(folder, "breakdown", "--endpoint", "/square").stdout.splitlines()
    assert told[0] == "3 requests, 0 failed"
    assert told[-1] == "advice: 3 requests are too few to tell; look again after 20."


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("show", "zz"), "a trace's id is 32 hex digits, or the first of them, not 'zz'"),
        (("list", "--status", "7"), "--status is a code, 4xx, 5xx or error, not '7'"),
        (
            ("list", "--since", "soon"),
            "--since: wanted a number of seconds, or an age such as 90s, 36h or 7d",
        ),
    ],
)
def test_a_mistake_is_one_line(folder: Path, words: tuple[str, ...], error: str) -> None:
    failed = run(folder, *words)
    assert (failed.returncode, failed.stderr) == (2, f"error: {error}\n")


def test_where_there_is_no_file_it_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(f"tracing: {{local: {{path: {tmp_path}/none.db}}}}")
    failed = run(tmp_path, "list")
    assert failed.returncode == 2
    assert failed.stderr == (
        f"error: there are no traces in {tmp_path}/none.db: serve with tracing.type: local, or "
        "name another file by --path or --config\n"
    )
    assert not (tmp_path / "none.db").exists()
