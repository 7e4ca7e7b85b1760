"""What a tracer under test sends to."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Fault = Literal["dead", "slow", "error", "partial"]
"""How a backend may misbehave: it is not there; it takes what comes and does not answer; it says
that it cannot take anything now; it takes a part of what comes in one call."""


def _nothing_wrong() -> Iterable[str]:
    return ()


@dataclass(frozen=True, slots=True)
class Backend:
    """A backend, or what stands for it in a test.

    `settings` is the tracer's section of the config. `received` returns what arrived so far, a
    mapping for each span that has what the suite's `keeps` names. `faults` has what makes the
    backend misbehave, and `recover` makes it good again; without it, it stays as it is.
    `problems` says what arrived that must never be sent.
    """

    settings: Mapping[str, Any]
    received: Callable[[], Iterable[Mapping[str, Any]]]
    faults: Mapping[Fault, Callable[[], object]] = field(default_factory=dict)
    recover: Callable[[], object] | None = None
    problems: Callable[[], Iterable[str]] = _nothing_wrong
