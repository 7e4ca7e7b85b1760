"""What a backend's answer means for the spans that it was sent: one table for every transport."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final

LONGEST_WISH_S: Final = 3600.0
"""What a wish for a pause is cut to as it is read; the exporter waits for less."""


class Verdict(StrEnum):
    """What is to be done with the spans of a post."""

    TAKEN = "taken"
    """They are delivered."""
    TOO_LARGE = "too_large"
    """They are sent again in halves."""
    HOLDS_BAD = "holds_bad"
    """They are sent again in halves, until those are found that the backend cannot read."""
    REFUSED = "refused"
    """They are rejected at once: nothing of the kind will ever be taken."""
    LATER = "later"
    """The same may be taken later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one post; `reason` says why in a few words, without secrets.

    `retry_after_s` is for how long the backend wishes to be left alone.
    """

    verdict: Verdict
    reason: str = ""
    retry_after_s: float | None = None


def http_verdict(status: int) -> Verdict:
    """Return what a status of HTTP means, for Zipkin's format as for OTLP's.

    A redirect is followed by nobody here, and the other end is not where the user said.
    """
    if HTTPStatus(200) <= status < HTTPStatus(300):
        return Verdict.TAKEN
    if status in _HTTP:
        return _HTTP[status]
    return Verdict.REFUSED if HTTPStatus(300) <= status < HTTPStatus(500) else Verdict.LATER


def grpc_verdict(code: str, details: str = "") -> Verdict:
    """Return what a status code of gRPC, by its name, means; `details` is the text beside it."""
    if code in _MAY_BE_TOO_LARGE and is_too_large(details):
        return Verdict.TOO_LARGE
    return _GRPC.get(code, Verdict.LATER)


def is_too_large(text: str) -> bool:
    """Say whether these words, of either end or of a proxy, are of a message that is too large."""
    return _TOO_LARGE.search(text) is not None


def retry_after_s(value: str | None, *, now_s: float) -> float | None:
    """Read the header Retry-After (RFC 9110, 10.2.3): seconds or a date; None if it is neither.

    `now_s` is Unix time. The answer lies between 0 and an hour.
    """
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return min(float(value), LONGEST_WISH_S)
    try:
        wait_s = parsedate_to_datetime(value).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), LONGEST_WISH_S)


_HTTP: Final[Mapping[int, Verdict]] = {
    400: Verdict.HOLDS_BAD,
    408: Verdict.LATER,
    413: Verdict.TOO_LARGE,
    422: Verdict.HOLDS_BAD,
    425: Verdict.LATER,
    429: Verdict.LATER,
}
_GRPC: Final[Mapping[str, Verdict]] = {
    "OK": Verdict.TAKEN,
    "INVALID_ARGUMENT": Verdict.HOLDS_BAD,
    "NOT_FOUND": Verdict.REFUSED,
    "PERMISSION_DENIED": Verdict.REFUSED,
    "UNAUTHENTICATED": Verdict.REFUSED,
    "UNIMPLEMENTED": Verdict.REFUSED,
}
# The core of gRPC says RESOURCE_EXHAUSTED; what a proxy answers with 413 arrives as UNKNOWN.
_MAY_BE_TOO_LARGE: Final = frozenset({"RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "INTERNAL", "UNKNOWN"})
_TOO_LARGE: Final = re.compile(
    r"larger than max|exceeds max|too large|status: 413\b|status code:? 413\b", re.IGNORECASE
)
