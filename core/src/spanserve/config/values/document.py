"""YAML text as a tree that knows its lines.

The dialect is PyYAML's (YAML 1.1) with two differences, both as in YAML 1.2: `1e3` is a
number, and a date is text. A key given twice is an error. Keys are always text.
"""

import re
from collections.abc import Callable
from typing import Final

import yaml

from spanserve.config.values.source import Source
from spanserve.config.values.tree import Items, Node, Scalar, Table
from spanserve.errors import ConfigError
from spanserve.service.bundle.not_yaml import words_of

_TAG: Final = "tag:yaml.org,2002:"
_FLOAT: Final = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$")

SourceOfLine = Callable[[int], Source]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the differences named above."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own declaration has no ClassVar
        first: [(tag, form) for tag, form in forms if tag != f"{_TAG}timestamp"]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_BREAKS: Final = re.compile("[\n\r\x85\u2028\u2029]")


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which quotes what the loader would not read as text."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Escape line breaks: in other quotes they are folded into blanks."""
        style = '"' if _BREAKS.search(data) else None
        return self.represent_scalar(f"{_TAG}str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_str)

for _dialect in (_Loader, _Dumper):
    _dialect.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789"))


def parse(text: str, source_of_line: SourceOfLine) -> Node:
    """Read one YAML document; an empty one is a null. Raises ConfigError."""
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
            if root is None:
                return Scalar(None, source_of_line(1), plain=True)
            return _Builder(loader, source_of_line).build(root)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ConfigError(_not_yaml(error, text, source_of_line)) from error
    except RecursionError as error:
        raise ConfigError(f"not YAML: {source_of_line(1)}: nested too deeply") from error


def inline(value: object) -> str:
    """Write plain data as YAML on one line, so that `parse` reads the same."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=float("inf"), allow_unicode=True
    )
    return text.removesuffix("\n").removesuffix("\n...")


def scalar_value(text: str) -> object:
    """Read text as an unquoted YAML scalar would be read, never as a mapping or a list."""
    loader = _Loader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]  # types-PyYAML has no types for it
        return loader.construct_object(yaml.ScalarNode(tag, text), deep=True)
    except (yaml.YAMLError, ValueError):
        return text
    finally:
        loader.dispose()


def _not_yaml(error: yaml.YAMLError, text: str, source_of_line: SourceOfLine) -> str:
    words = words_of(error)
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is None:
        return f"not YAML: {source_of_line(1)}: {words}"
    if any("${" in line for line in text.splitlines()[mark.line : mark.line + 1]):
        words += "; within {} or [], quote a value that holds ${...}"
    return f"not YAML: {source_of_line(mark.line + 1)} column {mark.column + 1}: {words}"


class _Builder:
    """Turns PyYAML's nodes into ours."""

    def __init__(self, loader: _Loader, source_of_line: SourceOfLine) -> None:
        self._loader = loader
        self._source_of_line = source_of_line
        self._open: set[int] = set()

    def build(self, node: yaml.Node) -> Node:
        """Raise ConfigError for what has no place in a configuration."""
        source = self._source_of_line(node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return Scalar(self._scalar(node, source), source, plain=node.style is None)
        if id(node) in self._open:
            raise ConfigError(f"{source}: an alias within its own anchor has no end")
        self._open.add(id(node))
        try:
            return self._collection(node, source)
        finally:
            self._open.discard(id(node))

    def _collection(self, node: yaml.Node, source: Source) -> Node:
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return Items(tuple(self.build(child) for child in node.value), source)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._table(node, source)
        raise ConfigError(f"{source}: a tag ('!') has no meaning here")

    def _table(self, node: yaml.MappingNode, source: Source) -> Table:
        self._refuse_duplicates(node)
        self._loader.flatten_mapping(node)
        entries: dict[str, Node] = {}
        for key, value in node.value:
            line = self._source_of_line(key.start_mark.line + 1)
            child = self.build(value)
            # A nested block starts on the line after its key: the key's line is the one to name.
            entries[key.value] = child if isinstance(child, Scalar) else _at(child, line)
        return Table(entries, source)

    def _refuse_duplicates(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            source = self._source_of_line(line)
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"{source}: a key must be plain text")
            if key.value in seen:
                first = seen[key.value]
                raise ConfigError(f"{source}: the key '{key.value}' was given in line {first}")
            if key.value != "<<":
                seen[key.value] = line

    def _scalar(self, node: yaml.ScalarNode, source: Source) -> object:
        try:
            return self._loader.construct_object(node, deep=True)
        except ValueError as error:
            raise ConfigError(f"{source}: this number cannot be read; quote a text") from error


def _at(node: Items | Table, source: Source) -> Node:
    if isinstance(node, Table):
        return Table(node.entries, source)
    return Items(node.items, source)
