"""`spanserve traces`: the file in the terminal, with a server that runs or without."""

import json
import re
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from spanserve import ConfigError, settings_of
from spanserve_local.place import file_of
from spanserve_local.settings import LocalSettings, seconds
from spanserve_local.store.reader import Reader
from spanserve_local.views import listing, terminal
from spanserve_local.views import trace as traces
from spanserve_local.views.breakdown import breakdown as broken_down
from spanserve_local.views.filters import STATUS, Filters, KindName
from spanserve_local.views.otlp import otlp
from spanserve_local.views.zipkin import zipkin

Form = Literal["text", "json", "otlp", "zipkin"]

_POLL_S: Final = 0.3
_OVERLAP_MS: Final = 60_000.0
_MAX_FOLLOWED: Final = 1000

app = typer.Typer(
    help="List, show and follow the traces that `tracing.type: local` keeps.",
    epilog="Example: spanserve traces list --status error",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Where = Annotated[
    Path | None,
    typer.Option("--path", help="The file; else tracing.local.path's, else the user's own."),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The config file; without it, SPANSERVE_CONFIG's."),
]
Endpoint = Annotated[str | None, typer.Option("--endpoint", "-e", help="Of this endpoint.")]
Since = Annotated[
    str | None, typer.Option(help="No older than this, as 90s, 10m, 2h or 1d; else all there are.")
]
Kind = Annotated[KindName | None, typer.Option(help="Requests, batches, or others.")]
Status = Annotated[str | None, typer.Option(help="A code, 4xx, 5xx or error.")]
MinMs = Annotated[float | None, typer.Option(help="That took this long, at least, in ms.")]
Text = Annotated[str | None, typer.Option(help="With this text in a name or an attribute.")]
AsJson = Annotated[bool, typer.Option("--json", help="A line of JSON for each.")]


@app.command("list", epilog="Example: spanserve traces list --endpoint /predict --sort duration")
def list_traces(
    *,
    endpoint: Endpoint = None,
    kind: Kind = None,
    status: Status = None,
    min_ms: MinMs = None,
    text: Text = None,
    since: Since = None,
    sort: Annotated[listing.Sort, typer.Option(help="By what.")] = "start",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 20,
    as_json: AsJson = False,
    path: Where = None,
    config: Config = None,
) -> None:
    """List the newest traces, or the slowest: `--sort duration`."""
    filters = _filters(endpoint, kind, status, min_ms, text, since)
    with _reading(path, config) as reader:
        found = listing.traces(reader, filters, sort=sort, limit=limit)
    if not as_json and found["traces"]:
        typer.echo(terminal.HEADING)
    for entry in found["traces"]:
        typer.echo(json.dumps(entry) if as_json else terminal.line(entry))
    if found["next"] and not as_json:
        typer.echo(f"... and more: --limit {limit * 5}")


@app.command(epilog="Example: spanserve traces show 5b8aa5a2d2c872e8")
def show(
    trace_id: Annotated[
        str, typer.Argument(help="The trace's id, or its first digits.", metavar="ID")
    ],
    *,
    span: Annotated[
        str | None, typer.Option(help="Only this span and what is below it: 16 hex digits.")
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="text, json, or a file for OpenTelemetry or Zipkin.")
    ] = "text",
    path: Where = None,
    config: Config = None,
) -> None:
    """Show a trace as a waterfall."""
    with _reading(path, config) as reader:
        whole_id = _whole_id(reader, trace_id)
        resource, spans = traces.whole(reader, whole_id)
        spans = traces.subtree(spans, span)
    if form == "text":
        for line in traces.text(spans, whole_id):
            typer.echo(line)
        return
    made: Mapping[Form, Callable[[], Any]] = {
        "json": lambda: traces.shown(whole_id, resource, spans),
        "otlp": lambda: otlp(resource, spans),
        "zipkin": lambda: zipkin(resource, spans),
    }
    typer.echo(json.dumps(made[form](), indent=1))


