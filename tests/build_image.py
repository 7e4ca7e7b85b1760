"""The image itself, built and run without an engine; not part of the suite.

    sudo .venv/bin/pytest tests/build_image.py

Needs root, Linux, buildah, debootstrap and a network. The base image is a Debian with the Python
that these tests run with, so that must be Debian's (3.11 of bookworm, 3.13 of trixie).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_distributions import built_wheel

from support.bundles import made
from support.serving import closed_port, server_by
from support.zipkin_sink import ZipkinSink

ROOT = Path(__file__).parents[1]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
SUITE = {"3.11": "bookworm", "3.13": "trixie"}[PYTHON]
PACKAGES = "ca-certificates,python3,python3-pip"
CERTIFICATES = "/etc/ssl/certs:/etc/ssl/certs:ro"
PATH = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True)
class Buildah:
    """buildah with images of its own; it isolates by chroot, which needs no runtime."""

    folder: Path

    def command(self, *args: object) -> list[str]:
        places = ("--root", self.folder / "images", "--runroot", self.folder / "run")
        return [str(each) for each in ("buildah", *places, "--storage-driver", "vfs", *args)]

    def output(self, *args: object) -> str:
        done = subprocess.run(
            self.command(*args),
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """With the base image of the Dockerfile; nothing of it is left afterwards."""
    folder = tmp_path_factory.mktemp("buildah")
    system = folder / "system"
    debootstrap = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(system)]
    subprocess.run(debootstrap, check=True, stdout=subprocess.DEVNULL)
    (system / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    (system / f"usr/lib/python{PYTHON}/EXTERNALLY-MANAGED").unlink()
    found = Buildah(folder)
    container = found.output("from", "scratch")
    found.output("add", container, system, "/")
    found.output("config", "--env", PATH, container)
    found.output("commit", container, f"localhost/python:{PYTHON}-slim")
    shutil.rmtree(system)
    yield found
    found.output("rm", "--all")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of a bundle with Zipkin's plugin."""
    folder = tmp_path_factory.mktemp("image")
    wheels = folder / "wheels"
    for project in ("core", "plugins/zipkin"):
        shutil.copy(built_wheel(ROOT / project, folder / project.replace("/", "-")), _made(wheels))
    service = ROOT / "docs" / "examples" / "squares" / "service.py"
    made(service, "-o", folder / "squares", "--with", "spanserve-zipkin", "--wheels", wheels)
    options = ("--format", "docker", "--network", "host", "--volume", CERTIFICATES)
    buildah.output("bud", *options, "-t", "squares", folder / "squares")
    return "squares"


@pytest.fixture
def container(buildah: Buildah, image: str) -> str:
    """A container of the image."""
    return buildah.output("from", image)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def settings_of(buildah: Buildah, image: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(buildah.output("inspect", "--type", "image", image))
    found: dict[str, Any] = settings["Docker"]["config"]
    return found


def served_by(pid: int) -> list[int]:
    """The processes below this one that serve: a container's first gets the signals."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(each) for file in threads for each in file.read_text().split()]
    serving = [each for each in children if b"\0serve\0/bundle\0" in command_line(each)]
    return serving or [found for each in children for found in served_by(each)]


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """The user's folder, which others can read."""
    for each in (tmp_path, *tmp_path.parents[:2]):
        each.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("form", ["argument", "variable"])
def test_the_image_serves_with_a_mounted_config_and_traces_by_its_plugin(
    buildah: Buildah, image: str, container: str, mounted: Path, form: str
) -> None:
    port = closed_port()
    file, inside = mounted / "my_config_file.yml", "/tmp/my_config_file.yml"
    entry_point = settings_of(buildah, image)["Entrypoint"]
    options = ["--volume", f"{mounted}:/tmp"]
    options += ["--env", f"SPANSERVE_CONFIG={inside}"] if form == "variable" else []
    args = ["--config", inside] if form == "argument" else []
    command = buildah.command("run", *options, container, "--", *entry_point, *args)
    with ZipkinSink() as sink:
        server_config = {"host": "127.0.0.1", "port": port}
        tracing = {"type": "zipkin", "zipkin": {"url": sink.url}}
        file.write_text(json.dumps({"server": server_config, "tracing": tracing}))
        with server_by(command, env={"BUILDAH_ISOLATION": "chroot"}) as server:
            [first] = served_by(server.process.pid)
            try:
                assert server.url == f"http://0.0.0.0:{port}", server.text()
                answer = httpx.post(f"{server.url}/square", json=[3, 0.5])
                assert answer.json() == [9.0, 0.25]
                assert buildah.output("run", container, "--", *health_check(buildah, image)) == ""
            finally:
                os.kill(first, signal.SIGTERM)
            assert server.process.wait(30) == 0, server.text()
        assert answer.headers["X-Trace-Id"] in sink.traces()


def health_check(buildah: Buildah, image: str) -> list[str]:
    test: list[str] = settings_of(buildah, image)["Healthcheck"]["Test"]
    assert test[0] == "CMD"
    return test[1:]


def test_the_image_runs_without_root_and_other_commands_too(
    buildah: Buildah, image: str, container: str
) -> None:
    settings = settings_of(buildah, image)
    assert settings["User"] == "10001:10001"
    assert list(settings["ExposedPorts"]) == ["8000/tcp"]
    entry_point = settings["Entrypoint"]
    assert buildah.output("run", container, "--", *entry_point, "id", "-u") == "10001"
    assert "(spanserve-zipkin " in buildah.output(
        "run", container, "--", *entry_point, "spanserve", "tracers"
    )
    refused = "! touch /bundle/new 2>/dev/null"
    buildah.output("run", container, "--", *entry_point, "sh", "-c", refused)
