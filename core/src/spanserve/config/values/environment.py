"""What the environment says of the configuration."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from spanserve.config.model import tracing_keys
from spanserve.config.names import is_propagator
from spanserve.config.opentelemetry import PROPAGATORS
from spanserve.config.values.document import parse
from spanserve.config.values.problems import ENVIRONMENT_PREFIX
from spanserve.config.values.redact import is_header_section
from spanserve.config.values.source import Source, SourceKind
from spanserve.config.values.tree import Items, Node, Path, Scalar, Table, merged
from spanserve.config.values.untyped import Untyped
from spanserve.errors import ConfigError

SERVICE_NAME: Final = "OTEL_SERVICE_NAME"
RESOURCE_ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"


def nested(path: Path, node: Node) -> Table:
    """Put a value under its path."""
    for key in reversed(path):
        node = Table({key: node}, node.source)
    if not isinstance(node, Table):
        raise TypeError("a path has at least one part")
    return node


def with_overrides(under: Node, environ: Mapping[str, str]) -> Node:
    """Lay all `SPANSERVE__A__B=value` over a tree; an empty value counts as not set.

    A value is text, whose type the field tells that it is for; a whole section is YAML. Case
    means nothing in the names; where the tree has a key that differs from the name's part by
    case, or by `-` for `_`, that key is meant. In the name of a header `_` stands for `-`.
    """
    variables = sorted(
        (tuple(name[len(ENVIRONMENT_PREFIX) :].lower().split("__")), name)
        for name, value in environ.items()
        if name.upper().startswith(ENVIRONMENT_PREFIX) and value.strip()
    )
    seen: dict[Path, str] = {}
    for path, name in sorted(variables, key=lambda variable: len(variable[0])):
        if not all(path):
            raise ConfigError(f"{name} names no key; write {ENVIRONMENT_PREFIX}SECTION__KEY")
        if path in seen:
            raise ConfigError(f"{seen[path]} and {name} are the same key; unset one of them")
        seen[path] = name
        spelled, there = _place(under, path)
        whole = isinstance(there, Table) or any(
            other[: len(path)] == path and other != path for other, _ in variables
        )
        value = _value(name, environ[name], whole=whole or _is_section(path))
        under = merged(under, nested(spelled, value))
    return under


def _is_section(path: Path) -> bool:
    """Whether it is a section of core's own, or a tracer's."""
    section, *keys = path
    return not keys or (section == "tracing" and len(keys) == 1 and keys[0] not in tracing_keys())


def _value(name: str, text: str, *, whole: bool) -> Node:
    source = Source(SourceKind.ENVIRONMENT, name)
    if whole and text.lstrip().startswith("{"):
        return parse(text, lambda _line: source)
    return Scalar(Untyped(text), source)


def _place(tree: Node | None, path: Path) -> tuple[Path, Node | None]:
    """The path as it is spelled in the tree, and what is there."""
    spelled: list[str] = []
    for part in path:
        entries = tree.entries if isinstance(tree, Table) else {}
        key = part if part in entries else _alike(part, entries)
        if key not in entries and spelled and is_header_section(spelled[-1]):
            key = key.replace("_", "-")
        tree = entries.get(key)
        spelled.append(key)
    return tuple(spelled), tree


def _alike(part: str, keys: Iterable[str]) -> str:
    plain = part.replace("-", "_")
    return next((key for key in keys if key.lower().replace("-", "_") == plain), part)


@dataclass(frozen=True, slots=True)
class Standard:
    """What OpenTelemetry's own variables say."""

    tree: Table
    resource_attributes: Mapping[str, str]
    warnings: tuple[str, ...]


def standard_variables(environ: Mapping[str, str]) -> Standard:
    """Read OpenTelemetry's variables, by its specification: empty is not set."""
    attributes, attribute_warnings = _resource_attributes(environ.get(RESOURCE_ATTRIBUTES, ""))
    tree = Table({}, Source(SourceKind.DEFAULT))
    for variable, name in (
        (RESOURCE_ATTRIBUTES, attributes.get("service.name", "")),
        (SERVICE_NAME, environ.get(SERVICE_NAME, "").strip()),
    ):
        if name:
            tree = _over(
                tree, "service_name", Scalar(name, Source(SourceKind.ENVIRONMENT, variable))
            )
    propagators, propagator_warnings = _propagators(environ.get(PROPAGATORS, ""))
    if propagators is not None:
        source = Source(SourceKind.ENVIRONMENT, PROPAGATORS)
        tree = _over(
            tree, "propagators", Items([Scalar(name, source) for name in propagators], source)
        )
    rest = {key: value for key, value in attributes.items() if key != "service.name"}
    return Standard(tree, rest, (*attribute_warnings, *propagator_warnings))


def _over(tree: Table, key: str, node: Node) -> Table:
    over = merged(tree, nested(("tracing", key), node))
    if not isinstance(over, Table):
        raise TypeError("two mappings merge to a mapping")
    return over


def _resource_attributes(text: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Read `key=value,key2=value2`, values percent-encoded; one bad pair discards them all."""
    attributes: dict[str, str] = {}
    for pair in filter(str.strip, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            return {}, (
                f"{RESOURCE_ATTRIBUTES} is not read: it is not of the form key=value,key=value",
            )
        attributes[unquote(key.strip())] = unquote(value.strip())
    return attributes, ()


def _propagators(text: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the names known here (None: nothing said), and what to say of the others."""
    asked = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    known = tuple(name for name in asked if is_propagator(name))
    skipped = [name for name in asked if name not in (*known, "none")]
    warnings = tuple(
        f"{PROPAGATORS} names '{name}', which spanserve does not have: skipped" for name in skipped
    )
    return (known if known or asked == ("none",) else None), warnings
