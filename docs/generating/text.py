"""Pieces of Markdown, and signatures as the source has them."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

MAX_COLUMNS = 79


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; a bar in a cell is escaped."""
    lines = [headings, ["---"] * len(headings), *rows]
    cells = [[_cell(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str, language: str = "python") -> str:
    """Return a block of code."""
    return f"```{language}\n{text}\n```\n"


def doc(thing: Any) -> str:
    """Return a docstring without its indentation; a missing one is a RuntimeError."""
    text = inspect.getdoc(thing)
    if not text:
        raise RuntimeError(f"{thing!r} has no docstring")
    return text


def signature(thing: Any, *, made: bool = False) -> str:
    """Return the head of a function, or a class's with its annotated fields; `made`: its call.

    It is taken from the source, so that it is the same under every version of Python.
    """
    node = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _function(node)
    if not isinstance(node, ast.ClassDef):
        raise TypeError(f"{thing!r} is neither a function nor a class")
    if made:
        return _call(node)
    fields = [
        ast.unparse(each) for each in node.body if isinstance(each, ast.AnnAssign | ast.Assign)
    ]
    shown = [field for field in fields if not field.startswith("_")]
    return "\n    ".join([f"class {node.name}:", *shown]) if shown else f"class {node.name}"


def methods(cls: Any) -> Iterator[tuple[str, Any]]:
    """Yield a class's public methods and properties with their functions, in order."""
    for name, value in vars(cls).items() if inspect.isclass(cls) else ():
        function = value.fget if isinstance(value, property) else value
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def in_source_order(module: ModuleType, names: Iterable[str]) -> list[str]:
    """Return the names in the order in which the module defines them."""
    order = list(vars(module))
    return sorted(names, key=order.index)


def _call(node: ast.ClassDef) -> str:
    (init,) = [
        each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"
    ]
    init.name, init.returns = node.name, None
    return _function(init)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = ast.unparse(node.args).replace("self, ", "").removeprefix("self")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    head = f"{node.name}({arguments.replace('/, ', '')}){returns}"
    if len(head) <= MAX_COLUMNS:
        return head
    parts = _split(arguments)
    return "\n".join([f"{node.name}(", *(f"    {part}," for part in parts), f"){returns}"])


def _split(arguments: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth = [""], 0
    for char in arguments:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]
