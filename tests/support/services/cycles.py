"""A service that leaves a cycle of a megabyte for each call, as careless models do."""

from spanserve import api, service


class Node:
    """What holds itself, and a megabyte."""

    def __init__(self) -> None:
        self.data = b"x" * (1 << 20)
        self.itself = self


@service
class Cycles:
    @api(batch=True)
    def predict(self, numbers: list[int]) -> list[int]:
        """Return each number."""
        for _ in numbers:
            Node()
        return numbers

    @api
    def plain(self, number: int) -> int:
        """Return the number."""
        Node()
        return number
