"""All commands: spanserve's own, and those that other distributions add."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from typer.core import TyperGroup

from spanserve.errors import SpanserveError

if TYPE_CHECKING:
    from spanserve.tracing.plugins.commands import PluginCommands

WRONG_USE: Final = 2


class Commands(TyperGroup):
    """Commands whose own errors are one message and exit code 2, never a traceback.

    Those that other distributions add are imported when they are asked for, and for the help.
    """

    _added: "PluginCommands | None" = None

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, the added ones last."""
        return [*super().list_commands(ctx), *self._plugins().names()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; None where there is none."""
        return super().get_command(ctx, cmd_name) or self._plugins().get(cmd_name)

    def _plugins(self) -> "PluginCommands":
        if self._added is None:
            from spanserve.tracing.plugins.commands import PluginCommands  # noqa: PLC0415  # help is quick

            self._added = PluginCommands(frozenset(self.commands), _warn)
        return self._added

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SpanserveError as error:
            raise _ended(str(error)) from error
        except FileNotFoundError as error:
            if _has_current_folder():
                raise
            raise _ended("the current folder is gone; go to one that is there") from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; a service in its place was meant to be served."""
        if args and args[0] not in self.commands and _may_be_service(args[0]):
            words = " ".join(map(shlex.quote, args))
            raise SpanserveError(f"{args[0]!r} is no command; try: spanserve serve {words}")
        if args and args[0] not in self.commands and self._plugins().may_be(args[0]):
            self._plugins().load(args[0])  # raises what is wrong with it
        return super().resolve_command(ctx, args)


def _warn(message: str) -> None:
    typer.echo(f"warning: {message}", err=True)


def _ended(message: str) -> typer.Exit:
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(WRONG_USE)


def _has_current_folder() -> bool:
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


def _may_be_service(word: str) -> bool:
    return not word.startswith("-") and (":" in word or word.endswith(".py") or Path(word).is_dir())
