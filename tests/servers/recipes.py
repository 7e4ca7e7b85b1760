"""How a server is made: a jar that Maven fetches, or a program that Go builds."""

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from servers.cache import ServersError, Workshop, duration

_HEARTBEAT_S = 30.0
_TAIL_LINES = 20


def tail(log: Path) -> str:
    """Return the end of a log, for an error to show."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  | {line}" for line in lines[-_TAIL_LINES:])


@dataclass(frozen=True)
class MavenJar:
    """An executable jar; `group`, `artifact` and `classifier` are its Maven coordinates."""

    name: str
    version: str
    group: str
    artifact: str
    classifier: str
    java: int
    source: str

    def file(self, folder: Path) -> Path:
        """Return where the jar is in its folder of the cache."""
        return folder / f"{self.artifact}-{self.version}-{self.classifier}.jar"

    def missing_to_run(self, path: str | None) -> str | None:
        """Say what this machine lacks to run it; `path` is what to search, as in PATH."""
        java = shutil.which("java", path=path)
        if java is None:
            return "no `java` here"
        found = java_version(_output([java, "-version"]))
        if found < self.java:
            return f"`java` is {found or 'of no known version'}, and {self.java} is needed"
        return None

    def missing_to_fetch(self, path: str | None) -> str | None:
        """Say what this machine lacks to fetch it."""
        return None if shutil.which("mvn", path=path) else "no `mvn` (Maven) here"

    def make(self, shop: Workshop) -> None:
        """Fetch the jar with Maven, into Maven's own repository, and copy it."""
        shop.say(f"{self.name} {self.version}: fetching its jar (130 MB) with Maven")
        coordinates = f"{self.group}:{self.artifact}:{self.version}:jar:{self.classifier}"
        command = ["mvn", "--batch-mode", "dependency:copy"]
        options = [f"-Dartifact={coordinates}", f"-DoutputDirectory={shop.result}"]
        run_tool([*command, *options], shop)
        if not self.file(shop.result).exists():
            raise ServersError(f"Maven left no {self.file(shop.result).name}; log: {shop.log}")


@dataclass(frozen=True)
class GoProgram:
    """A program of a Go module; the module's version may differ from the program's.

    The released module is built where its own go.mod and go.sum govern, as its makers do:
    `go install` refuses modules with a `replace`, and builds others just so.
    """

    name: str
    version: str
    module: str
    module_version: str
    package: str
    source: str

    def file(self, folder: Path) -> Path:
        """Return where the program is in its folder of the cache."""
        return folder / self.package.rpartition("/")[2]

    def missing_to_run(self, path: str | None) -> str | None:  # noqa: ARG002 - MavenJar's form
        """Nothing is needed: the program stands alone."""
        return None

    def missing_to_fetch(self, path: str | None) -> str | None:
        """Say what this machine lacks to fetch it."""
        return None if shutil.which("go", path=path) else "no `go` here"

    def make(self, shop: Workshop) -> None:
        """Download the module and what it needs through Go's module proxy, and build."""
        shop.say(f"{self.name} {self.version}: downloading its source")
        source = self._source(shop)
        shop.say(
            f"{self.name} {self.version}: building with Go, which takes minutes; "
            f"`tail -f {shop.log}` shows more"
        )
        program = self.file(shop.result)
        command = ["go", "build", "-v", "-trimpath", "-p", str(shop.jobs), "-o", str(program)]
        limits = {"GOMAXPROCS": str(shop.jobs)}
        run_tool([*command, f"./{self.package}"], shop, folder=source, environ={**_GO, **limits})

    def _source(self, shop: Workshop) -> Path:
        answer = shop.folder / "module.json"
        wanted = f"{self.module}@{self.module_version}"
        run_tool(["go", "mod", "download", "-json", wanted], shop, environ=_GO, answer=answer)
        source = shop.folder / "source"
        shutil.copytree(json.loads(answer.read_text())["Dir"], source)
        for folder in (source, *(path for path in source.rglob("*") if path.is_dir())):
            folder.chmod(0o755)  # Go's own copy is read-only
        return source


# CGO: no C compiler is needed. GOWORK, GOFLAGS: the user's are for the user's own work.
_GO: Mapping[str, str] = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}


def java_version(text: str) -> int:
    """Return the major version that `java -version` names, 0 where it names none."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else 0


def run_tool(
    command: Sequence[str],
    shop: Workshop,
    *,
    folder: Path | None = None,
    environ: Mapping[str, str] | None = None,
    answer: Path | None = None,
) -> None:
    """Run a tool at low priority, its output going to the log, its answer to a file.

    Raises ServersError where it fails. Says every half minute that it still runs.
    """
    polite = ["nice", "-n", "15"] if shutil.which("nice") else []
    with shop.log.open("ab") as log, (answer or shop.log).open("ab") as output:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [*polite, *command],
            cwd=folder or shop.folder,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
        )
        try:
            code = _wait(process, shop)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code != 0:
        shown = shlex.join(command)
        raise ServersError(f"`{shown}` failed with {code}; log: {shop.log}\n{tail(shop.log)}")


def _wait(process: subprocess.Popen[bytes], shop: Workshop) -> int:
    started_s = time.monotonic()
    while True:
        try:
            return process.wait(timeout=_HEARTBEAT_S)
        except subprocess.TimeoutExpired:
            elapsed = duration(time.monotonic() - started_s)
            shop.say(f"  ... still at it after {elapsed}")


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
