"""The command line. Each command imports what it needs when it runs, so that help is quick."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spanserve.commands.group import Commands
from spanserve.commands.loopback import keep_loopback_direct
from spanserve.errors import SpanserveError

if TYPE_CHECKING:
    from spanserve.config.load import Loaded

FAILED = 1

app = typer.Typer(
    name="spanserve",
    cls=Commands,
    help="Serve machine-learning models, and see where the time of every request went.",
    epilog="Example: spanserve serve service.py",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line of this process."""
    keep_loopback_direct(os.environ)
    app()


def _loaded(file: Path | None, given: Mapping[str, object]) -> "Loaded":
    """Load the configuration; what OpenTelemetry's library cannot use is gone afterwards.

    To be called before what imports that library, as FastAPI does.
    """
    from spanserve.config.load import load  # noqa: PLC0415  # see the module's first line
    from spanserve.config.opentelemetry import withdraw  # noqa: PLC0415  # ditto

    loaded = load(file, os.environ, given)
    withdraw(os.environ)
    return loaded


def _refuse_windows() -> None:
    if platform.system() == "Windows":
        raise SpanserveError(
            "spanserve does not serve on Windows: it needs POSIX signals, locks and Unix sockets; "
            "run it in WSL or in a container (`spanserve bundle` makes a Dockerfile)"
        )


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer's callback
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  # see the module's first line

        typer.echo(f"spanserve {version('spanserve')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


@app.command(epilog="Example: spanserve serve service.py --config c.yml --port 8080")
def serve(
    service: Annotated[
        str, typer.Argument(help="A .py file with a service, module:Class, or a bundle's folder.")
    ],
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The config file; without it, SPANSERVE_CONFIG's."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", help="The port to listen on; 0: any free one.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", help="Processes that serve.")
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when the service's files change.")
    ] = False,
    reload_on_any_host: Annotated[
        bool, typer.Option("--reload-on-any-host", help="Let --reload listen beyond this machine.")
    ] = False,
) -> None:
    """Serve a .py file, module:Class or bundle over HTTP, until Ctrl-C or SIGTERM drains it."""
    _refuse_windows()
    given = {"server.host": host, "server.port": port, "server.workers": workers}
    loaded = _loaded(config, given)
    if reload:
        from spanserve.commands.reload import serve_reloading  # noqa: PLC0415  # see the first line

        options = {"--config": config, "--host": host, "--port": port, "--workers": workers}
        words = [f"{name}={value}" for name, value in options.items() if value is not None]
        if code := serve_reloading(
            service, loaded, [service, *words], on_any_host=reload_on_any_host
        ):
            raise typer.Exit(code)
        return
    from spanserve.commands.serve import serve as run  # noqa: PLC0415  # see the module's first line

    run(service, loaded)


@app.command(epilog="Example: spanserve bundle service.py --output made --with spanserve-zipkin")
def bundle(
    service: Annotated[
        str, typer.Argument(help="A .py file with a service, module:Class, or a bundle's folder.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to make.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace a bundle that was made there before.")
    ] = False,
    version: Annotated[
        str | None, typer.Option("--version", help="The bundle's version, any text.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Take these files too, a pattern; may be repeated.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave these files out, a pattern; may be repeated.")
    ] = None,
    requirements: Annotated[
        Path | None,
        typer.Option("--requirements", "-r", help="A file in place of the requirements.txt there."),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Option("--with", help="One more requirement, as spanserve-zipkin; may be repeated."),
    ] = None,
    wheels: Annotated[
        Path | None, typer.Option(help="A folder of wheels that no index has.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Make the service of the bundle alone; exit code 1 if it needs more."
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The config file with the settings for --check."),
    ] = None,
) -> None:
    """Make a folder with a service, all it needs, and a Dockerfile."""
    from spanserve.commands.bundle import Wishes  # noqa: PLC0415  # see the module's first line
    from spanserve.commands.bundle import bundle as run  # noqa: PLC0415  # ditto

    wishes = Wishes(
        version=version,
        include=include or (),
        exclude=exclude or (),
        requirements=requirements,
        extra=extra or (),
        wheels=wheels,
        force=force,
        check=check,
        loaded=_loaded(config, {}) if check else None,
    )
    if not run(service, output, wishes, typer.echo):
        raise typer.Exit(FAILED)


@app.command(epilog="Example: spanserve demo --output digits")
def demo(
    *,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A config file whose tracers get the traces."),
    ] = None,
    clients: Annotated[int, typer.Option(min=1, max=1000, help="Concurrent clients.")] = 32,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder in which to keep the bundle.")
    ] = None,
    port: Annotated[
        int, typer.Option("--port", "-p", min=0, max=65_535, help="The port; 0: any free one.")
    ] = 0,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep", help="Stay up with a light load, to look at traces; Ctrl-C ends it."
        ),
    ] = False,
) -> None:
    """Train a classifier, serve it, ask it, and show where the time of a request went."""
    from importlib.util import find_spec  # noqa: PLC0415  # see the module's first line

    if not (find_spec("sklearn") and find_spec("httpx")):
        raise SpanserveError(
            "the demo needs scikit-learn and httpx; try: pip install 'spanserve[demo]'"
        )
    from spanserve.commands.demo.run import demo as run  # noqa: PLC0415  # ditto

    if code := run(config, clients=clients, output=output, port=port, keep=keep):
        raise typer.Exit(code)


