"""What every runner keeps, and what ThreadRunner keeps beyond."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from spanserve.batching.call import Call, on_runner
from spanserve.running.host import Host, PlainMethod
from spanserve.running.pool import ThreadPool
from spanserve.running.protocol import CallReply, Runner
from spanserve.running.thread import InlineRunner, ThreadRunner
from spanserve.service.results import results
from spanserve.tracing.model.clock import Clock
from support.batching import StepRunner, host_of

DEADLINE_S = 10


class Model:
    """A service's instance that says what was done with it, and where."""

    def __init__(self, steps: list[str]) -> None:
        self.steps = steps
        self.thread = threading.current_thread()
        steps.append("made")

    def warm_up(self) -> None:
        assert threading.current_thread() is self.thread
        self.steps.append("warm")

    def close(self) -> None:
        assert threading.current_thread() is self.thread
        self.steps.append("closed")


private = partial(results.private, where="Model.method")


def hosted(method: Callable[..., Any], instantiate: Callable[[], object] = object) -> Host:
    """Return a host of one plain method, and of the jobs of these tests."""
    return host_of(
        Clock(),
        instantiate,
        method=PlainMethod(method, private),
        step=PlainMethod(lambda instance, step: step.run(instance), private),
    )


@dataclass
class Step(Call):
    """A job that says what happened."""

    name: str
    steps: list[str]
    gate: threading.Event | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    ran_on: threading.Thread | None = None
    instance: object = None
    done_on: threading.Thread | None = None
    after: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        super().__init__("step", {"step": self})

    def run(self, instance: object) -> None:
        self.ran_on = threading.current_thread()
        self.instance = instance
        if self.gate is not None:
            assert self.gate.wait(DEADLINE_S)
        self.steps.append(f"{self.name} ran")

    def lost(self, error: Exception) -> None:
        self.steps.append(f"{self.name} lost: {error}")
        self.over.set()

    def replied(self, reply: CallReply) -> None:
        assert reply == CallReply(None, None)
        self.done_on = threading.current_thread()
        self.steps.append(f"{self.name} done")
        self.after()
        self.over.set()


class Rig:
    """A runner of one kind, with what its kind needs around it."""

    def __init__(self, kind: str, instantiate: Callable[[], object] | None = None) -> None:
        self.kind = kind
        self.steps: list[str] = []
        clock = Clock()
        make = instantiate or (lambda: Model(self.steps))
        self.method: Callable[..., Any] = lambda _: None
        self.host = hosted(lambda *given: self.method(*given), make)  # noqa: PLW0108  # set later
        self.owner = ThreadRunner(self.host, clock)
        self.step_runner = StepRunner(self.host, clock)
        runners: dict[str, Runner] = {
            "thread": self.owner,
            "inline": InlineRunner(self.host, clock),
            "step": self.step_runner,
        }
        self.runner = runners[kind]

    async def start(self) -> None:
        if self.kind == "inline":
            await self.owner.start()
        await self.runner.start()

    async def close(self) -> None:
        await self.runner.close(DEADLINE_S)
        if self.kind == "inline":
            await self.owner.close(DEADLINE_S)

    async def until_over(self, job: Step) -> None:
        if self.kind == "step":
            self.step_runner.step()
        async with asyncio.timeout(DEADLINE_S):
            await job.over.wait()


