"""One sentence of advice on a slow endpoint, by rules that can be read here; pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple


class Facts(NamedTuple):
    """What the rules look at: an endpoint's requests in some time.

    `means_ms` has the parts of a request by their names, `sizes` how many batches of each size
    there were, and `reasons` why they were released.
    """

    requests: int
    total_ms: float
    means_ms: Mapping[str, float]
    sizes: Mapping[int, int]
    reasons: Mapping[str, int]

    def share(self, *parts: str) -> float:
        """Return the share of some parts in a request's time."""
        return sum(self.means_ms.get(part, 0.0) for part in parts) / self.total_ms

    @property
    def mean_size(self) -> float:
        """Return the mean size of a batch; 0 where there were none."""
        batches = sum(self.sizes.values())
        return sum(size * count for size, count in self.sizes.items()) / batches if batches else 0.0

    @property
    def full(self) -> float:
        """Return the share of batches that were released since they were full."""
        batches = sum(self.reasons.values())
        return self.reasons.get("full", 0) / batches if batches else 0.0


LEAST_REQUESTS: Final = 20
"""Fewer requests tell nothing."""

MUCH: Final = 0.3
"""A part of the time that is worth a change."""

_SMALL: Final = 4.0
_OFTEN: Final = 0.5
_SOME: Final = 0.2


def _too_few(facts: Facts) -> str | None:
    if facts.requests >= LEAST_REQUESTS and facts.total_ms > 0:
        return None
    return f"{facts.requests} requests are too few to tell; look again after {LEAST_REQUESTS}."


def _peers(facts: Facts) -> str | None:
    if facts.share("wait for peers") < MUCH or facts.mean_size >= _SMALL:
        return None
    return (
        f"Requests wait {_part(facts, 'wait for peers')} for others to come, and batches stay "
        f"small ({facts.mean_size:.1f} on average): lower max_latency_ms."
    )


def _runner(facts: Facts) -> str | None:
    if facts.share("wait for the runner") < MUCH:
        return None
    waits = f"Requests wait {_part(facts, 'wait for the runner')} for the busy model"
    if facts.full >= _OFTEN:
        return f"{waits}, and {facts.full:.0%} of the batches are full: add a replica."
    return (
        f"{waits}, though only {facts.full:.0%} of the batches are full "
        f"({facts.mean_size:.1f} on average): make the run quicker, or add a replica."
    )


def _start(facts: Facts) -> str | None:
    if facts.share("to start") < _SOME:
        return None
    return (
        f"Released batches wait {_part(facts, 'to start')} to start: the processors are busy; "
        "give the server more of them, or the model fewer threads."
    )


def _decode(facts: Facts) -> str | None:
    if facts.share("decode") < _SOME:
        return None
    return (
        f"Reading the bodies takes {_part(facts, 'decode')}: send arrays as npy "
        "(Content-Type: application/x-npy) instead of JSON."
    )


def _encode(facts: Facts) -> str | None:
    if facts.share("encode") < _SOME:
        return None
    return (
        f"Writing the answers takes {_part(facts, 'encode')}: ask for npy "
        "(Accept: application/x-npy), or return less."
    )


def _run(facts: Facts) -> str | None:
    if facts.share("run") < _OFTEN:
        return None
    return (
        f"Nothing stands out but the model itself: it runs {_part(facts, 'run')}, in batches of "
        f"{facts.mean_size:.1f} on average; make the run quicker."
    )


def _nothing(_: Facts) -> str:
    return "Nothing stands out."


RULES: Final[Mapping[str, Callable[[Facts], str | None]]] = {
    "too few": _too_few,
    "peers": _peers,
    "runner": _runner,
    "start": _start,
    "decode": _decode,
    "encode": _encode,
    "run": _run,
    "nothing": _nothing,
}
"""The rules by their names, the most urgent first; the first that applies speaks."""


def advice(facts: Facts) -> dict[str, Any]:
    """Return which rule applies, its sentence, and the figures that it rests on."""
    rule, text = next(
        (name, text) for name, rule in RULES.items() if (text := rule(facts)) is not None
    )
    figures: dict[str, Any] = {
        "requests": facts.requests,
        "mean_ms": round(facts.total_ms, 3),
        "mean_batch_size": round(facts.mean_size, 2),
        "full_batches": round(facts.full, 3),
        **{f"{part} ms": ms for part, ms in facts.means_ms.items()},
    }
    return {"rule": rule, "text": text, "figures": figures}


def _part(facts: Facts, name: str) -> str:
    return f"{facts.means_ms[name]:.2f} ms of {facts.total_ms:.2f} ms ({facts.share(name):.0%})"
