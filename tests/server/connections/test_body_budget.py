"""Memory for bodies: what readers hold is counted, and one of them always goes on."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spanserve.server.connections.budget import BodyBudget


class Body:
    """A reader that knows whether it may read."""

    def __init__(self) -> None:
        self.buffered_bytes = 0
        self.reads = True

    def stop_reading(self) -> None:
        assert self.reads
        self.reads = False

    def go_on_reading(self) -> None:
        assert not self.reads
        self.reads = True


class Budgets(RuleBasedStateMachine):
    """Readers come, read as long as they may, and go."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = BodyBudget(1_000)
        self.bodies: list[Body] = []

    @rule(size=st.integers(1, 700))
    def begin(self, size: int) -> None:
        self.bodies.append(Body())
        self.budget.take(self.bodies[-1], size)

    @rule(data=st.data(), size=st.integers(0, 700))
    def read(self, data: st.DataObject, size: int) -> None:
        reading = [body for body in self.bodies if body.reads]
        if reading:
            self.budget.take(data.draw(st.sampled_from(reading)), size)

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.bodies:
            body = self.bodies.pop(data.draw(st.integers(0, len(self.bodies) - 1)))
            self.budget.give_back(body)
            assert body.reads
            self.budget.give_back(body)  # it is counted once

    @invariant()
    def what_is_held_is_counted(self) -> None:
        assert self.budget.used == sum(body.buffered_bytes for body in self.bodies)

    @invariant()
    def the_first_goes_on_and_others_stop_only_for_want_of_room(self) -> None:
        assert not self.bodies or self.bodies[0].reads
        if any(not body.reads for body in self.bodies):
            # One that was let go counts before it has read.
            assert self.budget.used + 65_536 * len(self.bodies) >= 1_000
        for body in self.bodies:
            assert self.budget.is_stopped(body) == (not body.reads)


Budgets.TestCase.settings = settings(deadline=None)
TestBudgets = Budgets.TestCase
