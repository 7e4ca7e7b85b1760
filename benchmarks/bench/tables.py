"""What a suite yields: tables of loads, one over several numbers of connections, and others."""

from dataclasses import dataclass
from typing import Any

from bench.cells import Row


@dataclass(frozen=True)
class Table:
    """Some servers under one load."""

    key: str
    title: str
    connections: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Grid:
    """The same servers under the same load from several numbers of connections."""

    key: str
    title: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Sheet:
    """A table of columns of its own."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


Shown = Table | Grid | Sheet
