"""Replicas in real processes: what comes back of jobs, and what becomes of those that die."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spanserve.errors import StartError
from spanserve.running.protocol import ReplicaDiedError, Runner, RunnerGoneError
from support.replicas import Asked, called, replicas, when_up


def things(*fates: str, start: int = 0, **more: Any) -> list[bytes]:
    return [
        json.dumps({"number": start + place, "fate": fate, **more}).encode()
        for place, fate in enumerate(fates)
    ]


def is_alive(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/stat").open() as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until_dead(pid: int) -> bool:
    give_up_s = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < give_up_s:
        time.sleep(0.01)
    return not is_alive(pid)


async def test_jobs_run_in_the_replica_that_has_least_to_do() -> None:
    async with replicas(replicas=2) as runner:
        assert (runner.slots, runner.free, runner.idle) == (2, 2, 2)
        jobs = [Asked("things", things("answer", start=n, takes_s=0.05)) for n in range(2)]
        for job in jobs:
            runner.submit(job)
        assert (runner.free, runner.idle) == (0, 0)
        assert [await job.answer() for job in jobs] == [[0], [1]]
        assert [seat.jobs for seat in runner.seats] == [1, 1]
        pids = [replica.process.pid for replica in runner.up]
    assert all(map(until_dead, pids))


async def test_who_waits_is_asked_as_soon_as_a_slot_is_free() -> None:
    async with replicas(in_flight=2) as runner:
        jobs = [Asked("things", things("answer", start=n, takes_s=0.02)) for n in range(5)]
        runner.submit(jobs[0])
        assert (runner.free, runner.idle) == (1, 0)
        runner.submit(jobs[1])
        for job in jobs[2:]:
            runner.when_free(lambda job=job: runner.submit(job))  # type: ignore[misc]
        assert [await job.answer() for job in jobs] == [[n] for n in range(5)]


@pytest.mark.parametrize("fate", ["kill", "exit"])
async def test_a_replica_that_dies_loses_the_oldest_job_alone_and_comes_back(fate: str) -> None:
    async with replicas(in_flight=2) as runner:
        guilty = Asked("things", things(fate))
        innocent = Asked("things", things("answer", start=1))
        runner.submit(guilty)
        runner.submit(innocent)
        lost = await guilty.answer()
        assert isinstance(lost, ReplicaDiedError)
        assert ("by SIGKILL" if fate == "kill" else "exit code 7") in str(lost)
        assert await innocent.answer() == [1]
        assert [seat.has_ended for seat in runner.seats] == [1]


@pytest.mark.parametrize("fate", ["stop", "answer"])
async def test_a_run_that_hangs_is_ended_and_the_job_behind_it_runs(fate: str) -> None:
    async with replicas(in_flight=2, hang_after_s=0.5) as runner:
        hanging = Asked("things", things(fate, takes_s=60 if fate == "answer" else 0))
        behind = Asked("things", things("answer", start=1))
        runner.submit(hanging)
        runner.submit(behind)
        assert "lasted longer than 0.5 s" in str(await hanging.answer())
        assert await behind.answer() == [1]


async def test_a_replica_that_cannot_start_stops_the_start(tmp_path: Path) -> None:
    service = tmp_path / "broken.py"
    service.write_text(
        "from spanserve import api, service\n"
        "@service\nclass Broken:\n"
        "    def __init__(self):\n        raise ValueError('no weights')\n"
        "    @api\n    def ask(self) -> int: return 1\n"
    )
    with pytest.raises(StartError, match="Broken cannot start: ValueError: no weights") as caught:
        async with replicas(service, replicas=2):
            pass
    assert "broken.py, line 5" in str(caught.value)


async def test_without_any_replica_jobs_are_lost_at_once_and_not_kept(tmp_path: Path) -> None:
    service = tmp_path / "fragile.py"
    service.write_text(
        "import os\nfrom pathlib import Path\nfrom spanserve import api, service\n"
        "@service\nclass Fragile:\n"
        "    def __init__(self):\n"
        f"        if Path({str(tmp_path)!r}, 'gone').exists(): os._exit(5)\n"
        "    @api\n    def ask(self) -> int: return 1\n"
    )
    async with replicas(service) as runner:
        assert await called(runner, "ask", b"{}") == 1
        (tmp_path / "gone").touch()
        runner.up[0].process.kill()
        async with asyncio.timeout(20):
            while not runner.gone:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        assert not runner.is_ready
        with pytest.raises(RunnerGoneError, match="no replica of the service is up; try again"):
            await called(runner, "ask", b"{}")
        (tmp_path / "gone").unlink()
        await when_up(runner, 1)
        assert await called(runner, "ask", b"{}") == 1


async def test_what_is_no_frame_costs_the_replica_and_not_the_server(tmp_path: Path) -> None:
    service = tmp_path / "babbler.py"
    service.write_text(
        "import os\nfrom spanserve import api, service\n"
        "@service\nclass Babbler:\n"
        "    @api\n    def babble(self) -> int:\n"
        "        for fd in map(int, os.listdir('/proc/self/fd')):\n"
        "            try:\n"
        "                if os.readlink(f'/proc/self/fd/{fd}').startswith('socket:'):\n"
        "                    os.write(fd, b'\\xff' * 64)\n"
        "            except OSError: pass\n"
        "        return 1\n"
        "    @api\n    def ask(self) -> int: return 2\n"
    )
    async with replicas(service) as runner:
        with pytest.raises(ReplicaDiedError, match="it sent what cannot be read"):
            await called(runner, "babble", b"{}")
        await when_up(runner, 1)
        assert await called(runner, "ask", b"{}") == 2


async def test_devices_and_the_replica_s_number_are_set_before_the_code_is_imported(
    tmp_path: Path,
) -> None:
    service = tmp_path / "devices.py"
    service.write_text(
        "import os\nfrom spanserve import api, service\n"
        "SEEN = [os.environ.get(name) for name in ('SPANSERVE_REPLICA', 'CUDA_VISIBLE_DEVICES')]\n"
        "@service\nclass Devices:\n"
        "    @api\n    def ask(self) -> list[str]: return SEEN\n"
    )
    async with replicas(service, replicas=3, devices=["4", "5"]) as runner:
        jobs = [asyncio.ensure_future(called(runner, "ask", b"{}")) for _ in range(3)]
        assert sorted(await asyncio.gather(*jobs)) == [["0", "4"], ["1", "5"], ["2", "4"]]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_replicas_end_with_their_server_however_that_ends(number: int) -> None:
    code = (
        "import asyncio, sys\n"
        "from support.replicas import replicas, Asked\n"
        "async def main():\n"
        "    async with replicas(replicas=2) as runner:\n"
        "        runner.submit(Asked('things', [b'{\"number\": 1, \"takes_s\": 60}']))\n"
        "        print(*(each.process.pid for each in runner.up), flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    tests = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": tests},
    )
    with process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        process.send_signal(number)
        process.wait(10)
    assert all(map(until_dead, pids))


@pytest.mark.parametrize("hidden", [False, True])
async def test_large_arrays_go_there_and_back_whatever_the_system_has(
    monkeypatch: pytest.MonkeyPatch, *, hidden: bool
) -> None:
    if hidden:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    async with replicas(in_flight=2) as runner:
        arrays = [np.full((1000, 500), float(number)) for number in range(4)]
        jobs = [Asked("shapes", [b"", b""], [array, array + 1]) for array in arrays]
        for job in jobs:
            submit_in_turn(runner, job)
        for job, array in zip(jobs, arrays, strict=True):
            one, other = await job.answer()
            np.testing.assert_array_equal(one, array * 2)
            np.testing.assert_array_equal(other, array * 2 + 2)


def submit_in_turn(runner: Runner, job: Asked) -> None:
    if runner.free:
        runner.submit(job)
    else:
        runner.when_free(lambda: submit_in_turn(runner, job))
