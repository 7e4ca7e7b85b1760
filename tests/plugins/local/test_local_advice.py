"""The advice on a breakdown: each rule by the figures that it speaks for."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanserve_local.views.advice import MUCH, RULES, Facts, advice


@dataclass
class Case:
    """Shares of a request of 100 ms, and the batches that it came in."""

    rule: str
    words: str
    shares: dict[str, float]
    sizes: dict[int, int] = field(default_factory=lambda: {4: 100})
    reasons: dict[str, int] = field(default_factory=lambda: {"idle": 100})
    requests: int = 400

    @property
    def facts(self) -> Facts:
        """Return them as the rules see them."""
        means = {name: share * 100 for name, share in self.shares.items()}
        return Facts(self.requests, 100.0, means, self.sizes, self.reasons)


CASES = [
    Case("too few", "3 requests are too few to tell", {"run": 1.0}, requests=3),
    Case("too few", "0 requests are too few to tell", {}, sizes={}, reasons={}, requests=0),
    Case(
        "peers",
        "Requests wait 60.00 ms of 100.00 ms (60%) for others to come, and batches stay small "
        "(1.5 on average): lower max_latency_ms.",
        {"wait for peers": 0.6, "run": 0.4},
        sizes={1: 50, 2: 50},
    ),
    Case(
        "runner",
        "Requests wait 50.00 ms of 100.00 ms (50%) for the busy model, and 90% of the batches are "
        "full: add a replica.",
        {"wait for the runner": 0.5, "run": 0.5},
        sizes={64: 100},
        reasons={"full": 90, "idle": 10},
    ),
    Case(
        "runner",
        "for the busy model, though only 10% of the batches are full",
        {"wait for the runner": 0.5, "run": 0.5},
        reasons={"full": 10, "idle": 90},
    ),
    Case("start", "Released batches wait 30.00 ms", {"to start": 0.3, "run": 0.7}),
    Case("decode", "Reading the bodies takes 40.00 ms", {"decode": 0.4, "run": 0.6}),
    Case("encode", "Writing the answers takes 40.00 ms", {"encode": 0.4, "run": 0.6}),
    Case("run", "Nothing stands out but the model itself: it runs 80.00 ms", {"run": 0.8}),
    Case("nothing", "Nothing stands out.", {"run": 0.4, "other": 0.6}),
    Case("nothing", "Nothing stands out.", {"wait for peers": 0.4, "run": 0.4}, sizes={32: 100}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rule}: {case.words[:30]}")
def test_the_rule_that_applies_speaks_with_its_figures(case: Case) -> None:
    told = advice(case.facts)
    assert (told["rule"], case.words in told["text"]) == (case.rule, True), told
    assert told["figures"]["requests"] == case.requests


def test_every_rule_has_a_case() -> None:
    assert {case.rule for case in CASES} == set(RULES)


counts = st.dictionaries(st.integers(1, 64), st.integers(1, 100), max_size=3)
reasons = st.dictionaries(st.sampled_from(["full", "idle", "deadline"]), st.integers(1, 100))
parts = ["decode", "wait for peers", "wait for the runner", "to start", "run", "encode", "other"]


@settings(deadline=None)  # the machine may have other work
@given(
    st.integers(0, 100),
    st.floats(0, 1e6),
    st.fixed_dictionaries({name: st.floats(0, 1e6) for name in parts}),
    counts,
    reasons,
)
def test_there_is_always_one_sentence(
    requests: int, total: float, means: Any, sizes: Any, released: Any
) -> None:
    facts = Facts(requests, total, means, sizes, released)
    told = advice(facts)
    assert told["text"].endswith(".")
    assert told["rule"] in RULES
    if told["rule"] == "peers":
        assert facts.share("wait for peers") >= MUCH
