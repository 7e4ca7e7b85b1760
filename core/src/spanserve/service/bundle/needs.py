"""Whether a bundle's requirements bring all that its service loads, found out by making it."""

import json
import os
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    distributions,
    packages_distributions,
)
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spanserve.service.bundle.making.imports import top
from spanserve.service.bundle.making.requirements import distributions_of
from spanserve.service.bundle.trial import Order, Outcome

_DEPTH: Final = 3
"""By so many parts of a dotted name the distributions of a namespace can be told apart."""

_MAX_SHOWN_CHARS: Final = 2000
NO_SETTINGS: Final[Mapping[str, Any]] = {}
_OURS: Final = frozenset({"spanserve", "__main__", "sitecustomize", "usercustomize"})


def lacking(
    folder: Path, lines: Iterable[str], settings: Mapping[str, Any] = NO_SETTINGS
) -> list[str]:
    """Say what a bundle needs and does not require, or why its service cannot be made.

    The service is made in a process that has this interpreter's distributions, and of code beside
    them the bundle's alone; where it loads what the lines do not bring, again without that.
    `settings` are the service's own, as the configuration has them.
    """
    first = _trial(folder, settings)
    if first.failure:
        return [first.failure]
    brought = brought_by(lines)
    outside = _outside(first.modules, folder, brought)
    loaded: set[str] = {canonicalize_name(each) for each in _distributions_in(first.modules)}
    return [*map(_sentence, sorted(_needed(folder, loaded - brought, settings))), *outside]


def _needed(folder: Path, unnamed: set[str], settings: Mapping[str, Any]) -> set[str]:
    """Those of these distributions without which the service cannot be made.

    Others may be taken by a library only where they are there. They are hidden, all at first, until
    it can be made; where it fails for another reason than a module that is not found, all are told.
    """
    needed: set[str] = set()
    hidden = set(unnamed)
    while hidden and (failed := _trial(folder, settings, sorted(hidden))).failure:
        names = {canonicalize_name(each) for each in distributions_of([failed.missing])}
        if not names & hidden:
            return needed | _roots(hidden)
        needed |= names & hidden
        hidden -= brought_by(names)
    return needed


def brought_by(lines: Iterable[str]) -> set[str]:
    """The distributions that requirements bring here, with all that these need in turn."""
    waiting = [Requirement(line) for line in lines if not line.startswith("-")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _needs_of(name, extra)
    return {name for name, _ in seen}


def _needs_of(name: str, extra: str) -> list[Requirement]:
    try:
        texts = distribution(name).requires or []
    except PackageNotFoundError:
        return []
    found = map(Requirement, texts)
    return [each for each in found if not each.marker or each.marker.evaluate({"extra": extra})]


def _roots(names: set[str]) -> set[str]:
    """Those of the names that none of the others brings."""
    of_others = {needed for name in names for needed in brought_by([name]) - {name}}
    return names - of_others or names


def _sentence(name: str) -> str:
    return f"{name} is loaded and not required; give --with {name}, or name it in bundle.yml"


def _distributions_in(modules: Mapping[str, str]) -> set[str]:
    names = {".".join(name.split(".")[:_DEPTH]) for name in modules}
    return distributions_of(names)


def _outside(modules: Mapping[str, str], folder: Path, brought: set[str]) -> list[str]:
    """What was found on this machine beside the bundle and what is installed."""
    homes = [folder, Path(site.getusersitepackages()), *map(Path, _installed_places())]
    installed, editable = packages_distributions(), _editable()
    found: dict[str, str] = {}
    for name, file in modules.items():
        place, first = Path(file), top(name)
        if not file or first in _OURS or first in installed or first in sys.stdlib_module_names:
            continue
        if any(place.is_relative_to(each) for each in homes):
            continue
        owner = next((who for home, who in editable.items() if place.is_relative_to(home)), "")
        if canonicalize_name(owner) not in brought:
            found.setdefault(owner or first, _sentence(owner) if owner else _stray(first, file))
    return [found[name] for name in sorted(found)]


def _installed_places() -> Iterator[str]:
    return (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def _stray(module: str, file: str) -> str:
    return f"the module {module} is of no distribution, but {file}; put it beside the service"


def _editable() -> dict[Path, str]:
    """The folders of distributions that are installed as links to their source."""
    return {
        Path(unquote(urlsplit(url).path)): each.name
        for each in distributions()
        if (url := _address_of(each)).startswith("file:")
    }


def _address_of(each: Distribution) -> str:
    text = each.read_text("direct_url.json")
    return str(json.loads(text).get("url", "")) if text else ""


def _trial(folder: Path, settings: Mapping[str, Any], hidden: Sequence[str] = ()) -> Outcome:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="spanserve-") as place:
        answer = Path(place, "answer.json")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "spanserve.service.bundle.trial"],
            input=json.dumps(Order(str(folder), hidden, str(answer), settings)._asdict()),
            cwd=folder,
            env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if answer.is_file():
            return Outcome(**json.loads(answer.read_text(encoding="utf-8")))
    printed = " ".join(done.stdout.split())[-_MAX_SHOWN_CHARS:]
    code = done.returncode
    return Outcome(f"making the service ended the process (exit code {code}): {printed}", "", {})
