"""The tracer `console`: each finished trace as a tree, on the terminal or in a file."""

import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console as Terminal

from spanserve import ConfigError, ExportResult, Span, hookimpl
from spanserve.tracers.timeline import render
from spanserve.tracers.tree import by_trace

_FILE_WIDTH = 120


class ConsoleSettings(BaseModel):
    """The section `tracing.console`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: str = Field(
        default="stderr",
        min_length=1,
        description="Where traces are printed: `stderr`, `stdout`, or a file to append to",
    )
    colour: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether to colour: `auto` does on a terminal, unless NO_COLOR is set",
    )


class Console:
    """Prints each trace as one tree, in the order in which they finish."""

    def __init__(self) -> None:
        self._output: _Output | None = None
        self._opened = contextlib.ExitStack()

    @hookimpl
    def tracer_settings(self) -> type[BaseModel]:
        """See `hookspecs`."""
        return ConsoleSettings

    @hookimpl
    def tracer_target(self, settings: ConsoleSettings) -> str:
        """See `hookspecs`; of a file, its path. ConfigError: it cannot be one."""
        path = _path(settings)
        if path is None:
            return settings.output
        if path.is_dir():
            raise ConfigError(f"output: {path} is a folder; name a file in it")
        if not path.absolute().parent.is_dir():
            raise ConfigError(
                f"output: there is no folder {path.absolute().parent} for {path.name}"
            )
        return str(path)

    @hookimpl
    def tracer_started(self, settings: ConsoleSettings) -> None:
        """Open the output; ConfigError where a file cannot be opened."""
        path = _path(settings)
        if path is not None:
            try:
                stream: IO[str] = self._opened.enter_context(path.open("a", encoding="utf-8"))
            except OSError as error:
                raise ConfigError(
                    f"tracing.console.output: {path} cannot be opened: {error.strerror}"
                ) from error
        else:
            stream = sys.stderr if settings.output == "stderr" else sys.stdout
        self._output = _Output(stream, settings.colour)

    @hookimpl
    def export_spans(self, spans: Sequence[Span]) -> ExportResult | None:
        """Print; what could not be written is rejected, since a closed terminal stays closed."""
        if self._output is None:
            return ExportResult(rejected=len(spans), reason="the console is not open")
        delivered = 0
        for trace in by_trace(spans):
            try:
                self._output.write(trace)
            except (OSError, ValueError) as error:  # ValueError: the stream was closed
                return ExportResult(delivered, rejected=len(spans) - delivered, reason=str(error))
            delivered += len(trace)
        return None

    @hookimpl
    def tracer_stopping(self) -> None:
        """Close the file, if it is one."""
        self._output = None
        with contextlib.suppress(OSError):  # a full disk: its spans are counted as rejected
            self._opened.close()


def _path(settings: ConsoleSettings) -> Path | None:
    if settings.output in ("stderr", "stdout"):
        return None
    return Path(settings.output).expanduser()


class _Output:
    """A stream, and a page of memory on which rich draws what is then written in one piece.

    In one piece, so that traces of several processes do not mix; and not by rich, which
    exits the process where a pipe is broken.
    """

    def __init__(self, stream: IO[str], colour: Literal["auto", "always", "never"]) -> None:
        self._stream = stream
        self._terminal = _terminal(stream, colour)
        self._page = _Page(self._terminal.encoding)
        self._drawing = Terminal(
            file=self._page,
            color_system="standard" if self._terminal.color_system else None,
            force_terminal=self._terminal.is_terminal,
            no_color=self._terminal.no_color,
        )

    def write(self, trace: Sequence[Span]) -> None:
        """Write a trace as a tree; OSError, or ValueError where the stream was closed."""
        self._drawing.width = self._terminal.width
        self._drawing.print(render(trace), crop=False)
        self._stream.write(self._page.torn_off() + "\n")
        self._stream.flush()


class _Page(io.StringIO):
    """Text in memory that rich takes to have the encoding of the real output."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed gives a StringIO no encoding
        return self._encoding

    def torn_off(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


def _terminal(stream: IO[str], colour: Literal["auto", "always", "never"]) -> Terminal:
    # Off a terminal, rich would take the width of whatever terminal is at hand.
    width = None if stream.isatty() else _FILE_WIDTH
    if colour == "always":
        return Terminal(
            file=stream, width=width, color_system="standard", force_terminal=True, no_color=False
        )
    return Terminal(file=stream, width=width, color_system=None if colour == "never" else "auto")