@pytest.mark.parametrize("kind", ["thread", "inline", "step"])
class TestEveryRunner:
    """The contract."""

    async def test_start_makes_the_instance_and_warms_it_up(self, kind: str) -> None:
        rig = Rig(kind)
        await rig.start()
        assert rig.steps == ["made", "warm"]
        assert rig.runner.free
        await rig.close()
        assert rig.steps == ["made", "warm", "closed"]

    async def test_a_job_runs_on_the_instance_and_goes_on_on_the_loop(self, kind: str) -> None:
        rig = Rig(kind)
        await rig.start()
        job = Step("a", rig.steps)
        rig.runner.submit(job)
        await rig.until_over(job)
        assert isinstance(job.instance, Model)
        assert job.done_on is threading.current_thread()
        assert rig.runner.free
        await rig.close()
        assert rig.steps == ["made", "warm", "a ran", "a done", "closed"]

    async def test_it_is_free_from_a_job_s_end_on(self, kind: str) -> None:
        rig = Rig(kind)
        await rig.start()
        before_ns = Clock().now_ns()
        job = Step("a", rig.steps)
        seen: list[tuple[int, bool]] = []
        job.after = lambda: seen.append((rig.runner.free, rig.runner.free_ns >= before_ns))
        rig.runner.submit(job)
        await rig.until_over(job)
        await rig.close()
        assert seen == [(1, True)]

    async def test_jobs_submitted_by_those_who_waited_run_in_order(self, kind: str) -> None:
        rig = Rig(kind)
        await rig.start()
        jobs = [Step(name, rig.steps) for name in "abcd"]
        for job in jobs:
            submit_in_turn(rig.runner, job)
        for job in jobs:
            await rig.until_over(job)
        await rig.close()
        assert [step for step in rig.steps if step.endswith("ran")] == [
            "a ran",
            "b ran",
            "c ran",
            "d ran",
        ]

    async def test_one_that_lets_its_turn_pass_does_not_hold_up_the_next(self, kind: str) -> None:
        rig = Rig(kind)
        await rig.start()
        first, last = Step("first", rig.steps), Step("last", rig.steps)
        rig.runner.submit(first)
        rig.runner.when_free(lambda: rig.steps.append("no, thanks"))
        submit_in_turn(rig.runner, last)
        await rig.until_over(first)
        await rig.until_over(last)
        await rig.close()
        assert "no, thanks" in rig.steps
        assert rig.steps[-3:] == ["last ran", "last done", "closed"]

    async def test_a_call_whose_method_raises_anything_leaves_the_runner_at_work(
        self, kind: str
    ) -> None:
        rig = Rig(kind)
        await rig.start()
        outcomes = [
            await outcome(rig, error)
            for error in (
                ValueError("no"),
                SystemExit(3),
                KeyboardInterrupt(),
                StopIteration(1),
                asyncio.CancelledError(),
                GeneratorExit(),
                None,
            )
        ]
        await rig.close()
        assert outcomes == [
            "ValueError('no')",
            "CarriedError('the service raised SystemExit(3)')",
            "CarriedError('the service raised KeyboardInterrupt()')",
            "CarriedError('the service raised StopIteration(1)')",
            "CarriedError('the service raised CancelledError()')",
            "CarriedError('the service raised GeneratorExit()')",
            "fine",
        ]


def submit_in_turn(runner: Runner, job: Step) -> None:
    if not runner.free:
        runner.when_free(lambda: submit_in_turn(runner, job))
    else:
        runner.submit(job)


async def outcome(rig: Rig, error: BaseException | None) -> str:
    """Call a method that raises this, as an endpoint does."""

    def method(_instance: object) -> str:
        if error is not None:
            raise error
        return "fine"

    rig.method = method
    call = Call("method", {})
    on_runner(call, rig.runner, record=None, now_ns=0)
    rig.step_runner.step()
    try:
        async with asyncio.timeout(DEADLINE_S):
            return str(await call.future)
    except Exception as caught:  # noqa: BLE001  # whatever the service raised
        return repr(caught)


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (ValueError("no weights"), "ValueError('no weights')"),
        (StopIteration(), "CarriedError('the service raised StopIteration()')"),
        (SystemExit("no GPU"), "CarriedError(\"the service raised SystemExit('no GPU')\")"),
    ],
)
async def test_what_init_raises_comes_out_of_start(error: BaseException, seen: str) -> None:
    def instantiate() -> object:
        raise error

    runner = ThreadRunner(hosted(len, instantiate), Clock())
    with pytest.raises(Exception) as caught:  # noqa: PT011  # its text is compared below
        await asyncio.wait_for(runner.start(), DEADLINE_S)
    assert repr(caught.value) == seen
    assert error in (caught.value, caught.value.__cause__)
    await runner.close(DEADLINE_S)


async def test_what_warm_up_raises_comes_out_of_start() -> None:
    class Cold:
        def warm_up(self) -> None:
            raise ValueError("still cold")

    runner = ThreadRunner(hosted(len, Cold), Clock())
    with pytest.raises(ValueError, match="still cold"):
        await runner.start()
    await runner.close(DEADLINE_S)


async def test_a_job_runs_on_the_thread_that_made_the_instance_and_no_other() -> None:
    rig = Rig("thread")
    await rig.start()
    first, second = Step("a", rig.steps), Step("b", rig.steps)
    for job in (first, second):
        rig.runner.submit(job)
        await rig.until_over(job)
    await rig.close()
    assert isinstance(first.instance, Model)
    assert first.ran_on is second.ran_on is first.instance.thread
    assert first.ran_on is not threading.current_thread()


async def test_an_inline_job_is_over_when_submit_returns() -> None:
    rig = Rig("inline")
    await rig.start()
    job = Step("a", rig.steps)
    rig.runner.submit(job)
    assert job.ran_on is threading.current_thread()
    assert job.over.is_set()
    await rig.close()


