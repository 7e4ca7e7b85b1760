"""Bundles as the command makes them, and what their image would run."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner, Result

from spanserve.cli import app
from support.serving import SubprocessServer, server_by

BIN = Path(sys.executable).parent
"""Where `spanserve` and `python` are, as they are on an image's PATH."""

PATH = f"{BIN}{os.pathsep}{os.environ['PATH']}"


def bundle(*args: object) -> Result:
    """Run `spanserve bundle`."""
    return CliRunner().invoke(app, ["bundle", *map(str, args)])


def made(*args: object) -> str:
    """Make a bundle, and return what the command printed."""
    result = bundle(*args)
    assert result.exit_code == 0, result.output
    return result.stdout


def written(folder: Path, files: Mapping[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody may write below the folder, and nothing did (root could)."""
    everything = [folder, *folder.rglob("*")]
    modes = {each: each.stat().st_mode for each in everything}
    for each, mode in modes.items():
        each.chmod(mode & 0o555)
    try:
        yield
        assert sorted([folder, *folder.rglob("*")]) == sorted(everything)
    finally:
        for each, mode in modes.items():
            each.chmod(mode)


class Image:
    """What the Dockerfile of a bundle says, done here: its variables, commands and arguments."""

    def __init__(self, folder: Path, state: Path, **environment: str) -> None:
        """`state` stands for the image's /dev/shm."""
        self.folder = folder
        self.dockerfile = (folder / "Dockerfile").read_text().replace("\\\n", " ")
        self.url_file = state / "spanserve.url"
        [variables] = re.findall(r"^ENV (.+)$", self.dockerfile, re.MULTILINE)
        declared = dict(each.split("=", 1) for each in shlex.split(variables))
        assert declared["SPANSERVE__SERVER__URL_FILE"] == "/dev/shm/spanserve.url"
        own = {"SPANSERVE__SERVER__URL_FILE": str(self.url_file), "PATH": PATH}
        self.environment = {**declared, **own, **environment}

    @contextmanager
    def run(self, *args: str, cwd: Path, wait: bool = True) -> Iterator[SubprocessServer]:
        """Run the entry point with these arguments; the server is asked at 0.0.0.0 itself."""
        command = [*self._command(r"^ENTRYPOINT (.+)$"), *args]
        with server_by(command, env=self.environment, cwd=cwd, wait=wait) as server:
            yield server

    def output(self, *args: str, cwd: Path) -> str:
        """Run the entry point to its end; returns what it printed."""
        command = [*self._command(r"^ENTRYPOINT (.+)$"), *args]
        return self._completed(command, cwd).stdout

    def is_healthy(self, cwd: Path) -> bool:
        """Run the health check, in a process of its own as an engine does."""
        done = self._completed(self._command(r"^HEALTHCHECK .*CMD (.+)$"), cwd)
        assert done.returncode in {0, 1}
        assert "Traceback" not in done.stderr
        return done.returncode == 0

    def _completed(self, command: list[str], cwd: Path) -> "subprocess.CompletedProcess[str]":
        env: Mapping[str, str] = {**_clean(), **self.environment}
        return subprocess.run(
            command, cwd=cwd, env=env, check=False, capture_output=True, text=True, timeout=60
        )

    def _command(self, pattern: str) -> list[str]:
        [text] = re.findall(pattern, self.dockerfile, re.MULTILINE)
        words: list[str] = json.loads(text)
        return [word.replace("/bundle/", f"{self.folder}/") for word in words]


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("SPANSERVE", "OTEL", "PORT"))}
