"""What code imports: the files of its own folder, and the names from elsewhere."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spanserve.errors import BundleError


@dataclass(frozen=True, slots=True)
class Imports:
    """The modules of the folder by their dotted names, and the names of all others."""

    inside: dict[str, Path]
    outside: frozenset[str]


def reached(folder: Path, module: str, *, alone: bool = False) -> Imports:
    """Follow a module's imports, in its functions too, without running anything.

    With `alone`, only its own top package is of the folder. The standard library is left out.
    Raises BundleError for a file that is no Python.
    """
    inside: dict[str, Path] = {}
    outside: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        own = top(name) == top(module) or not alone
        files = {part: file for part in _prefixes(name) if own and (file := _file_of(folder, part))}
        if not files:
            outside.add(name)
        for part, file in files.items():
            if part not in inside:
                inside[part] = file
                waiting |= set(_imported(file, part)) - outside
    return Imports(
        inside, frozenset(name for name in outside if top(name) not in sys.stdlib_module_names)
    )


def top(name: str) -> str:
    """The first part of a dotted name."""
    return name.partition(".")[0]


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _file_of(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split("."))
    candidates = (place / "__init__.py", place.parent / f"{place.name}.py")
    return next((each for each in candidates if each.is_file()), None)


def _imported(file: Path, name: str) -> Iterator[str]:
    """The dotted names that a module imports; of `from a import b`, a.b."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise BundleError(f"{file} cannot be read as Python: {error}") from error
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, package)
            yield from (f"{origin}.{alias.name}".lstrip(".") for alias in node.names)


def _origin(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    parts = parents[: len(parents) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)
