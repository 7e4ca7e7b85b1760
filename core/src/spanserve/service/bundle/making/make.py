"""A service and its files -> a bundle's folder, with what an image needs."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from string import Template
from sys import version_info
from typing import Any, Final

import yaml

from spanserve.errors import BundleError
from spanserve.service.bundle.making.contents import IMAGE_FILES, REQUIREMENTS, Contents, was_made
from spanserve.service.bundle.making.requirements import FIND_WHEELS, WHEELS
from spanserve.service.bundle.manifest import MANIFEST_NAMES

_DOCKERFILE_OF_WHEELS: Final = f"COPY {WHEELS} ./{WHEELS}\n"
_ABOUT_REQUIREMENTS: Final = """\
# Made by `spanserve bundle`: what bundle.yml and the command line name, and what the service
# imports, at the versions that it was bundled with. What these need in turn is pip's choice.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a bundle is made of: what is said of it, its files, and what pip installs."""

    name: str
    version: str | None
    contents: Contents
    requirements: tuple[str, ...]
    lines: tuple[str, ...]
    wheels: tuple[Path, ...]

    @property
    def title(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version}" if self.version else self.name


def wheels_of(given: Path | None, beside: Path) -> tuple[Path, ...]:
    """The wheels in a folder, or else in that of the service; raises BundleError."""
    folder = given or beside / WHEELS
    wheels = tuple(sorted(folder.glob("*.whl")))
    if given and not wheels:
        raise BundleError(f"--wheels {given}: there is no wheel (*.whl) in it")
    return wheels


def check_target(folder: Path, source: Path, *, force: bool) -> None:
    """Refuse a folder that cannot become the bundle; raises BundleError.

    With `force` a bundle that was made before may be replaced, and nothing else.
    """
    if source.is_relative_to(folder):
        raise BundleError(f"{folder} has the service itself; name another folder for the bundle")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    requirements = folder / REQUIREMENTS
    if not (requirements.is_file() and was_made(requirements)):
        raise BundleError(f"{folder} is there, and is no bundle that was made; name another")
    if not force:
        raise BundleError(f"{folder} is there already; --force replaces it")


def make(made: Plan, folder: Path) -> None:
    """Write the bundle, whole or not at all; the same plan gives the same bytes."""
    try:
        with _replacing(folder) as draft:
            _write(made, draft)
    except OSError as error:
        raise BundleError(f"the bundle {folder} cannot be written: {error}") from error


def _write(made: Plan, folder: Path) -> None:
    for path, file in made.contents.files.items():
        _copy(file, folder / path)
    for wheel in made.wheels:
        _copy(wheel, folder / WHEELS / wheel.name)
    _write_text(folder / MANIFEST_NAMES[0], _manifest(made))
    lines = (*((FIND_WHEELS,) if made.wheels else ()), *made.lines)
    _write_text(folder / REQUIREMENTS, _ABOUT_REQUIREMENTS + "".join(f"{each}\n" for each in lines))
    for name in IMAGE_FILES:
        if PurePosixPath(name) not in made.contents.files:
            _write_text(folder / name, _image_file(name, with_wheels=bool(made.wheels)))


def _manifest(made: Plan) -> str:
    root = made.contents.root
    keys: dict[str, Any] = {
        "service": made.contents.service,
        "name": made.name,
        "version": made.version,
        "root": None if root == "." else root,
        "requirements": list(made.requirements),
    }
    given = {key: value for key, value in keys.items() if value}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True)


def _image_file(name: str, *, with_wheels: bool) -> str:
    folder = files("spanserve.service.bundle.making") / "image"
    text = (folder / name).read_text(encoding="utf-8")
    if name != "Dockerfile":
        return text
    wheels = _DOCKERFILE_OF_WHEELS if with_wheels else ""
    return Template(text).substitute(
        python=f"{version_info.major}.{version_info.minor}", wheels=wheels
    )


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A folder that becomes this one at the end, in place of whatever is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder.parent) as aside:
        draft = Path(aside, "new")
        draft.mkdir()
        draft.chmod(0o755)
        yield draft
        if folder.exists():
            folder.rename(Path(aside, "old"))
        draft.rename(folder)


def _copy(file: Path, to: Path) -> None:
    """Copy a file so that any user of an image can read it, and run it if its owner can."""
    _make_folder(to.parent)
    shutil.copyfile(file, to)
    to.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _make_folder(folder: Path) -> None:
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")
    file.chmod(0o755 if text.startswith("#!") else 0o644)
