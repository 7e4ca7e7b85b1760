"""Writes a project: the templates of its kind, with its names filled in."""

import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, Literal

from spanserve.config.model import tracing_keys
from spanserve.config.names import OFF_WORDS, TRACER_NAME
from spanserve.errors import SpanserveError

Kind = Literal["tracer", "service"]

_TEMPLATE: Final = ".template"
_PLACE: Final = re.compile(r"@(name|package|Class)@")


def new_project(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write a project into a folder that is not there yet, or empty; return its files."""
    _check_name(kind, name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpanserveError(f"{folder} is there already; choose another by --output")
    words = {
        "name": name,
        "package": f"spanserve_{name}".replace("-", "_"),
        # With the kind after it, for no name may be like one that the project imports.
        "Class": "".join(part.capitalize() for part in (*re.split("[-_]", name), kind)),
    }
    texts = dict(sorted(_filled(files(__package__) / kind, Path(), words).items()))
    for file, text in texts.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    return [folder / file for file in texts]


def _check_name(kind: Kind, name: str) -> None:
    if not TRACER_NAME.fullmatch(name) or keyword.iskeyword(name):
        raise SpanserveError(
            f"{name!r} cannot be the name of a {kind}: small letters, digits, '-' and '_', and a "
            "letter first"
        )
    if kind == "tracer" and name in tracing_keys() | OFF_WORDS:
        raise SpanserveError(
            f"{name!r} cannot be the name of a tracer: spanserve's own configuration uses it"
        )


def _filled(folder: Traversable, within: Path, words: Mapping[str, str]) -> dict[Path, str]:
    """Return the text of each file, by its place in the project."""

    def fill(text: str) -> str:
        return _PLACE.sub(lambda match: words[match[1]], text)

    filled: dict[Path, str] = {}
    for each in folder.iterdir():
        place = within / fill(each.name)
        if each.is_dir():
            filled |= _filled(each, place, words)
        elif each.name.endswith(_TEMPLATE):
            text = fill(each.read_text(encoding="utf-8"))
            filled[place.with_name(place.name.removesuffix(_TEMPLATE))] = text
    return filled