@app.command(epilog="Example: spanserve check c.yml --send")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="The config file; without one, SPANSERVE_CONFIG names it.")
    ] = None,
    *,
    send: Annotated[
        bool,
        typer.Option("--send", help="Send a test trace to each tracer; exit code 1 if one fails."),
    ] = False,
    service: Annotated[
        str | None,
        typer.Option("--service", "-s", help="The service whose own settings are checked, too."),
    ] = None,
) -> None:
    """Print the effective configuration with the source of each value, and the live tracers."""
    from spanserve.commands.check import aligned, checked, report  # noqa: PLC0415  # ditto
    from spanserve.tracing.plugins.registry import load_tracers  # noqa: PLC0415  # ditto

    loaded = _loaded(file, {})
    tracers = load_tracers(loaded.config.tracing, sources=loaded.sources)
    if loaded.config.server.auth is not None:
        from spanserve.server.access.keys import KeyRing  # noqa: PLC0415  # ditto

        KeyRing(loaded.config.server.auth)
    settings, runner = checked(service, loaded)
    for text, comment in aligned(report(loaded, tracers, settings, runner)):
        typer.echo(text + typer.style(comment, dim=True))
    if send:
        from spanserve.commands.send import send_all  # noqa: PLC0415  # ditto

        # As comments, so that all of it is still a config.
        if not send_all(loaded.config.tracing, tracers, lambda line: typer.echo(f"# {line}")):
            raise typer.Exit(FAILED)


@app.command(epilog="Example: spanserve tracers")
def tracers() -> None:
    """List the installed tracers with their hooks and settings."""
    from spanserve.commands.tracers import listing  # noqa: PLC0415  # see the module's first line
    from spanserve.config.opentelemetry import withdraw  # noqa: PLC0415  # ditto
    from spanserve.tracing.plugins.registry import installed_tracers  # noqa: PLC0415  # ditto

    withdraw(os.environ)
    for line in listing(installed_tracers()):
        typer.echo(line)


@app.command(epilog="Example: spanserve runners")
def runners() -> None:
    """List the installed runners, where a model can run, with their settings."""
    from spanserve.commands.runners import listing  # noqa: PLC0415  # see the module's first line
    from spanserve.running.discovery import installed_runners  # noqa: PLC0415  # ditto

    for line in listing(installed_runners()):
        typer.echo(line)


@app.command(epilog="Example: spanserve schema > spanserve.schema.json")
def schema() -> None:
    """Print a JSON Schema of the config file, for editors, with the sections of all plugins."""
    import json  # noqa: PLC0415  # see the module's first line

    from spanserve.commands.schema import config_schema  # noqa: PLC0415  # ditto
    from spanserve.config.opentelemetry import withdraw  # noqa: PLC0415  # ditto
    from spanserve.running.discovery import installed_runners  # noqa: PLC0415  # ditto
    from spanserve.tracing.plugins.registry import installed_tracers  # noqa: PLC0415  # ditto

    withdraw(os.environ)
    typer.echo(json.dumps(config_schema(installed_tracers(), installed_runners()), indent=2))


@app.command(epilog="Example: spanserve new service digits")
def new(
    kind: Annotated[Literal["tracer", "service"], typer.Argument(help="tracer or service.")],
    name: Annotated[str, typer.Argument(help="Its name, in small letters.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder; else ./NAME.")
    ] = None,
) -> None:
    """Write a project to begin with, that passes its own tests."""
    from spanserve.commands.new.project import new_project  # noqa: PLC0415  # see the first line

    for file in new_project(kind, name, output or Path(name)):
        typer.echo(f"wrote {file}")
