"""Commands that other distributions add to the command line: entry points of `spanserve.commands`.

Such an entry point leads to a `typer.Typer`, or to a function that becomes one command.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, Final

import typer
from typer.main import get_command

from spanserve.config.entries import sound_entry_points
from spanserve.errors import ConfigError
from spanserve.tracing.model.attributes import one_line
from spanserve.tracing.model.failure import told

GROUP: Final = "spanserve.commands"

KNOWN_DISTRIBUTIONS: Final = {"traces": "spanserve-local"}
"""Commands of ours that come in distributions of their own."""


class PluginCommands:
    """The added commands; none is imported before it is asked for.

    `own` are the names that are taken. What cannot be used is told once, and left out.
    """

    def __init__(self, own: frozenset[str], tell: Callable[[str], None]) -> None:
        self._own = own
        self._tell = tell
        self._found: dict[str, EntryPoint] | None = None
        self._loaded: dict[str, Any] = {}

    def names(self) -> list[str]:
        """Return the names of all that can be imported, sorted."""
        return [name for name in sorted(self._entry_points()) if self.get(name) is not None]

    def may_be(self, name: str) -> bool:
        """Say whether somebody adds a command of this name, or would if that were installed."""
        return name in self._entry_points() or name in KNOWN_DISTRIBUTIONS

    def get(self, name: str) -> Any:
        """Return a command; None where there is none, or where it cannot be used."""
        if name not in self._entry_points():
            return None
        if name not in self._loaded:
            try:
                self._loaded[name] = self.load(name)
            except ConfigError as error:
                self._tell(f"{error}; it is passed over")
                self._loaded[name] = None
        return self._loaded[name]

    def load(self, name: str) -> Any:
        """Import a command; raises ConfigError where that cannot be, or there is none."""
        entry_point = self._entry_points().get(name)
        if entry_point is None:
            if name in KNOWN_DISTRIBUTIONS:
                raise ConfigError(
                    f"command '{name}' is not installed; try: pip install "
                    f"{KNOWN_DISTRIBUTIONS[name]}"
                )
            raise ConfigError(f"there is no command '{name}'")
        try:
            return _command(entry_point.load(), name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            why = one_line(str(error)) if isinstance(error, ImportError) else told(error)
            raise ConfigError(f"{_described(entry_point)} cannot be used: {why}") from error

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._found is None:
            self._found = {}
            for each in sound_entry_points(GROUP):
                if each.name in self._own:
                    self._tell(f"{_described(each)} is passed over: spanserve has one of that name")
                elif (other := self._found.get(each.name)) is not None:
                    self._tell(f"{_described(each)} is passed over: so has {_described(other)}")
                else:
                    self._found[each.name] = each
        return self._found


def _command(target: object, name: str) -> Any:
    if not isinstance(target, typer.Typer):
        if not callable(target):
            raise TypeError(f"wanted a typer.Typer or a function, got {type(target).__name__}")
        function, target = target, typer.Typer(add_completion=False)
        target.command(name)(function)
    command = get_command(target)
    command.name = name
    return command


def _described(entry_point: EntryPoint) -> str:
    dist = entry_point.dist
    source = f"{dist.name} {dist.version}" if dist else "an unknown distribution"
    return f"command '{entry_point.name}' (from {source})"
