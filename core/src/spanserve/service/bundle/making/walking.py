"""The files below a service's folder: which are taken along, and why others are not."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from spanserve.errors import BundleError
from spanserve.service.bundle.making.sensitive import why_private

_IGNORED: Final = (".*", "__pycache__", "*.pyc", "*.egg-info")
_WILDCARDS: Final = "*?[]"


@dataclass(frozen=True, slots=True)
class Found:
    """A file, or a link that is not followed; `why` it is left out, if that is to be said."""

    path: PurePosixPath
    file: Path
    why: str = ""
    ignored: bool = False

    @property
    def is_taken(self) -> bool:
        """Whether it goes into the bundle."""
        return not (self.why or self.ignored)


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder on the way down: `home` is what links may not lead out of."""

    folder: Path
    path: PurePosixPath
    home: Path
    above: tuple[Path, ...] = ()

    def below(self, name: str) -> "_Place":
        above = (*self.above, self.folder.resolve())
        return _Place(self.folder / name, self.path / name, self.home, above)

    def files(self, names: Iterable[str], *, hidden: bool) -> Iterator[Found]:
        """All files of these names, and below them; with `hidden`, of hidden folders too."""
        for name in names:
            each, path = self.folder / name, self.path / name
            ignored = not hidden and matches(PurePosixPath(name), _IGNORED)
            if each.is_symlink() and (why := _why_not_followed(each, self.home)):
                yield Found(path, each, why, ignored)
            elif each.is_file():
                yield Found(path, each, why_private(each), ignored)
            elif each.is_dir() and not ignored:
                yield from self.below(name).all_files(hidden=hidden)

    def all_files(self, *, hidden: bool) -> Iterator[Found]:
        """Everything in this folder, but for environments and loops."""
        if (self.folder / "pyvenv.cfg").exists() or self.folder.resolve() in self.above:
            return
        yield from self.files((each.name for each in self.folder.iterdir()), hidden=hidden)


def walked(folder: Path, names: Iterable[str]) -> Iterator[Found]:
    """All files of these names in a folder, and below; links are followed that stay in it."""
    return _Place(folder, PurePosixPath(), folder.resolve()).files(names, hidden=False)


def included(folder: Path, pattern: str) -> list[Found]:
    """The files that a pattern matches, hidden ones too; BundleError where it matches none.

    A key, a log or a configuration is taken where the pattern is for files of its name, and not
    for all or for its folder; a link that leads out, where the pattern names it without wildcards.
    """
    wanted = PurePosixPath(pattern)
    if wanted.is_absolute() or ".." in wanted.parts or not pattern:
        raise BundleError(f"--include {pattern!r} leads out of {folder}; write a pattern within it")
    found = [each for match in folder.glob(pattern) for each in _of_match(folder, match, wanted)]
    if not found:
        raise BundleError(f"--include {pattern!r} matches no file in {folder}")
    return found


def matches(path: PurePosixPath, patterns: Iterable[str]) -> bool:
    """Whether a pattern is the path, one of its folders, or the name of one of these."""
    places = [path, *path.parents][:-1]
    return any(
        fnmatchcase(text, pattern.rstrip("/"))
        for place in places
        for text in (place.as_posix(), place.name)
        for pattern in patterns
    )


def _of_match(folder: Path, match: Path, wanted: PurePosixPath) -> Iterator[Found]:
    path = PurePosixPath(match.relative_to(folder).as_posix())
    home = folder.resolve()
    for link in reversed([path, *path.parents][:-1]):
        if (folder / link).is_symlink() and (why := _why_not_followed(folder / link, home)):
            if wanted.parts[: len(link.parts)] != link.parts or not match.exists():
                yield Found(link, folder / link, why)
                return
            home = (folder / link).resolve()
    if match.is_dir():
        above = tuple((folder / each).resolve() for each in path.parents)
        yield from _Place(match, path, home, above).all_files(hidden=True)
    else:
        is_meant = bool(wanted.name.strip(_WILDCARDS))
        yield Found(path, match, "" if is_meant else why_private(match))


def _why_not_followed(link: Path, home: Path) -> str:
    """Say why this link stays behind, or nothing."""
    if not link.exists():
        return "a link to nothing"
    real = Path(os.path.realpath(link))
    return "" if real.is_relative_to(home) else f"a link to {real}"
