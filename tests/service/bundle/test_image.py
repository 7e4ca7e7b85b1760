"""What an image of a bundle runs: its entry point, its health check, and its Dockerfile."""

import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import httpx
import joblib
import pytest

from spanserve.commands.demo.digits.train import halves, train
from support.bundles import BIN, Image, bundle, bytes_of, made, read_only
from support.serving import closed_port, until

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"

WAITS = """
import os
import time
from pathlib import Path

from spanserve import api, service


@service
class Waits:
    @api
    def answer(self) -> str:
        Path(os.environ["STATE"], "asked").touch()
        while not Path(os.environ["STATE"], "go").exists():
            time.sleep(0.01)
        return "answered"
"""


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles `digits`, from a bundle's folder, and `squares`, from a file."""
    folder = tmp_path_factory.mktemp("bundles")
    source = folder / "source"
    shutil.copytree(EXAMPLES / "digits", source)
    joblib.dump(train(halves()), source / "model.joblib")
    made(source, "-o", folder / "digits")
    made(EXAMPLES / "squares" / "service.py", "-o", folder / "squares")
    shutil.rmtree(source)
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A folder in which an image may write."""
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The user's folder, with the config file that is mounted with it."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    (folder / "my_config_file.yml").write_text("tracing: {type: console}\nserver: {port: 0}")
    return folder


def predicted(url: str, name: str) -> object:
    """Ask the service with this name for one thing that is known."""
    images = halves().held_out_images
    body = {"squares": [3, 0.5], "digits": images[0].tolist()}[name]
    answer = httpx.post(f"{url}/{'square' if name == 'squares' else 'predict'}", json=body)
    assert answer.status_code == 200, answer.text
    assert "x-trace-id" in answer.headers
    return answer.json()


@cache
def expected(name: str) -> object:
    """Return what is known of that thing."""
    if name == "squares":
        return [9.0, 0.25]
    data = halves()
    return int(train(data).predict(data.held_out_images[:1] / 16)[0])


@pytest.mark.parametrize("name", ["squares", "digits"])
@pytest.mark.parametrize("form", ["argument", "variable"])
def test_a_read_only_bundle_serves_from_anywhere_with_both_forms_of_config(
    bundles: Path, state: Path, config: Path, name: str, form: str
) -> None:
    file = str(config / "my_config_file.yml")
    given = {"SPANSERVE_CONFIG": file} if form == "variable" else {}
    args = ["--config", file] if form == "argument" else []
    image = Image(bundles / name, state, **given)
    with read_only(bundles / name), image.run(*args, cwd=config) as server:
        assert server.url.startswith("http://0.0.0.0:")
        assert predicted(server.url, name) == expected(name)
        assert "tracing 100 % of requests: console to stderr" in server.text()
        assert image.url_file.read_text() == f"{server.url}\n"
        assert image.is_healthy(config)
        assert server.stop(signal.SIGTERM) == 0
        assert not image.is_healthy(config)
    assert list(state.iterdir()) == []
    assert [each.name for each in config.iterdir()] == ["my_config_file.yml"]


def test_port_is_listened_on_and_asked_by_the_health_check(
    bundles: Path, state: Path, config: Path
) -> None:
    port = closed_port()
    image = Image(bundles / "squares", state, PORT=str(port), HTTP_PROXY="http://127.0.0.1:1")
    assert not image.is_healthy(config)
    with image.run(cwd=config) as server:
        assert server.url == f"http://0.0.0.0:{port}"
        assert image.is_healthy(config)
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        ({}, ["host: 0.0.0.0", "port: 9000"]),
        ({"PORT": ""}, ["host: 0.0.0.0", "port: 9000"]),
        ({"PORT": "9001"}, ["host: 0.0.0.0", "port: 9001"]),
        ({"PORT": "9001", "SPANSERVE__SERVER__PORT": "9002"}, ["host: 0.0.0.0", "port: 9002"]),
        ({"SPANSERVE__SERVER__HOST": "127.0.0.2"}, ["host: 127.0.0.2", "port: 9000"]),
    ],
)
def test_the_environment_wins_over_the_file_and_other_commands_run_in_place_of_serve(
    bundles: Path, state: Path, config: Path, environment: dict[str, str], lines: list[str]
) -> None:
    (config / "c.yml").write_text("server: {host: 127.0.0.1, port: 9000}")
    image = Image(bundles / "squares", state, **environment)
    shown = image.output("spanserve", "check", "c.yml", cwd=config).splitlines()
    found = [line.split("#")[0].strip() for line in shown if line.startswith(("  host", "  port"))]
    assert found == lines


def test_an_argument_wins_over_port(bundles: Path, state: Path, config: Path) -> None:
    port = closed_port()
    image = Image(bundles / "squares", state, PORT="1")
    with image.run("--port", str(port), "--host", "127.0.0.1", cwd=config) as server:
        assert server.url == f"http://127.0.0.1:{port}"
        assert image.is_healthy(config)


def test_sigterm_reaches_the_server_which_answers_what_it_accepted(
    state: Path, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "waits.py").write_text(WAITS)
    made(tmp_path / "code" / "waits.py", "-o", tmp_path / "waits")
    image = Image(tmp_path / "waits", state, PORT=str(closed_port()), STATE=str(state))
    with ThreadPoolExecutor() as pool, image.run(cwd=config) as server:
        asked = pool.submit(httpx.post, f"{server.url}/answer", timeout=60)
        assert until((state / "asked").exists)
        server.process.send_signal(signal.SIGTERM)
        assert until(lambda: not image.is_healthy(config))
        (state / "go").touch()
        assert asked.result().json() == "answered"
        assert server.process.wait(30) == 0


def test_a_file_for_the_url_that_cannot_be_written_stops_the_start(
    bundles: Path, state: Path, config: Path
) -> None:
    image = Image(bundles / "squares", state / "absent", PORT=str(closed_port()))
    with image.run(cwd=config, wait=False) as server:
        assert server.process.wait(30) == 2
    why = f"cannot write server.url_file {image.url_file}: No such file or directory"
    assert server.text().strip().endswith(f"error: {why}")


@pytest.mark.parametrize("wheels", [False, True], ids=["plain", "with wheels"])
def test_the_dockerfile_has_no_fault_and_the_user_is_not_root(tmp_path: Path, wheels: bool) -> None:  # noqa: FBT001  # parametrized
    (tmp_path / "own-1-py3-none-any.whl").touch()
    options = ["--wheels", tmp_path] if wheels else []
    made(EXAMPLES / "squares" / "service.py", "-o", tmp_path / "made", *options)
    file = tmp_path / "made" / "Dockerfile"
    done = subprocess.run(
        [BIN / "hadolint", "--no-color", file], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert file.read_text().count("\nUSER 10001:10001\n") == 1
    assert ("COPY wheels ./wheels\n" in file.read_text()) == wheels
    subprocess.run(["sh", "-n", tmp_path / "made" / "entrypoint.sh"], check=True)


def test_the_linter_finds_faults(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp && pip install numpy\n")
    done = subprocess.run(
        [BIN / "hadolint", tmp_path / "Dockerfile"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "DL3006" in done.stdout


def test_a_bundle_is_made_again_with_the_same_bytes(bundles: Path, tmp_path: Path) -> None:
    for name in ("squares", "digits"):
        before = bytes_of(bundles / name)
        assert bundle(bundles / name, "-o", tmp_path / name).exit_code == 0
        made(bundles / name, "-o", tmp_path / name, "--force")
        assert bytes_of(tmp_path / name) == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["digits", "squares"]


def test_the_user_s_own_dockerfile_is_used(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(EXAMPLES / "squares" / "service.py", source)
    (source / "Dockerfile").write_text("FROM scratch\n")
    made(source / "service.py", "-o", tmp_path / "made")
    assert (tmp_path / "made" / "Dockerfile").read_text() == "FROM scratch\n"
    assert "exec spanserve serve" in (tmp_path / "made" / "entrypoint.sh").read_text()
