"""Entry points of the installed distributions, past those whose metadata is broken."""

import logging
from collections.abc import Callable
from importlib.metadata import Distribution, EntryPoint, distributions
from itertools import chain

from packaging.utils import canonicalize_name

log = logging.getLogger(__name__)


def sound_entry_points(
    group: str, passed_over: Callable[[str], None] = log.debug
) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group; of each distribution that cannot be read it is said why.

    `importlib.metadata.entry_points` fails for all because of one, or takes the empty remains of
    an old version for the distribution. Of several with one name, the first on the path counts.
    """
    found: dict[str, list[EntryPoint]] = {}
    for each in distributions():
        try:
            name = each.metadata["Name"]
            entries = [entry for entry in each.entry_points if entry.group == group]
        except Exception as error:  # noqa: BLE001  # broken in any way; it is another's
            passed_over(f"{_place(each)} is passed over: its metadata cannot be read: {error}")
            continue
        if name:
            found.setdefault(canonicalize_name(name), entries)
        else:
            passed_over(f"{_place(each)} is passed over: its metadata has no name")
    return tuple(chain.from_iterable(found.values()))


def _place(distribution: Distribution) -> str:
    # Where it is, those of files know, by no public name.
    return str(getattr(distribution, "_path", "a distribution"))
