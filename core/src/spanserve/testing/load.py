"""The service that a tracer's suite serves, and what asks it."""

import re
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

import httpx

from spanserve.service.service import api, service
from spanserve.tracing.scope import span

SERVICE: Final = "spanserve.testing.load:Doubles"
ROOT: Final = "POST /double"
_CLIENTS: Final = 4
_BEFORE_STOP: Final = 20
_FAILS: Final = 13
_BOOKS: Final = re.compile(r"^spanserve_spans_(\w+?)(?:_total)?\{(.*)\} (\S+)$", re.MULTILINE)


@service
class Doubles:
    """Doubles numbers in batches, but for one that fails."""

    @api(batch=True)
    def double(self, numbers: list[float]) -> list[float]:
        """Return twice each."""
        if _FAILS in numbers:
            raise ValueError(f"{_FAILS} cannot be doubled")
        with span("multiply", count=len(numbers)):
            return [2 * number for number in numbers]


def ask(url: str, requests: int) -> set[str]:
    """Ask so often, some at once, and check each answer; return the traces' ids."""
    found: list[str] = []
    threads = [
        threading.Thread(target=_ask, args=(url, range(first, requests, _CLIENTS), found))
        for first in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(found) != requests:
        raise AssertionError(f"{requests - len(found)} of {requests} requests were not answered")
    return set(found)


def _ask(url: str, numbers: Sequence[int], found: list[str]) -> None:
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        for number in numbers:
            answer = client.post("/double", json=number)
            good = answer.status_code == httpx.codes.OK and answer.json() == 2.0 * number
            if good or (number == _FAILS and answer.is_server_error):
                found.append(answer.headers["x-trace-id"])


class Asking:
    """Clients that ask until nobody answers any more; made once some requests were answered."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._answered = 0
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()
        self._enough.wait(30)

    def answered(self) -> int:
        """Return how many were answered, once all clients ended."""
        for thread in self._threads:
            thread.join()
        return self._answered

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30, trust_env=False) as client:
            try:
                while client.post("/double", json=1).is_success:
                    self._answered += 1
                    if self._answered >= _BEFORE_STOP:
                        self._enough.set()
            except httpx.TransportError:
                pass  # it stopped
        self._enough.set()


def check_books(metrics: str, tracer: str) -> None:
    """Raise AssertionError where a span is neither delivered, dropped nor waiting."""
    books = Counter[str]()
    for kind, labels, value in _BOOKS.findall(metrics):
        if f'tracer="{tracer}"' in labels:
            books[kind] += int(float(value))
    known = books["exported"] + books["dropped"] + books["waiting"]
    if not books["recorded"] or books["recorded"] != known:
        raise AssertionError(f"the numbers of spans do not add up: {dict(books)}")
