"""`spanserve bundle`: a service becomes a folder that can be served and made an image of."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spanserve.config.load import Loaded
from spanserve.config.service_settings import section_of
from spanserve.service.bundle.load import LoadedService, load
from spanserve.service.bundle.making.contents import REQUIREMENTS, Contents, contents, was_made
from spanserve.service.bundle.making.make import Plan, check_target, make, wheels_of
from spanserve.service.bundle.making.requirements import Named, pinned, read_requirements
from spanserve.service.bundle.making.sensitive import is_pickle
from spanserve.service.bundle.needs import lacking

MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says of a bundle, beside its service and its folder."""

    version: str | None
    include: Sequence[str]
    exclude: Sequence[str]
    requirements: Path | None
    extra: Sequence[str]
    wheels: Path | None
    force: bool
    check: bool
    loaded: Loaded | None = None
    """The configuration whose section `service` the check makes the service with."""


def bundle(target: str, output: Path, wishes: Wishes, say: Callable[[str], None]) -> bool:
    """Make a bundle, and say what is in it; raises SpanserveError before anything is written.

    Returns whether its service can be made of it, as far as that was asked for.
    """
    service = load(target)
    settings = _settings(service, wishes)
    folder = output.resolve()
    check_target(folder, service.home.folder, force=wishes.force)
    found = contents(service, include=wishes.include, exclude=wishes.exclude, without=folder)
    named = [Named(text, f"{target}'s bundle.yml") for text in service.requirements]
    named += _of_file(wishes.requirements, found.folder / REQUIREMENTS)
    named += [Named(text, "--with") for text in wishes.extra]
    wheels = wheels_of(wishes.wheels, found.folder)
    pins = pinned(named, found.imports, wheels)
    made = Plan(
        name=service.name,
        version=wishes.version or service.version,
        contents=found,
        requirements=tuple(each.text for each in named if not each.text.startswith("-")),
        lines=pins.lines,
        wheels=wheels,
    )
    make(made, folder)
    place = shlex.quote(str(output))
    say(f"bundle    {made.title} in {output}: {_amount(found)}")
    say(f"installs  {', '.join(each for each in made.lines if not each.startswith('-'))}")
    for line in _left_out(found):
        say(f"left out  {line}")
    for warning in (*pins.warnings, *(() if wishes.check else _unseen(found))):
        say(f"warning   {warning}")
    lacks = lacking(folder, made.lines, settings) if wishes.check else []
    for line in lacks or (["its service was made of it alone"] if wishes.check else []):
        say(f"check     {line}")
    say(f"serve     spanserve serve {place}")
    say(f"image     docker build -t {_tag(made.name)} {place}")
    return not lacks


def _settings(service: LoadedService, wishes: Wishes) -> Mapping[str, Any]:
    """Return the section that a check makes the service with; raises ConfigError."""
    if not wishes.check or wishes.loaded is None:
        return {}
    loaded, model = wishes.loaded, service.spec.settings_model
    return section_of(model, loaded.config.service, loaded.sources, service=service.name)


def _left_out(found: Contents) -> list[str]:
    """What stays behind and why, a line each, and at the end what can be done."""
    if not found.left_out:
        return []
    shown = [f"{path} ({why})" for path, why in list(found.left_out.items())[:MAX_NAMED]]
    if more := len(found.left_out) - len(shown):
        shown.append(f"and {more} more")
    shown[-1] += "; --include NAME takes it along"
    return shown


def _unseen(found: Contents) -> list[str]:
    """A warning where there are pickles: they may need what no import names."""
    pickles = [str(path) for path, file in found.files.items() if is_pickle(file)]
    if not pickles:
        return []
    more = f" and {len(pickles) - 1} more" if len(pickles) > 1 else ""
    said = f"what {pickles[0]}{more} needs is not seen, as pickles are not looked into"
    return [f"{said}: name it with --with, or let --check find it"]


def _tag(name: str) -> str:
    """A name for the image: engines want lower case, and few other characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "service"


def _of_file(given: Path | None, beside: Path) -> list[Named]:
    if given is not None:
        return read_requirements(given)
    if not beside.is_file() or was_made(beside):
        return []
    return read_requirements(beside)


def _amount(found: Contents) -> str:
    count = len(found.files)
    size = sum(file.stat().st_size for file in found.files.values())
    return f"{count} {'file' if count == 1 else 'files'}, {_size(size)}"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004  # the units are a thousand of each other
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
