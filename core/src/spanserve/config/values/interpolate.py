"""`${VAR}` and `${VAR:-default}` in the values of a file.

As in OpenTelemetry's file configuration: an unquoted value gets its type after the
substitution (`port: ${PORT:-6831}` is a number, where the key is one), a quoted one stays text,
and no substitution makes a mapping or a list. `:-` stands in for an empty variable, too, as in a
shell. `$${` is a literal `${`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from spanserve.config.values.problems import Problem
from spanserve.config.values.source import SourceKind
from spanserve.config.values.tree import Items, Node, Path, Scalar, Table
from spanserve.config.values.untyped import UntypedScalar

_REFERENCE: Final = re.compile(
    r"(?P<escape>\$\$\{)"
    r"|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:[^}$]|\$(?!\{))*))?\}"
    r"|(?P<bad>\$\{)"
)


class _BadReferenceError(Exception):
    """The text is what to say of it."""


def interpolated(
    node: Node, environ: Mapping[str, str], path: Path = ()
) -> tuple[Node, list[Problem]]:
    """Fill in the variables of all values that came from a file, with what could not be."""
    if isinstance(node, Table):
        done = {
            key: interpolated(child, environ, (*path, key)) for key, child in node.entries.items()
        }
        problems = [problem for _, found in done.values() for problem in found]
        return replace(node, entries={key: child for key, (child, _) in done.items()}), problems
    if isinstance(node, Items):
        all_done = [
            interpolated(child, environ, (*path, str(i))) for i, child in enumerate(node.items)
        ]
        problems = [problem for _, found in all_done for problem in found]
        return replace(node, items=tuple(child for child, _ in all_done)), problems
    return _interpolated_scalar(node, environ, path)


def _interpolated_scalar(
    node: Scalar, environ: Mapping[str, str], path: Path
) -> tuple[Node, list[Problem]]:
    text = node.value
    if not isinstance(text, str) or "${" not in text or node.source.kind is not SourceKind.FILE:
        return node, []
    try:
        filled, variables = substitute(text, environ)
    except _BadReferenceError as error:
        return node, [Problem(path, f"{'.'.join(path)}: {error} ({node.source})")]
    if not variables:
        return replace(node, value=filled), []
    value = UntypedScalar(filled) if node.plain else filled
    return replace(node, value=value, source=replace(node.source, variables=variables)), []


def substitute(text: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the text with its variables filled in, and their names in order."""
    variables: list[str] = []

    def fill(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        if match["bad"]:
            raise _BadReferenceError(
                "'${' begins no ${VAR} or ${VAR:-default}; write $${ for the text"
            )
        name, default = match["name"], match["default"]
        variables.append(name)
        if default is not None:
            return environ.get(name) or default
        if name not in environ:
            raise _BadReferenceError(
                f"the environment variable {name} is not set; set it, or give a default: "
                f"${{{name}:-...}}"
            )
        return environ[name]

    return _REFERENCE.sub(fill, text), tuple(dict.fromkeys(variables))
