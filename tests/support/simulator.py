"""The simulator of `benchmarks/`, for tests."""

from simulator.compare import best, lead, run
from simulator.drawn import drawn
from simulator.engine import Batching, Outcome, Refuse, RunTimeModel, Simulation, Source
from simulator.load import ClosedLoop, OpenLoop, bursts, daily, linear, on_off, poisson, stepped
from simulator.plots import bars
from simulator.report import markdown
from simulator.rivals import Aimd, Cork, FixedWait
from simulator.scenarios import OURS, Scenario, scenarios

__all__ = [
    "OURS",
    "Aimd",
    "Batching",
    "ClosedLoop",
    "Cork",
    "FixedWait",
    "OpenLoop",
    "Outcome",
    "Refuse",
    "RunTimeModel",
    "Scenario",
    "Simulation",
    "Source",
    "bars",
    "best",
    "bursts",
    "daily",
    "drawn",
    "lead",
    "linear",
    "markdown",
    "on_off",
    "poisson",
    "run",
    "scenarios",
    "stepped",
]
