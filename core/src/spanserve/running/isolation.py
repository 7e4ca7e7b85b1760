"""Finding the items that make a batch raise, so that their neighbours get their answers.

The batch is cut in halves and each is run again; a half that raises is cut again, until what
raises is one item. One culprit among `n` costs at most `2 log2 n` runs. That it is the model
and no item shows when every eighth of the batch raises, and then the search ends.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

HOPELESS_RUNS: Final = 2 + 4 + 8

Positions = Sequence[int]


def most_runs(size: int) -> int:
    """Return how many runs the search in a batch of `size` items may take: two culprits' worth."""
    return 4 * (size - 1).bit_length() + 2


def isolated(
    size: int,
    error: BaseException,
    attempt: Callable[[Positions], Sequence[Any]],
    *,
    may_retry: Callable[[BaseException], bool],
) -> list[Any]:
    """Return a result for each of `size` items (at least 2) whose run together raised `error`.

    `attempt` runs the items at some positions, ascending, and returns their results or raises.
    Whoever gets no result gets, in its place, what the last run with it raised. `may_retry` is
    asked before a group that raised is cut: whether this error may be an item's, and whether
    there is time.
    """
    results: list[Any] = [error] * size
    groups: deque[tuple[Positions, BaseException]] = deque([(range(size), error)])
    runs = answered = 0
    while groups:
        group, error = groups.popleft()
        if len(group) == 1 or not may_retry(error):
            continue
        if runs + 2 > most_runs(size) or (runs >= HOPELESS_RUNS and not answered):
            break
        middle = len(group) // 2
        for half in (group[:middle], group[middle:]):
            runs += 1
            try:
                given = attempt(half)
            except BaseException as raised:  # noqa: BLE001  # as of any run: even SystemExit
                given = [raised] * len(half)
                groups.append((half, raised))
            else:
                answered += 1
            for position, result in zip(half, given, strict=True):
                results[position] = result
    return results
