"""The keys that the server takes, from the configuration and from a file that may change.

Of each key only a digest is kept, made with a secret of this process. What a guess is compared with
is unknown to whoever guesses, so that the time it takes tells nothing.
"""

import asyncio
import hashlib
import logging
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from spanserve.config.access import AuthConfig, KeyConfig
from spanserve.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
_MOST_FILE_BYTES: Final = 1 << 20
_LINE: Final = re.compile(r"(?:(?P<name>[^\s:]+):\s+)?(?P<key>\S+)")


class KeyRing:
    """Whose key a text is."""

    def __init__(self, auth: AuthConfig) -> None:
        """Read the keys; raises ConfigError where the file has none or cannot be read."""
        self._secret = secrets.token_bytes(32)
        self._configured = auth.keys
        self._file = None if auth.key_file is None else Path(auth.key_file)
        self._seen: object = None
        self._owners: Mapping[bytes, str] = {}
        self.changes = 0
        """How often the keys were read again: what was said of a key before may not hold."""
        self.errors = 0
        """How often the file had changed and could not be used."""
        self._load()

    def owner(self, key: bytes) -> str | None:
        """Return the name of a key, empty where it has none; None: it is no key."""
        return self._owners.get(self._digest(key))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Read the file again, meanwhile, when it has changed."""
        if self._file is None:
            yield
            return
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                if await asyncio.to_thread(self._has_changed):
                    await asyncio.to_thread(self._load)
                    self.changes += 1
                    log.info("server.auth.key_file was read again: %d keys", len(self._owners))
            except ConfigError as error:
                self.errors += 1
                log.warning("%s; the keys that were read before go on to hold", error)

    def _has_changed(self) -> bool:
        assert self._file is not None  # noqa: S101  # else nobody watches
        try:
            seen = _identity(self._file.stat())
        except OSError:
            seen = None
        changed = seen != self._seen
        self._seen = seen  # a file that cannot be read is told of once
        return changed

    def _load(self) -> None:
        keys = [*self._configured, *self._keys_of_file()]
        self._owners = {
            self._digest(each.key.get_secret_value().encode()): each.name or "" for each in keys
        }

    def _keys_of_file(self) -> Iterable[KeyConfig]:
        if self._file is None:
            return ()
        try:
            self._seen = _identity(self._file.stat())
            with self._file.open(encoding="utf-8") as file:
                text = file.read(_MOST_FILE_BYTES)
            found = _keys_of(text)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"server.auth.key_file {self._file} cannot be used: {why}") from None
        if not found:
            raise ConfigError(f"server.auth.key_file {self._file} has no key; a line has one")
        return found

    def _digest(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, key=self._secret, digest_size=32).digest()


def _identity(stat: os.stat_result) -> object:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _keys_of(text: str) -> list[KeyConfig]:
    """Return the keys of a file's lines; raises ValueError, which says in which line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        try:
            found.append(KeyConfig.model_validate(match.groupdict() if match else None))
        except ValueError:
            raise ValueError(f"line {number} is neither a key nor `name: key`") from None
    return found
