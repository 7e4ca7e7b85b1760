"""`python -m spanserve.service.bundle.trial`: make a bundle's service, as a process of its own.

It reads an order as JSON from the standard input, and writes to a file what came of it.
"""

import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from packaging.utils import canonicalize_name

from spanserve.service.bundle.load import LoadedService, load
from spanserve.service.bundle.making.imports import top
from spanserve.service.bundle.making.requirements import owners
from spanserve.service.failures import explained


class Order(NamedTuple):
    """Which bundle, what of the installed distributions is not to be found, where to answer.

    `settings` are the service's own, as the configuration has them.
    """

    folder: str
    hidden: Sequence[str]
    answer: str
    settings: Mapping[str, Any]


class Outcome(NamedTuple):
    """What kept the service from being made, if anything, and the module that was not found.

    `modules` has the files of all modules by their names, empty where there is none.
    """

    failure: str
    missing: str
    modules: dict[str, str]


class Hiding:
    """A finder, the first of all, that finds nothing of some distributions: as if not installed."""

    def __init__(self, hidden: Sequence[str]) -> None:
        self._hidden = set(hidden)
        self._providers = packages_distributions()

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise for what is hidden, and leave the rest to the other finders."""
        del path, target
        providers = sorted(set(self._providers.get(top(name), ())))
        if any(map(self._is_hidden, providers)):
            of_it = owners(name, providers) if len(providers) > 1 else providers
            if of_it and all(map(self._is_hidden, of_it)):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

    def _is_hidden(self, distribution: str) -> bool:
        return canonicalize_name(distribution) in self._hidden


def tried(order: Order) -> Outcome:
    """Load the bundle's service, make it and warm it up."""
    if order.hidden:
        sys.meta_path.insert(0, Hiding(order.hidden))
    folder, failure, missing = Path(order.folder), "", ""
    try:
        instance = _service(order).instantiate()
        warm_up = getattr(instance, "warm_up", None)
        if warm_up is not None:
            warm_up()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the service's code raises anything
        failure = explained("making the service failed", error, folder)
        missing = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    return Outcome(
        failure, missing, {name: _file_of(each) for name, each in list(sys.modules.items())}
    )


def _service(order: Order) -> LoadedService:
    service = load(order.folder)
    model = service.spec.settings_model
    settings = model.model_validate(order.settings) if model and order.settings else None
    return service.with_settings(settings)


def _file_of(module: object) -> str:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else ""


def main() -> None:
    """Answer the order."""
    order = Order(**json.load(sys.stdin))
    with contextlib.redirect_stdout(sys.stderr):
        outcome = tried(order)
    Path(order.answer).write_text(json.dumps(outcome._asdict()), encoding="utf-8")


if __name__ == "__main__":
    main()
