"""Requests, counted as they are answered."""

from collections import Counter

from spanserve.server.endpoint import Endpoint
from spanserve.server.http.answer import NOBODY, Answer
from spanserve.server.http.exchange import Exchange


class Traffic:
    """Requests, counted by endpoint and status for `/metrics`."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()

    def note(self, exchange: Exchange, endpoint: Endpoint, answer: Answer) -> Answer:
        """Count an endpoint's answer, and return it; or `NOBODY`, where the client left."""
        if not exchange.reached():
            answer = NOBODY
        self.count(exchange, endpoint, answer.status)
        return answer

    def count(self, exchange: Exchange, endpoint: Endpoint, status: int) -> None:
        """Count an answer of this status, and name the endpoint in the record."""
        exchange.status = status
        self.answered[endpoint.spec.route, status] += 1
        if exchange.record is not None:
            exchange.record.endpoint = endpoint.spec.route
