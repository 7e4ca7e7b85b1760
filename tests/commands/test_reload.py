"""`spanserve serve --reload`, as a process: changes, mistakes, the port, breakpoints, its end."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from typer.testing import CliRunner

from spanserve.cli import app
from support.serving import DEADLINE_S, end, until

SERVICE: Final = """
from spanserve import api, service

@service
class Told:
    @api
    def word(self) -> str:
        {before}
        return {word!r}
"""


class Reloading:
    """A process of `spanserve serve --reload`."""

    def __init__(self, file: Path, *options: str) -> None:
        command = [sys.executable, "-u", "-m", "spanserve", "serve", file.name, "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=file.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert until(lambda: self.said(r"on (http://\S+?),? ")), self.lines
        self.url = next(m[1] for line in self.lines if (m := re.search(r"(http://[\d.:]+)", line)))

    def said(self, words: str) -> bool:
        return any(re.search(words, line) for line in list(self.lines))

    def word(self) -> str:
        try:
            answer = httpx.post(f"{self.url}/word", timeout=5, trust_env=False)
        except httpx.TransportError:  # as a server ends
            return ""
        return str(answer.json()) if answer.status_code == 200 else ""

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    def close(self) -> None:
        end(self.process)
        self._reader.join(DEADLINE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def reloading(file: Path, *options: str) -> Iterator[Reloading]:
    server = Reloading(file, *options)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "told.py"
    write(file, "one")
    return file


def write(file: Path, word: str, before: str = "") -> None:
    file.write_text(SERVICE.format(word=word, before=before))


def test_a_change_is_served_on_the_same_port_and_a_mistake_waits_for_its_mending(
    file: Path,
) -> None:
    with reloading(file, "--reload") as server:
        assert until(lambda: server.word() == "one")
        write(file, "two")
        assert until(lambda: server.word() == "two")
        file.write_text("def broken(:")
        assert until(lambda: server.said(r"waiting for a change")), server.lines
        write(file, "three")
        assert until(lambda: server.word() == "three")
        server.process.send_signal(signal.SIGTERM)
        code = server.process.wait(DEADLINE_S)

    assert code == 0
    assert server.said("SyntaxError")
    assert server.said(r"told\.py changed: the server starts anew")


def test_a_breakpoint_has_the_terminal(file: Path) -> None:
    write(file, "one", before="breakpoint()")
    with reloading(file, "--reload") as server:
        assert until(lambda: server.said("ready")), server.lines
        assert server.process.stdin is not None
        server.process.stdin.write("p 'from the ' + 'debugger'\nc\n")
        server.process.stdin.flush()
        word = server.word()

    assert word == "one"
    assert server.said("from the debugger")


def test_other_hosts_want_to_be_asked_for_twice(file: Path) -> None:
    order = ["serve", str(file), "--reload", "--host", "0.0.0.0", "--port", "0"]

    refused = CliRunner().invoke(app, order)

    assert (refused.exit_code, "--reload-on-any-host" in refused.stderr) == (2, True)
    options = ("--host", "0.0.0.0", "--reload-on-any-host", "--workers", "2")
    with reloading(file, "--reload", *options) as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert until(lambda: server.word() == "one")
