"""The servers: what is run, what it is sent, and how it is told to batch."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.processes import LOAD_CPU, SERVER_CPU, exporters, is_alive, move, running, until
from bench.wrk import Load

HERE: Final = Path(__file__).parents[1]
CACHE: Final = Path(
    os.environ.get("SPANSERVE_BENCHMARKS_CACHE", Path.home() / ".cache" / "spanserve-benchmarks")
)
ROW: Final = "[" + ",".join(["0.5"] * 64) + "]"
LONG_ROW: Final = "[" + ",".join(["0.5"] * 16_384) + "]"  # 64 KiB of JSON
SINK_PORT: Final = 29_411
UDP_PORT: Final = 29_831
HANGING_PORT: Final = 29_412
NOBODY_PORT: Final = 29_413
OFF: Final = "type: off"


class SpanCounts(NamedTuple):
    """The names of a traced server's metrics: spans made, requests taken, and spans lost."""

    spans: str
    requests: str
    dropped: str


OURS: Final = SpanCounts(
    "spanserve_spans_recorded_total", "spanserve_batch_size_sum", "spanserve_spans_dropped_total"
)


@dataclass(frozen=True)
class Server:
    """One server with one model, to be run on a port.

    `together`: the exporter's process stays on the server's processor. `counts`: it makes spans.
    `called`: each of its requests says that another span calls. `headers`: what else they say.
    """

    name: str
    command: Sequence[str]
    path: str = "/predict"
    body: str = "{row}"
    env: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    together: bool = False
    counts: SpanCounts | None = None
    cpus: Sequence[int] = (SERVER_CPU,)
    called: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def body_of(self, row: str) -> str:
        """Return the body of a request for one row."""
        return self.body.replace("{row}", row)

    @contextmanager
    def run(self, port: int, *, row: str = ROW, deadline_s: float = 120) -> Iterator["Running"]:
        """Run it until the first answer, and then on."""
        command = [part.replace("{port}", str(port)) for part in self.command]
        name = "".join(each if each.isalnum() else "-" for each in self.name)
        with running(command, cpus=self.cpus, env=self.env, name=name) as pid:
            up = Running(self, f"http://127.0.0.1:{port}{self.path}", self.body_of(row), pid)
            served = until(lambda: up.answers() or not is_alive(pid), deadline_s)
            if not is_alive(pid):
                raise NotServedError(f"{self.name} ended before it served")
            if not served:
                raise NotServedError(f"{self.name} gave no answer within {deadline_s:g} s")
            if not self.together:
                for exporter in exporters(pid):
                    move(exporter, LOAD_CPU)
            yield up


class NotServedError(Exception):
    """A server that was to be measured does not serve."""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    server: Server
    url: str
    body: str
    pid: int

    def load(self, connections: int, seconds: float) -> Load:
        """Return the load to drive it with."""
        own = self.server
        return Load(self.url, self.body, connections, seconds, own.called, own.headers)

    def answers(self) -> bool:
        """Ask once, and say whether there was an answer to use."""
        return self._status(10) == HTTPStatus.OK

    def is_through(self) -> bool:
        """Ask once behind all that waits, and say whether there was any answer."""
        return self._status(30) is not None

    def _status(self, timeout_s: float) -> int | None:
        request = urllib.request.Request(
            self.url,
            self.body.encode(),
            {"Content-Type": "application/json", **self.server.headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return int(answer.status) if json.load(answer) is not None else None
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, ValueError):
            return None

    def spans(self) -> tuple[float, float]:
        """Return the spans and the requests that the server has counted so far."""
        counts = self.server.counts
        return (self.metric(counts.spans), self.metric(counts.requests)) if counts else (0.0, 0.0)

    def dropped_spans(self) -> float:
        """Return the spans that the server has lost so far."""
        return self.metric(self.server.counts.dropped) if self.server.counts else 0.0

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        url = self.url.removesuffix(self.server.path) + "/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def echo() -> Server:
    """Return the lean base: uvicorn, as ours runs it, with an app that reads and answers."""
    command = [sys.executable, "-m", "uvicorn", "--no-access-log", "--log-level", "warning"]
    command += ["--port", "{port}", "--app-dir", str(HERE / "services"), "echo:app"]
    return Server("echo", command, settings="uvicorn with uvloop and httptools, no framework")


def spanserve(
    model: str, *, name: str = "spanserve", tracing: str = OFF, **options: object
) -> Server:
    """Return ours; `tracing` is the section's content, in YAML's flow style."""
    command = [sys.executable, "-m", "spanserve", "serve", "--port", "{port}"]
    command += [f"{HERE / 'services' / 'models.py'}:{MODELS[model]}"]
    return Server(
        name,
        [*command, "--config", str(_config(tracing))],
        env=model_env(),
        settings=f"max_batch_size 64, tracing: {{{tracing}}}",
        counts=None if tracing == OFF else OURS,
        **options,  # type: ignore[arg-type]  # fields of Server
    )


MODELS: Final = {"noop": "Noop", "accelerator": "Accelerator", "digits": "Digits", "long": "Long"}


def _config(tracing: str) -> Path:
    folder = CACHE / "configs"
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(each if each.isalnum() else "-" for each in tracing)
    path = folder / f"{name}.yml"
    path.write_text(f"tracing: {{{tracing}}}\n")
    return path


def model_env() -> dict[str, str]:
    """Return where all servers find the same fitted model."""
    return {"MODEL": str(CACHE / "digits.joblib")}


def peers(model: str) -> list[Server]:
    """Return the other servers, as `peers/peers.json` says."""
    return [_peer(each, "noop" if model == "long" else model) for each in peer_entries()]


def peer_entries() -> list[dict[str, Any]]:
    """Return what `peers/peers.json` says of the other servers."""
    return list(json.loads((HERE / "peers" / "peers.json").read_text()))


def _peer(entry: dict[str, Any], model: str) -> Server:
    venv = CACHE / str(entry["name"])
    places = {"{venv}": str(venv), "{here}": str(HERE / "peers" / str(entry["name"]))}
    places["{model}"] = model

    def placed(text: str) -> str:
        for place, value in places.items():
            text = text.replace(place, value)
        return text

    env = {key: placed(str(value)) for key, value in entry.get("env", {}).items()}
    return Server(
        str(entry["name"]),
        [placed(str(part)) for part in entry["command"]],
        path=placed(str(entry["path"])),
        body=str(entry["body"]),
        env={**env, **model_env()},
        settings=str(entry["settings"]),
    )


def install_peers(names: Sequence[str]) -> None:
    """Make the virtual environments that are not there yet."""
    uv = shutil.which("uv")
    for entry in peer_entries():
        venv = CACHE / entry["name"]
        if entry["name"] not in names or (venv / "bin" / "python").exists():
            continue
        if uv is None:
            raise SystemExit("the benchmark needs uv; python -m pip install uv")
        print(f"installing {entry['name']}: {', '.join(entry['requirements'])}", flush=True)
        subprocess.run([uv, "venv", "-q", "--python", "3.11", str(venv)], check=True)
        install = [uv, "pip", "install", "-q", "--python", str(venv / "bin" / "python")]
        subprocess.run([*install, *entry["requirements"]], check=True)
