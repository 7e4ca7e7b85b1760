"""Which files go into a service's bundle, and where its class is then."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final

from spanserve.errors import BundleError
from spanserve.service.bundle import LoadedService
from spanserve.service.imports import reached
from spanserve.service.manifest import MANIFEST_NAMES, TARGET, read_manifest

REQUIREMENTS: Final = "requirements.txt"
IMAGE_FILES: Final = ("Dockerfile", "entrypoint.sh", "healthcheck.py")
_MARK: Final = b"Made by `spanserve bundle`"
_TOP: Final = PurePosixPath()
_IGNORED: Final = (".*", "__pycache__", "*.pyc", "*.egg-info")


@dataclass(frozen=True, slots=True)
class Contents:
    """The files by their path in the bundle; `root` is where there `bundle_path` looks.

    `service` is `module:Class` in the bundle, `folder` is where the files come from.
    """

    service: str
    folder: Path
    root: str
    files: dict[PurePosixPath, Path]
    imports: frozenset[str]


def contents(
    service: LoadedService, *, include: Sequence[str], exclude: Sequence[str], without: Path
) -> Contents:
    """Find what a service needs: its folder, or its package with what that imports beside it.

    Left out are dotfiles, caches, virtual environments, what `exclude` matches and `without`,
    and what a bundle is made anew with; `include` brings back what it matches. Raises
    BundleError for a pattern without a match.
    """
    target, folder = _target(service)
    module, here = target.partition(":")[0], folder == service.home.folder
    imports = reached(folder, module, alone=not here)
    names = {file.relative_to(folder).parts[0] for file in imports.inside.values()}
    is_package = f"{module}.py" not in names and TARGET.fullmatch(service.target)
    if here and not is_package:
        names = {each.name for each in folder.iterdir()}
    files = {
        path: file
        for path, file in _files(folder, names)
        if not _matches(path, (*_IGNORED, *exclude)) and not file.is_relative_to(without)
    }
    for pattern in include:
        files.update(_included(folder, pattern, without))
    for path in map(PurePosixPath, (*MANIFEST_NAMES, REQUIREMENTS, *IMAGE_FILES)):
        if path in files and (path.name not in IMAGE_FILES or was_made(files[path])):
            del files[path]
    root = service.root.relative_to(folder).as_posix()
    return Contents(target, folder, root, dict(sorted(files.items())), imports.outside)


def was_made(file: Path) -> bool:
    """Whether a file is of a bundle that was made before, and was not written by the user."""
    return _MARK in file.read_bytes()


def _target(service: LoadedService) -> tuple[str, Path]:
    """`module:Class`, and the folder in which the module is found."""
    place, _, attribute = service.target.rpartition(":")
    if TARGET.fullmatch(service.target):
        return service.target, _folder_of(place)
    if place.endswith(".py"):
        return f"{Path(place).stem}:{attribute}", service.home.folder
    return read_manifest(service.home.folder).service, service.home.folder


def _folder_of(module: str) -> Path:
    """Where an imported module's top package lies: the current folder, or where it is installed."""
    file = sys.modules[module].__file__
    if file is None:
        raise BundleError(f"the module {module} has no file, so it cannot go into a bundle")
    path = Path(file).resolve()
    return path.parents[module.count(".") + (path.name == "__init__.py")]


def _files(
    folder: Path,
    names: Iterable[str],
    path: PurePosixPath = _TOP,
    above: tuple[Path, ...] = (),
) -> Iterator[tuple[PurePosixPath, Path]]:
    """All files of these names, and below; through links, but for environments and loops."""
    real = folder.resolve()
    if (folder / "pyvenv.cfg").exists() or real in above:
        return
    for name in names:
        each = folder / name
        if each.is_file():
            yield path / name, each
        elif each.is_dir() and not _matches(PurePosixPath(name), _IGNORED):
            below = (inner.name for inner in each.iterdir())
            yield from _files(each, below, path / name, (*above, real))


def _matches(path: PurePosixPath, patterns: Iterable[str]) -> bool:
    """Whether a pattern is the path, one of its folders, or the name of one of these."""
    places = [path, *path.parents][:-1]
    return any(
        fnmatchcase(text, pattern.rstrip("/"))
        for place in places
        for text in (place.as_posix(), place.name)
        for pattern in patterns
    )


def _included(folder: Path, pattern: str, without: Path) -> dict[PurePosixPath, Path]:
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts or not pattern:
        raise BundleError(f"--include {pattern!r} leads out of {folder}; write a pattern within it")
    found = {
        PurePosixPath(each.relative_to(folder).as_posix()): each
        for match in folder.glob(pattern)
        for each in (match.rglob("*") if match.is_dir() else (match,))
        if each.is_file() and not each.is_relative_to(without)
    }
    if not found:
        raise BundleError(f"--include {pattern!r} matches no file in {folder}")
    return found
