"""What pip has to install for a bundle, at the versions that are installed here."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    parse_wheel_filename,
)
from packaging.version import Version

from spanserve.errors import BundleError
from spanserve.service.bundle.making.imports import top

SELF: Final = "spanserve"
WHEELS: Final = "wheels"
FIND_WHEELS: Final = f"--find-links {WHEELS}"
_INDEX_OPTIONS: Final = ("--index-url", "--extra-index-url", "--trusted-host", "--pre")


@dataclass(frozen=True, slots=True)
class Named:
    """A requirement as somebody wrote it, and where."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class Pinned:
    """The lines of a requirements file, sorted, and sentences about them for the user."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def read_requirements(file: Path) -> list[Named]:
    """The requirements in a file, and its options that say where pip looks; BundleError."""
    try:
        text = file.read_text(encoding="utf-8-sig").replace("\\\n", " ")
    except (OSError, UnicodeError) as error:
        raise BundleError(f"the requirements {file} cannot be read: {error}") from error
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        wanted = f" {line}".partition(" #")[0].strip()
        if wanted == FIND_WHEELS:
            continue  # of a bundle that was made before
        if wanted.startswith("-") and not wanted.startswith(_INDEX_OPTIONS):
            raise BundleError(
                f"{file} line {number}: {wanted!r} cannot go into a bundle; name distributions, "
                f"and of pip's options {', '.join(_INDEX_OPTIONS)} at most"
            )
        if wanted:
            found.append(Named(wanted, f"{file} line {number}"))
    return found


def pinned(named: Iterable[Named], imports: Iterable[str], wheels: Iterable[Path] = ()) -> Pinned:
    """Pin spanserve, what is named, and what provides the imported names.

    What is named is not pinned by its import too. A requirement that is a pin or an address, or
    that is for other machines, stays as it is. `wheels` are those that the bundle brings along.
    Raises BundleError for a requirement that the version here does not fulfil.
    """
    named = list(named)
    options = {each.text for each in named if each.text.startswith("-")}
    wanted = [(_parsed(each), each.where) for each in named if each.text not in options]
    known = {canonicalize_name(requirement.name) for requirement, _ in wanted}
    found = [Requirement(each) for each in (SELF, *(distributions_of(imports) - {SELF}))]
    wanted += [(each, "an import") for each in found if canonicalize_name(each.name) not in known]
    lines: dict[tuple[str, str], Requirement] = {}
    for requirement, where in wanted:
        line = _pin(requirement, where)
        same = lines.setdefault((canonicalize_name(line.name), str(line.marker or "")), line)
        same.extras |= line.extras
    return Pinned(
        (*sorted(options), *sorted((str(each) for each in lines.values()), key=str.lower)),
        tuple(_warnings(lines.values(), set(map(_name_in, wheels)))),
    )


def distributions_of(imports: Iterable[str]) -> set[str]:
    """The installed distributions that provide these dotted names."""
    providers = packages_distributions()
    found: set[str] = set()
    for name in imports:
        candidates = sorted(set(providers.get(top(name), ())))
        found.update(candidates if len(candidates) == 1 else owners(name, candidates))
    return found


def owners(name: str, candidates: Sequence[str]) -> list[str]:
    """Those of a namespace's distributions that have the longest part of the name."""
    parts = name.split(".")
    for count in range(len(parts), 1, -1):
        place = "/".join(parts[:count])
        owners = [each for each in candidates if _has(distribution(each), place)]
        if owners:
            return owners
    return []


def _has(each: Distribution, place: str) -> bool:
    return any(str(file).startswith((f"{place}/", f"{place}.")) for file in each.files or ())


def _parsed(named: Named) -> Requirement:
    try:
        return Requirement(named.text)
    except InvalidRequirement as error:
        what = " ".join(str(error).split())
        raise BundleError(f"{named.where}: {named.text!r} is no requirement: {what}") from error


def _pin(wanted: Requirement, where: str) -> Requirement:
    elsewhere = wanted.marker is not None and not wanted.marker.evaluate()
    if wanted.url or elsewhere or _is_pin(wanted):
        return wanted
    try:
        version = Version(distribution(wanted.name).version)
    except PackageNotFoundError:
        raise BundleError(
            f"{where}: {wanted.name} is not installed here, so its version is not known; "
            f"install it, or pin it: {wanted.name}==VERSION"
        ) from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise BundleError(
            f"{where}: {wanted} is wanted, but {wanted.name} {version} is installed here"
        )
    extras = f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""
    marker = f"; {wanted.marker}" if wanted.marker else ""
    # Indexes have no local versions, such as 2.5+cu124.
    return Requirement(f"{wanted.name}{extras}=={version.public}{marker}")


def _is_pin(wanted: Requirement) -> bool:
    return any(
        each.operator in {"==", "==="} and not each.version.endswith(".*")
        for each in wanted.specifier
    )


def _name_in(wheel: Path) -> NormalizedName:
    try:
        return parse_wheel_filename(wheel.name)[0]
    except InvalidWheelFilename as error:
        raise BundleError(f"{wheel} is no wheel: {error}") from error


def _warnings(requirements: Iterable[Requirement], at_hand: set[NormalizedName]) -> Iterator[str]:
    for each in requirements:
        missing = not each.url and canonicalize_name(each.name) not in at_hand
        if missing and (origin := _local_origin(each.name)):
            yield (
                f"{each.name} was installed here from {origin}: unless an index has {each}, "
                "give its wheel with --wheels FOLDER"
            )


def _local_origin(name: str) -> str:
    """The address from which a distribution was installed, if not from an index."""
    try:
        text = distribution(name).read_text("direct_url.json")
    except PackageNotFoundError:
        return ""
    return str(json.loads(text).get("url", "")) if text else ""
