"""What was read, before it is checked: a tree whose every node knows its source."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from spanserve.config.values.source import Source, SourceKind

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value; `plain` where it stood unquoted in YAML, so that its type was guessed."""

    value: object
    source: Source
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    items: Sequence["Node"]
    source: Source


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; its keys are always text."""

    entries: Mapping[str, "Node"]
    source: Source


Node = Scalar | Items | Table


def merged(under: Node, over: Node) -> Node:
    """Lay one tree over another: mappings merge key by key, all else is replaced."""
    if not (isinstance(under, Table) and isinstance(over, Table)):
        return over
    entries = dict(under.entries)
    for key, node in over.entries.items():
        entries[key] = merged(entries[key], node) if key in entries else node
    # The place where a person wrote the mapping is the one to name.
    source = under.source if under.source.kind is SourceKind.FILE else over.source
    return Table(entries, source)


def tree_of(value: object, source: Source) -> Node:
    """Return plain data as a tree that comes from one place."""
    if isinstance(value, Mapping):
        entries = {str(key): tree_of(child, source) for key, child in value.items()}
        return Table(entries, source)
    if isinstance(value, list | tuple):
        return Items([tree_of(child, source) for child in value], source)
    return Scalar(value, source)


def value_of(node: Node) -> object:
    """Return the tree as plain dicts, lists and scalars."""
    if isinstance(node, Table):
        return {key: value_of(child) for key, child in node.entries.items()}
    if isinstance(node, Items):
        return [value_of(child) for child in node.items]
    return node.value


def sources_of(node: Node, path: Path = ()) -> Iterator[tuple[str, Source]]:
    """Yield the dotted key and the source of every node, the root's key being empty."""
    yield ".".join(path), node.source
    if isinstance(node, Table):
        for key, child in node.entries.items():
            yield from sources_of(child, (*path, key))
    elif isinstance(node, Items):
        for index, child in enumerate(node.items):
            yield from sources_of(child, (*path, str(index)))
