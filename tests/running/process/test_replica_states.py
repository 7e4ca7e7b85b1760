"""Jobs, deaths and hangs in any order: each job is answered once, and by whom it should be."""

import asyncio
import json
import logging
from contextlib import AsyncExitStack

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from spanserve.running.process.runner import ProcessRunner
from spanserve.running.protocol import ReplicaDiedError, RunnerGoneError
from support.replicas import Asked, replicas, when_up

LOG = logging.getLogger("spanserve")
FATES = ("answer",) * 5 + ("raise", "kill", "exit", "stop")


class Replicating(RuleBasedStateMachine):
    """A runner of two replicas, each of which holds two jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.jobs: list[tuple[str, Asked]] = []
        self.is_closed = False
        self.runner: ProcessRunner
        self.level = LOG.level
        LOG.setLevel(logging.CRITICAL)

    @initialize()
    def begin(self) -> None:
        self.runner = self.loop.run_until_complete(
            self.stack.enter_async_context(replicas(replicas=2, in_flight=2, hang_after_s=0.5))
        )

    @precondition(lambda self: not self.is_closed)
    @rule(fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=4))
    def ask(self, fates: list[str]) -> None:
        """Submit a job for each fate, now or when there is a slot."""
        for fate in fates:
            number = len(self.jobs)
            job = Asked("things", [json.dumps({"number": number, "fate": fate}).encode()])
            self.jobs.append((fate, job))
            self.submit(job)

    def submit(self, job: Asked) -> None:
        if self.runner.free:
            self.runner.submit(job)
        else:
            self.runner.when_free(lambda: self.submit(job))

    @precondition(lambda self: not self.is_closed)
    @rule(ms=st.integers(0, 100))
    def wait(self, ms: int) -> None:
        """Let some of it happen."""
        self.loop.run_until_complete(asyncio.sleep(ms / 1e3))

    @precondition(lambda self: not self.is_closed)
    @rule()
    def all_are_answered(self) -> None:
        """Each has its own answer, whatever became of others."""
        for number, (fate, job) in enumerate(self.jobs):
            answer = self.loop.run_until_complete(job.answer())
            if fate == "answer":
                assert answer == [number], (number, answer)
            elif fate == "raise":
                assert str(answer) == f"thing {number}"
            else:
                assert isinstance(answer, ReplicaDiedError), answer
        self.loop.run_until_complete(when_up(self.runner, 2))
        assert self.runner.free == 4

    @rule()
    def close(self) -> None:
        """Close, with jobs under way."""
        if not self.is_closed:
            self.is_closed = True
            self.loop.run_until_complete(self.runner.close(2))

    def teardown(self) -> None:
        LOG.setLevel(self.level)
        self.close()
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.run_until_complete(asyncio.sleep(0))
        for number, (fate, job) in enumerate(self.jobs):
            (answer,) = job.answers
            right = answer == [number] if fate == "answer" else isinstance(answer, Exception)
            assert right or isinstance(answer, RunnerGoneError), (fate, answer)
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


TestReplicating = Replicating.TestCase
TestReplicating.settings = settings(max_examples=6, stateful_step_count=10, deadline=None)