@app.command(epilog="Example: spanserve traces follow --min-ms 100")
def follow(
    *,
    endpoint: Endpoint = None,
    kind: Kind = None,
    status: Status = None,
    min_ms: MinMs = None,
    text: Text = None,
    as_json: AsJson = False,
    path: Where = None,
    config: Config = None,
) -> None:
    """Show traces as they come, until Ctrl-C."""
    filters = _filters(endpoint, kind, status, min_ms, text, None)
    if not as_json:
        typer.echo(terminal.HEADING)
    with _reading(path, config) as reader:
        try:
            for entry in _coming(reader, filters):
                typer.echo(json.dumps(entry) if as_json else terminal.line(entry))
        except KeyboardInterrupt:
            return


@app.command(epilog="Example: spanserve traces breakdown --endpoint /predict --since 10m")
def breakdown(
    *,
    endpoint: Endpoint = None,
    since: Since = None,
    as_json: AsJson = False,
    path: Where = None,
    config: Config = None,
) -> None:
    """Say where the time of requests goes, and what to change."""
    filters = _filters(endpoint, None, None, None, None, since)
    with _reading(path, config) as reader:
        found = broken_down(reader, filters)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for line in terminal.breakdown(found):
        typer.echo(line)


def _filters(  # noqa: PLR0917  # as the options
    endpoint: str | None,
    kind: KindName | None,
    status: str | None,
    min_ms: float | None,
    text: str | None,
    since: str | None,
) -> Filters:
    if status is not None and not re.fullmatch(STATUS, status):
        raise ConfigError(f"--status is a code, 4xx, 5xx or error, not {status!r}")
    try:
        since_ms = None if since is None else (time.time() - seconds(since)) * 1000
    except ValueError as error:
        raise ConfigError(f"--since: {error}") from error
    return Filters(
        endpoint=endpoint, kind=kind, status=status, min_ms=min_ms, text=text, since_ms=since_ms
    )


@contextmanager
def _reading(path: Path | None, config: Path | None) -> Iterator[Reader]:
    """Give what reads the file, and say in one line what is wrong with it."""
    if path is None:
        settings = settings_of("local", config)
        path = settings.path if isinstance(settings, LocalSettings) else None
    file = file_of(path)
    if not file.exists():
        raise ConfigError(
            f"there are no traces in {file}: serve with tracing.type: local, or name another file "
            "by --path or --config"
        )
    reader = Reader(file)
    try:
        yield reader
    except traces.NoTraceError as error:
        raise ConfigError(str(error)) from error
    except (sqlite3.Error, zlib.error, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    finally:
        reader.close()


def _whole_id(reader: Reader, given: str) -> str:
    """Return the one id that begins so; raises ConfigError."""
    given = given.strip().lower()
    if not re.fullmatch("[0-9a-f]{4,32}", given):
        raise ConfigError(f"a trace's id is 32 hex digits, or the first of them, not {given!r}")
    found = listing.ids_that_begin(reader, given)
    if not found:
        raise ConfigError(f"there is no trace {given} in the file; it may be let go")
    if len(found) > 1:
        raise ConfigError(f"{len(found)} traces begin with {given}, as {found[0]} and {found[1]}")
    return found[0]


def _coming(reader: Reader, filters: Filters) -> Iterator[dict[str, Any]]:
    """Yield entries as they come, those of the last minute first."""
    seen: dict[tuple[str, str], None] = {}
    since_ms = time.time() * 1000
    while True:
        window = Filters(
            **{**_members(filters), "since_ms": since_ms - _OVERLAP_MS},
        )
        found = listing.traces(reader, window, limit=_MAX_FOLLOWED)["traces"]
        for entry in reversed(found):
            key = entry["trace_id"], entry["span_id"]
            if key not in seen:
                seen[key] = None
                yield entry
        for key in list(seen)[: -10 * _MAX_FOLLOWED]:
            del seen[key]
        since_ms = max([since_ms, *(entry["start_ms"] for entry in found)])
        time.sleep(_POLL_S)


def _members(filters: Filters) -> dict[str, Any]:
    return {name: getattr(filters, name) for name in Filters.__dataclass_fields__}
