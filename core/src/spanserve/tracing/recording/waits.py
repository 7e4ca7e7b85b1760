"""The parts of an item's wait for its batch."""

from typing import NamedTuple


class Waits(NamedTuple):
    """An item's wait, in the order in which its parts come; nanoseconds."""

    for_runner_ns: int
    """The runner was busy with what came before."""

    for_peers_ns: int
    """The runner was free, and the policy waited for others."""

    for_start_ns: int
    """The batch was released and on its way to the runner."""