async def test_a_busy_thread_takes_no_second_job() -> None:
    rig = Rig("thread")
    await rig.start()
    job = Step("a", rig.steps, threading.Event())
    rig.runner.submit(job)
    assert not rig.runner.free
    with pytest.raises(AssertionError, match="one job at a time"):
        rig.runner.submit(Step("b", rig.steps))
    assert job.gate is not None
    job.gate.set()
    await rig.until_over(job)
    await rig.close()


async def test_one_whose_job_cannot_go_on_does_not_hold_up_those_who_wait() -> None:
    rig = Rig("thread")
    await rig.start()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: told.append(context["exception"])
    )
    defect, first, last = ValueError("x"), Step("first", rig.steps), Step("last", rig.steps)

    def fail() -> None:
        raise defect

    first.after = fail
    rig.runner.submit(first)
    submit_in_turn(rig.runner, last)
    await rig.until_over(last)
    await rig.close()
    assert told == [defect]


async def test_close_waits_for_the_job_that_runs_and_closes_after_it() -> None:
    rig = Rig("thread")
    await rig.start()
    job = Step("a", rig.steps, threading.Event())
    rig.runner.submit(job)
    closing = asyncio.create_task(rig.close())
    await asyncio.sleep(0)
    assert job.gate is not None
    job.gate.set()
    await closing
    await rig.until_over(job)
    assert [step for step in rig.steps if step != "a done"] == ["made", "warm", "a ran", "closed"]


async def test_close_gives_up_on_a_job_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig("thread")
    await rig.start()
    job = Step("a", rig.steps, threading.Event())
    rig.runner.submit(job)
    await rig.runner.close(0.01)
    assert [r.getMessage() for r in caplog.records] == [
        "the service's code still runs after 0.01 s; it is left behind"
    ]
    assert job.gate is not None
    job.gate.set()
    await rig.until_over(job)


async def test_close_of_a_service_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck:
        def close(self) -> None:
            raise OSError("no")

    runner = ThreadRunner(hosted(len, Stuck), Clock())
    await runner.start()
    await runner.close(DEADLINE_S)
    assert [r.getMessage() for r in caplog.records] == ["the service's close() failed"]


async def test_closing_what_never_started_does_nothing() -> None:
    await ThreadRunner(hosted(len), Clock()).close(DEADLINE_S)


def test_a_job_that_ends_after_its_loop_is_logged_and_the_instance_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig("thread")
    gate = threading.Event()

    async def begin() -> threading.Thread:
        await rig.start()
        job = Step("a", rig.steps, gate)
        rig.runner.submit(job)
        return rig.owner.instance.thread  # type: ignore[attr-defined,no-any-return]  # a Model

    thread = asyncio.run(begin())
    gate.set()
    thread.join(DEADLINE_S)
    assert rig.steps == ["made", "warm", "a ran", "closed"]
    assert [r.getMessage() for r in caplog.records] == ["a job ended after its server did"]


async def test_a_call_nobody_waits_for_any_more_is_not_run() -> None:
    rig = Rig("thread")
    await rig.start()
    blocker = Step("a", rig.steps, threading.Event())
    rig.runner.submit(blocker)
    ran: list[Any] = []
    rig.method = lambda *_: ran.append(1)
    call = Call("method", {})
    on_runner(call, rig.runner, record=None, now_ns=0)
    last = Step("b", rig.steps)
    submit_in_turn(rig.runner, last)
    call.future.cancel()
    assert blocker.gate is not None
    blocker.gate.set()
    await rig.until_over(last)
    await rig.close()
    assert ran == []


async def test_a_pool_runs_as_many_jobs_at_once_as_it_has_threads() -> None:
    pool = ThreadPool(3, "pool")
    together = threading.Barrier(3)
    seen: list[object] = []

    def method(instance: object) -> str:
        together.wait(DEADLINE_S)
        seen.append(instance)
        return threading.current_thread().name

    host = hosted(method, lambda: "the instance")
    host.start()
    pool.start(host)
    calls = [Call("method", {}) for _ in range(3)]
    for call in calls:
        pool.submit(call)
    async with asyncio.timeout(DEADLINE_S):
        names = await asyncio.gather(*(call.future for call in calls))
    pool.close()
    assert sorted(names) == ["pool-0", "pool-1", "pool-2"]
    assert seen == ["the instance"] * 3


async def test_a_pool_does_not_run_a_call_nobody_waits_for_any_more() -> None:
    pool = ThreadPool(1, "pool")
    ran: list[str] = []

    def method(_instance: object, name: str) -> None:
        ran.append(name)

    calls = [Call("method", {"name": name}) for name in "ab"]
    for call in calls:
        pool.submit(call)
    calls[0].future.cancel()
    pool.start(hosted(method))
    async with asyncio.timeout(DEADLINE_S):
        await calls[1].future
    pool.close()
    assert ran == ["b"]
