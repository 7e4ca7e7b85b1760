"""Which files go into a service's bundle, and where its class is then."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from spanserve.errors import BundleError
from spanserve.service.bundle.load import LoadedService
from spanserve.service.bundle.making.imports import reached
from spanserve.service.bundle.making.walking import included, matches, walked
from spanserve.service.bundle.manifest import MANIFEST_NAMES, TARGET, read_manifest

REQUIREMENTS: Final = "requirements.txt"
IMAGE_FILES: Final = ("Dockerfile", "entrypoint.sh", "healthcheck.py")
_MARK: Final = b"Made by `spanserve bundle`"


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
    left_out: dict[PurePosixPath, str]
    """What could have been meant to go in, and why it does not."""


def contents(
    service: LoadedService, *, include: Sequence[str], exclude: Sequence[str], without: Path
) -> Contents:
    """Find what a service needs: its folder, or its package with what that imports beside it.

    Left out are dotfiles, caches, virtual environments, what `exclude` matches and `without`,
    and what a bundle is made anew with; keys, logs, configurations and links out of the folder
    are left out and named. `include` brings back what it matches. Raises BundleError for a
    pattern without a match.
    """
    target, folder = _target(service)
    module, here = target.partition(":")[0], folder == service.home.folder
    imports = reached(folder, module, alone=not here)
    names = {file.relative_to(folder).parts[0] for file in imports.inside.values()}
    is_package = f"{module}.py" not in names and TARGET.fullmatch(service.target)
    if here and not is_package:
        names = {each.name for each in folder.iterdir()}
    try:
        all_found = [each for each in walked(folder, names) if not matches(each.path, exclude)]
        all_found += [each for pattern in include for each in included(folder, pattern)]
    except OSError as error:
        raise BundleError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    there = [each for each in all_found if not each.file.is_relative_to(without)]
    files = {each.path: each.file for each in there if each.is_taken}
    with_folders = files.keys() | {above for path in files for above in path.parents}
    left_out = {each.path: each.why for each in there if each.why and each.path not in with_folders}
    for path in map(PurePosixPath, (*MANIFEST_NAMES, REQUIREMENTS, *IMAGE_FILES)):
        if path in files and (path.name not in IMAGE_FILES or was_made(files[path])):
            del files[path]
    root = service.root.relative_to(folder).as_posix()
    return Contents(
        target,
        folder,
        root,
        dict(sorted(files.items())),
        imports.outside,
        dict(sorted(left_out.items())),
    )


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
