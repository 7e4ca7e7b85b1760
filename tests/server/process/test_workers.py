"""Several workers: who answers, who follows a dead one, and that nobody is left over."""

import os
import re
import signal
import tempfile
import textwrap
from pathlib import Path

import httpx
import pytest

from spanserve.commands.serve import WORKERS_A_PROCESSOR, bounded
from spanserve.server.process import share
from support.serving import (
    DEADLINE_S,
    SubprocessServer,
    lives,
    signal_to,
    subprocess_server,
    until,
)

SERVICE = """
    import os
    import time
    from pathlib import Path

    from spanserve import api, service

    here = Path(__file__).parent
    (here / f"reached {os.getpid()}").touch()
    if (here / "deadly").exists():
        os._exit(1)
    while (here / "closed").exists():
        time.sleep(0.005)


    @service
    class Slow:
        @api
        async def pid(self) -> int:
            return os.getpid()
"""


@pytest.fixture
def service(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    file = tmp_path / "code" / "slow.py"
    file.write_text(textwrap.dedent(SERVICE))
    return file


def reached(service: Path) -> set[int]:
    """Return the processes that ever began to import the service."""
    return {int(each.name.split()[-1]) for each in service.parent.glob("reached *")}


def ready(server: SubprocessServer) -> int:
    return server.text().count(" ready\n")


def test_while_no_worker_is_ready_the_supervisor_answers_and_the_dead_are_followed(
    service: Path,
) -> None:
    gate = service.parent / "closed"
    with subprocess_server(str(service), "--workers", "2") as server:
        assert until(lambda: ready(server) == 2)
        first = reached(service)
        gate.touch()
        for pid in first:
            signal_to(pid, signal.SIGKILL)
        assert until(lambda: len(reached(service)) == 4)
        answer = httpx.get(f"{server.url}/readyz")
        assert (answer.status_code, answer.text) == (503, "starting\n")
        assert httpx.get(f"{server.url}/livez").status_code == 200
        gate.unlink()
        assert until(lambda: ready(server) == 4)
        assert httpx.post(f"{server.url}/pid").json() in reached(service) - first
        assert server.stop(signal.SIGTERM) == 0
    died = re.findall(r"worker (\d+) died \(exit code -9\); starting another", server.text())
    assert set(map(int, died)) == first
    assert server.text().count("serves Slow on") == 1, "what is served is said once"


def test_workers_that_die_as_they_start_are_given_up_after_growing_pauses(service: Path) -> None:
    (service.parent / "deadly").touch()
    with subprocess_server(str(service), "--workers", "2", wait=False) as server:
        assert server.process.wait(3 * DEADLINE_S) == 3  # nine starts, and 7.5 s of pauses
    pauses = re.findall(r"died \(exit code 1\); starting another in (\S+) s", server.text())
    assert sorted(map(float, pauses))[::2] == [0.5, 1.0, 2.0, 4.0]
    gave_up = r"worker \d+ died \(exit code 1\) as it started, as 4 before it: giving up\n"
    assert re.search(gave_up, server.text())
    assert len(reached(service)) in {9, 10}
    assert "Traceback" not in server.text()


def test_a_worker_that_cannot_load_what_others_could_does_not_end_the_server(
    service: Path,
) -> None:
    good = service.read_text()
    with subprocess_server(str(service), "--workers", "2") as server:
        assert until(lambda: ready(server) == 2)
        service.write_text("import absent")
        victim, survivor = sorted(reached(service))
        signal_to(victim, signal.SIGKILL)
        assert until(lambda: "No module named 'absent'" in server.text())
        assert httpx.post(f"{server.url}/pid").json() == survivor
        service.write_text(good)
        assert until(lambda: ready(server) == 3)
        assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("gate", ["open", "closed"])
def test_workers_end_with_a_supervisor_that_is_killed_and_what_it_leaves_is_cleared(
    service: Path, tmp_path: Path, gate: str
) -> None:
    env = {"TMPDIR": str(tmp_path)}
    (service.parent / gate).touch()
    with subprocess_server(str(service), "--workers", "2", env=env, wait=False) as server:
        assert until(lambda: len(reached(service)) == 2)
        assert gate == "closed" or until(lambda: ready(server) == 2)
        server.process.kill()
        assert until(lambda: not any(map(lives, reached(service))))
    assert len(list(tmp_path.glob(f"{share.PREFIX}*"))) == 1
    (service.parent / gate).unlink()
    with subprocess_server(str(service), "--workers", "2", env=env) as server:
        assert len(list(tmp_path.glob(f"{share.PREFIX}*"))) == 1
        assert server.stop(signal.SIGTERM) == 0
    assert list(tmp_path.glob(f"{share.PREFIX}*")) == []


def test_the_folder_of_a_server_that_lives_is_not_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target = tmp_path / "precious"
    target.mkdir()
    (target / share.LOCK).touch()
    (tmp_path / f"{share.PREFIX}link").symlink_to(target)
    (tmp_path / f"{share.PREFIX}empty").mkdir()
    (tmp_path / f"{share.PREFIX}dead").mkdir()
    (tmp_path / f"{share.PREFIX}dead" / share.LOCK).touch()
    with share.shared_folder() as first, share.shared_folder() as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not (tmp_path / f"{share.PREFIX}dead").exists()
    assert (target / share.LOCK).exists()
    assert not first.exists()
    assert not second.exists()


def test_no_more_workers_are_started_than_the_processors_bear(
    caplog: pytest.LogCaptureFixture,
) -> None:
    most = bounded(99_999)
    processors = most // WORKERS_A_PROCESSOR
    assert 1 <= processors <= (os.cpu_count() or 1)
    said = f"server.workers is 99999; {most} are started: 4 for each of {processors} processors"
    assert caplog.messages == [f"{said}, at most"]
    caplog.clear()
    assert bounded(most) == most
    assert caplog.messages == []


def test_a_stop_is_heard_while_workers_are_started(service: Path) -> None:
    (service.parent / "closed").touch()
    with subprocess_server(str(service), "--workers", "99999", wait=False) as server:
        assert until(lambda: "are started" in server.text())
        assert server.stop(signal.SIGTERM) == 0
    assert until(lambda: not any(map(lives, reached(service))))
    assert "Traceback" not in server.text()
