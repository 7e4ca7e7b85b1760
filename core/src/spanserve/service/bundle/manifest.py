"""`bundle.yml`: what a bundle says of itself."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from spanserve.errors import BundleError
from spanserve.service.bundle.not_yaml import words_of
from spanserve.service.codecs.problems import nearest, path

MANIFEST_NAMES = ("bundle.yml", "bundle.yaml")
TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")
MAX_LISTED = 20
_WRITE_ONE = "write one with: service: 'module:Class'"


class Manifest(BaseModel):
    """The keys of `bundle.yml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str = Field(description="the service class, as 'module:Class', in this folder")
    name: str | None = Field(None, min_length=1, description="in place of the service's own")
    version: str | None = Field(None, min_length=1, description="the bundle's version, any text")
    requirements: tuple[str, ...] = Field((), description="what pip has to install for it")
    root: str = Field(".", description="where in this folder bundle_path looks")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle's folder; raises BundleError."""
    file = _manifest_file(folder)
    try:
        # Only text, lists and mappings: `version: 1.10` stays "1.10".
        content = yaml.load(file.read_bytes(), yaml.BaseLoader)  # noqa: S506 - makes no objects
    except yaml.YAMLError as error:
        raise BundleError(f"{file} is no YAML: {words_of(error)}") from error
    except (OSError, UnicodeError) as error:
        raise BundleError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{file} has no keys; write at least: service: 'module:Class'")
    manifest = _validated(file, content)
    if not TARGET.fullmatch(manifest.service):
        raise BundleError(
            f"{file}: service is {manifest.service!r}; write 'module:Class', "
            f"where the module is in the folder (there: {listing(folder, '*.py')})"
        )
    root = (folder / manifest.root).resolve()
    if not (root.is_dir() and root.is_relative_to(folder.resolve())):
        raise BundleError(f"{file}: root is {manifest.root!r}, which is no folder in {folder}")
    return manifest


def listing(folder: Path, pattern: str = "*") -> str:
    """The names in a folder, sorted, at most 20; `nothing` for none."""
    hidden = (".", "__pycache__")
    names = sorted(each.name for each in folder.glob(pattern) if not each.name.startswith(hidden))
    more = f", and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more if names else "nothing"


def _manifest_file(folder: Path) -> Path:
    found = [folder / name for name in MANIFEST_NAMES if (folder / name).is_file()]
    if not found:
        raise BundleError(
            f"{folder} is no bundle: it has no bundle.yml (there: {listing(folder)}); "
            f"{_to_serve_instead(folder)}"
        )
    if len(found) > 1:
        raise BundleError(f"{folder} has both bundle.yml and bundle.yaml; remove one")
    return found[0]


def _to_serve_instead(folder: Path) -> str:
    """Name the file of the folder that is probably meant, or say how a bundle is made of it."""
    files = [each for each in sorted(folder.glob("*.py")) if b"@service" in each.read_bytes()]
    return f"name the file: {files[0]}" if len(files) == 1 else _WRITE_ONE


def _validated(file: Path, content: dict[Any, Any]) -> Manifest:
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise BundleError(f"{file}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    known = list(Manifest.model_fields)
    place = path("", first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {place!r} (known: {', '.join(known)}){nearest(place, known)}"
    if first["type"] == "missing":
        return f"the key {place!r} is missing; write: service: 'module:Class'"
    return f"{place}: {first['msg']}"
