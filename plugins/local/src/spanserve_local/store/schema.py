"""The file's tables, and connections to it.

A row of `chunks` holds the spans of some hundred traces: a summary that the lists are made from,
and a compressed body. It is never changed: small ones are replaced by one that holds them all.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from spanserve import ConfigError
from spanserve_local.place import MARK

APPLICATION: Final = int.from_bytes(MARK, "big")

BUSY_S: Final = 2.0
"""How long to wait for another worker that writes."""

_PAGE_BYTES: Final = 8192
_WAL_PAGES: Final = 128

_FIRST: Final = """
CREATE TABLE resources (
    id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT NOT NULL, attributes TEXT NOT NULL
);
CREATE TABLE chunks (
    -- Never used again: whoever has read a chunk may keep it by its id.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    resource INTEGER NOT NULL,
    level INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL,
    traces INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    summary BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX chunks_by_level ON chunks (resource, level);
CREATE INDEX chunks_by_time ON chunks (last_ns);
CREATE TABLE counters (name TEXT PRIMARY KEY, spans INTEGER NOT NULL);
CREATE TABLE limits (name TEXT PRIMARY KEY, value REAL NOT NULL);
"""

MIGRATIONS: Final[Sequence[str]] = (_FIRST,)
"""The steps to each version from the one before; they are only ever added."""

VERSION: Final = len(MIGRATIONS)


class WrongFileError(ConfigError):
    """The file is none of ours, or of a newer spanserve."""


def writing(file: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Open the file to write, and bring it up to date; raises WrongFileError or sqlite3.Error."""
    connection = sqlite3.connect(
        file, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        _migrate(connection, file, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def reading(file: Path) -> sqlite3.Connection:
    """Open the file to read alone; raises WrongFileError or sqlite3.Error."""
    connection = sqlite3.connect(
        f"file:{_quoted(file)}?mode=ro{_never_changes(file)}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_current(_version(connection, file), file)
    except BaseException:
        connection.close()
        raise
    return connection


def _never_changes(file: Path) -> str:
    """Return an option for a file in a folder that nobody can write to: there are no locks."""
    return "" if os.access(file.parent, os.W_OK) else "&immutable=1"


def _check_current(version: int, file: Path) -> None:
    if version > VERSION:
        raise WrongFileError(_newer(file, version))
    if version < VERSION:
        raise WrongFileError(
            f"{file} holds no traces of this version yet; a server brings it up to date"
        )


def _quoted(file: Path) -> str:
    return str(file.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _version(connection: sqlite3.Connection, file: Path) -> int:
    try:
        # In one statement: between two, another process may make the file.
        [[application, version, objects]] = connection.execute(
            "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_application_id, pragma_user_version"
        )
    except sqlite3.OperationalError:  # locked, or cannot be opened: it may be ours all the same
        raise
    except sqlite3.DatabaseError as error:
        raise WrongFileError(_foreign(file)) from error
    if objects and application != APPLICATION:
        raise WrongFileError(_foreign(file))
    return int(version)


def _migrate(connection: sqlite3.Connection, file: Path, migrations: Sequence[str]) -> None:
    version, newest = _version(connection, file), len(migrations)
    if version > newest:
        raise WrongFileError(_newer(file, version, newest))
    if version == 0:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_PAGES * _PAGE_BYTES}")
    if version == newest:
        return
    with closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            version = _version(connection, file)  # another worker may have been quicker
            for steps in migrations[version:]:
                for step in steps.split(";"):
                    cursor.execute(step)
            cursor.execute(f"PRAGMA application_id = {APPLICATION}")
            cursor.execute(f"PRAGMA user_version = {newest}")
            cursor.execute("COMMIT")
        except BaseException:
            cursor.execute("ROLLBACK")
            raise


def _newer(file: Path, version: int, known: int = VERSION) -> str:
    return (
        f"{file} was written by a newer spanserve-local (its schema is {version}, this one knows "
        f"{known}); upgrade spanserve-local, or set tracing.local.path to another file"
    )


def _foreign(file: Path) -> str:
    return (
        f"{file} is no file of spanserve's traces, or is broken; move it away, or set "
        "tracing.local.path to another file"
    )
