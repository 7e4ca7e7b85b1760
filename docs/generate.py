# ruff: noqa: INP001  # a script, in no package
"""Write the reference pages from the code: `python docs/generate.py [--check]`.

With `--check` nothing is written: it exits with 1 and names each page that is stale.
"""

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import httpx
import typer.main
from generating.places import ATTRIBUTE_PLACES, SPAN_PLACES
from generating.settings import rows, section
from generating.text import code, doc, in_source_order, methods, signature, table
from prometheus_client.parser import text_string_to_metric_families

import spanserve
import spanserve.testing
from spanserve.cli import app as cli
from spanserve.config.load import load as load_config
from spanserve.config.model import Config
from spanserve.config.service_settings import SECTION
from spanserve.running.discovery import DEFAULT as DEFAULT_RUNNER
from spanserve.running.discovery import SECTION as RUNNER
from spanserve.running.discovery import installed_runners
from spanserve.server.app import create_app
from spanserve.server.http.answer import (
    CODES,
    GONE_CODE,
    LATE_CODE,
    MALFORMED_CODE,
    NO_ROOM_CODE,
    ErrorBody,
)
from spanserve.service.bundle.load import load as load_service
from spanserve.tracing import hookspecs
from spanserve.tracing.model import names
from spanserve.tracing.model.span import Resource
from spanserve.tracing.plugins.loading import hook_names
from spanserve.tracing.plugins.registry import installed_tracers, load_tracers
from spanserve.tracing.tracing import Tracing
from spanserve_local.commands import app as traces_cli

DOCS: Final = Path(__file__).resolve().parent
REFERENCE: Final = DOCS / "reference"
OWN_TRACERS: Final = ("console", "jaeger", "local", "otel", "zipkin")
NOTE: Final = "<!-- Made by docs/generate.py: change the code, or the text there. -->\n"
LABEL: Final = re.compile(r"^([A-Z][a-z]+(?:, \w+ and \w+)?):")

ERROR_MEANINGS: Final = {
    400: "The body is not what its content type says; the body is not JSON",
    401: "`server.auth` wants a key, and there is none or a wrong one",
    404: "There is no such path",
    405: "The path answers another method; inference routes answer POST",
    406: "`Accept` takes no format that the endpoint answers in",
    413: "The body has more than `server.max_request_bytes`, or `server.max_json_bytes` of JSON",
    415: "`Content-Type` or `Content-Encoding` is none that the endpoint reads",
    422: "The item has the wrong shape or type; `details` names the places",
    429: "`max_queue` items wait already; `Retry-After` says in how many seconds to try again",
    500: "The service raised, or gave back what cannot be an answer; the log says what",
    503: "The server is stopping",
    504: "The answer took longer than `server.request_timeout_ms`, or than the request's header "
    "`X-Request-Timeout-Ms` allows",
    408: "The head or the body did not come in time: `server.header_timeout_s`, "
    "`server.body_timeout_s`, or the time that the answer may take",
    414: "The URL has more than `server.max_header_bytes`",
    431: "There are more than 128 headers, or they have more than `server.max_header_bytes`",
    501: "`Transfer-Encoding` is another than `chunked`",
    505: "The request speaks another version than HTTP/1.1 and HTTP/1.0",
}
GONE_MEANING: Final = "the model's thread ended; the server must be started again"
MALFORMED_MEANING: Final = (
    "What came is no HTTP request that is taken: its syntax, its `Host`, or how its body is sent"
)
NO_ROOM_MEANING: Final = (
    "The bodies that are being read fill `server.max_buffered_bytes`; `Retry-After` as above"
)
LATE_MEANING: Final = (
    "The deadline (`server.request_timeout_ms`, `X-Request-Timeout-Ms`) would pass before the "
    "answer, by what was learned of the run time; `Retry-After` as above"
)


def main(arguments: Sequence[str]) -> int:
    """Write the pages that are stale, or only name them; returns the exit code."""
    check = "--check" in arguments
    stale = {name: text for name, text in pages().items() if _differs(REFERENCE / name, text)}
    for name, text in stale.items():
        if check:
            sys.stdout.write(f"stale: docs/reference/{name}; run: python docs/generate.py\n")
        else:
            (REFERENCE / name).write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote docs/reference/{name}\n")
    return 1 if check and stale else 0


def pages() -> dict[str, str]:
    """Return the text of every reference page, by its file's name."""
    makers: Mapping[str, Callable[[], Iterator[str]]] = {
        "api.md": _api,
        "cli.md": _cli,
        "configuration.md": _configuration,
        "errors.md": _errors,
        "hooks.md": _hooks,
        "metrics.md": _metrics,
        "spans.md": _spans,
    }
    return {name: "\n".join([NOTE, *make()]).rstrip() + "\n" for name, make in makers.items()}


def _differs(file: Path, text: str) -> bool:
    return not file.is_file() or file.read_text(encoding="utf-8") != text


def _hooks() -> Iterator[str]:
    yield "# Hooks\n"
    yield doc(hookspecs) + "\n"
    yield "[Write a tracer](../how-to/write-a-tracer.md) shows a whole one in ten lines.\n"
    for name in in_source_order(hookspecs, hook_names()):
        yield f"## {name}\n"
        yield code(signature(getattr(hookspecs, name)))
        yield _contract(doc(getattr(hookspecs, name)))
    yield "## ExportResult\n"
    yield code(signature(hookspecs.ExportResult))
    yield doc(hookspecs.ExportResult) + "\n"


def _contract(text: str) -> str:
    """Return a hook's docstring with its labels in bold, each in a paragraph of its own."""
    lines: list[str] = []
    for line in text.splitlines():
        labelled = LABEL.sub(r"**\1:**", line)
        ended = bool(lines) and lines[-1].endswith(".")
        if line and (labelled != line or (ended and lines[-1].startswith("**"))):
            lines.append("")
        lines.append(labelled)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def _configuration() -> Iterator[str]:
    yield "# Configuration\n"
    yield """\
`spanserve serve` reads one YAML file (`--config FILE`, else `SPANSERVE_CONFIG`). No key is
required. The strongest source wins: the command line, the environment
(`SPANSERVE__TRACING__TYPE=jaeger`), the file, OpenTelemetry's own variables
(`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_PROPAGATORS`), the default.
`spanserve check FILE` prints the outcome with the source of each value.
[Configure](../how-to/configure.md) has examples.
"""
    for name, field in Config.model_fields.items():
        yield f"## {name}\n"
        yield f"{field.description}.\n"
        if name == RUNNER:
            yield from _runners()
            continue
        if name == SECTION:
            yield "[Declare settings of your own](../how-to/declare-settings.md) says how.\n"
            continue
        yield table(("key", "type", "default", "meaning"), rows(section(field), f"{name}."))
    yield "## Tracers\n"
    yield "The section of a tracer is read where `tracing.type` names it, and only there.\n"
    found = {tracer.name: tracer for tracer in installed_tracers()}
    for name in OWN_TRACERS:
        plugin = found[name].plugin
        if plugin is None:
            raise RuntimeError(f"the tracer {name} cannot be loaded: {found[name].error}")
        yield f"### tracing.{name}\n"
        yield f"From the distribution `{found[name].distribution}`.\n"
        own = rows(plugin.settings_model, f"tracing.{name}.")
        yield table(("key", "type", "default", "meaning"), own)


def _runners() -> Iterator[str]:
    yield (
        "What stands here beside `type` is the runner's own. A service may say the same of itself, "
        'in `@service(runner="process")`; the configuration is stronger. '
        "[Run replicas](../how-to/run-replicas.md) says how.\n"
    )
    found = installed_runners()
    names = ", ".join(f"`{each.name}`" for each in found)
    own = [("`runner.type`", "text", f"`{DEFAULT_RUNNER}`", f"Where the model runs: {names}")]
    yield table(("key", "type", "default", "meaning"), own)
    for each in found:
        model = each.settings_model
        if model is not None and model.model_fields:
            yield f"With `type: {each.name}`:\n"
            yield table(("key", "type", "default", "meaning"), rows(model, "runner."))


def _spans() -> Iterator[str]:
    constants = {key: text for key, text in vars(names).items() if key.isupper()}
    unplaced = constants.keys() ^ (SPAN_PLACES.keys() | ATTRIBUTE_PLACES.keys())
    if unplaced:
        raise RuntimeError(f"say in docs/generating/places.py where these are: {sorted(unplaced)}")
    yield "# Spans and attributes\n"
    yield doc(names).partition("\n\n")[2] + "\n"
    yield "[The tracing model](../explanation/tracing-model.md) tells what they are for.\n"
    yield "## Spans\n"
    root = (
        "`{method} {route}`",
        "a request: the root, or under the caller's span; kind `server`, the others `internal`",
    )
    spans = [(f"`{constants[key]}`", place) for key, place in SPAN_PLACES.items()]
    yield table(("span", "where it stands"), [root, *spans])
    yield "In a batch of one, `collate`, `run` and `split` stand under the request.\n"
    yield "## Attributes\n"
    placed = [(f"`{constants[key]}`", *place) for key, place in ATTRIBUTE_PLACES.items()]
    yield table(("attribute", "on", "meaning"), placed)


def _cli() -> Iterator[str]:
    yield "# Command line\n"
    yield """\
Exit codes: 0 done, 1 failed, 2 wrong use or a configuration that cannot work (with one message on
stderr), 3 the service could not start.
"""
    group: Any = typer.main.get_command(cli)
    traces: Any = typer.main.get_command(traces_cli)
    below = {f"traces {name}": command for name, command in traces.commands.items()}
    for name, command in {**group.commands, **below}.items():
        if name == next(iter(below)):
            yield "The commands below come with `spanserve-local`.\n"
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        usage = [each.name.upper() for each in arguments]
        wanted = [
            word if each.required else f"[{word}]"
            for word, each in zip(usage, arguments, strict=True)
        ]
        yield f"## spanserve {name}\n"
        yield code(
            " ".join(["spanserve", name, *wanted, *(["[OPTIONS]"] if options else [])]), "text"
        )
        yield f"{command.help}\n"
        told = [(f"`{word}`", each.help) for word, each in zip(usage, arguments, strict=True)]
        told += [(", ".join(f"`{opt}`" for opt in each.opts), _option(each)) for each in options]
        if told:
            yield table(("argument or option", "meaning"), told)
        yield f"Example: `{command.epilog.removeprefix('Example: ')}`\n"


def _option(option: Any) -> str:
    default = "" if option.default is None else f" Default: {option.default}."
    return f"{option.help}{default}"


def _metrics() -> Iterator[str]:
    yield "# Metrics\n"
    yield """\
`GET /metrics` answers in Prometheus' text format, or in OpenMetrics' with exemplars where `Accept`
asks for it. With several workers, any of them tells the numbers of all: counters and histograms
are added up, also those of workers that are too busy to answer or have died; gauges have a label
`worker` (its number, from 0), and `spanserve_worker_up` has a line for each. The label `tracer` is
the tracer's name in `tracing.type`. [How to use them](../how-to/monitor.md).

Metrics that a service makes with `prometheus_client` come along, added up in the same way, and so
do those that this library has of each process (`process_…`, `python_…`).
"""
    told, reasons = [], set()
    for family in text_string_to_metric_families(asyncio.run(_metrics_text())):
        if not family.name.startswith("spanserve_"):
            continue  # of the process, by prometheus_client
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        name = f"{family.name}_total" if family.type == "counter" else family.name
        shown = ", ".join(f"`{label}`" for label in labels)
        told.append((f"`{name}`", family.type, shown, family.documentation))
        if name == "spanserve_spans_dropped_total":
            reasons = {sample.labels["reason"] for sample in family.samples}
    yield table(("metric", "type", "labels", "meaning"), told)
    yield "Reasons of `spanserve_spans_dropped_total`: "
    yield ", ".join(f"`{reason}`" for reason in sorted(reasons)) + ".\n"


async def _metrics_text() -> str:
    """Return what `/metrics` of a real app answers after one request."""
    loaded = load_config(
        None, {"SPANSERVE__TRACING__CONSOLE__OUTPUT": os.devnull}, {"tracing.type": "console"}
    )
    tracers = load_tracers(loaded.config.tracing, sources=loaded.sources)
    service = load_service(str(DOCS / "examples" / "squares" / "service.py"))
    tracing = Tracing(tracers, loaded.config.tracing, Resource("docs", {}))
    app = create_app(loaded.config, service, tracing)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://docs") as client,
    ):
        await client.post("/square", json=3)
        text: str = (await client.get("/metrics")).text
        return text


def _errors() -> Iterator[str]:
    unexplained = CODES.keys() ^ ERROR_MEANINGS.keys()
    if unexplained:
        raise RuntimeError(f"say in docs/generate.py what these mean: {sorted(unexplained)}")
    yield "# Errors\n"
    yield """\
Every error is JSON. `code` is stable; the message is for people and may change. Other statuses,
raised by the service as FastAPI's `HTTPException`, have the code `http_` and the status.
"""
    errors = [(status, code, ERROR_MEANINGS[status]) for status, code in CODES.items()]
    others = [
        (503, GONE_CODE, GONE_MEANING),
        (400, MALFORMED_CODE, MALFORMED_MEANING),
        (429, LATE_CODE, LATE_MEANING),
        (503, NO_ROOM_CODE, NO_ROOM_MEANING),
    ]
    errors = sorted([*errors, *others], key=itemgetter(0))
    rows = [(str(status), f"`{code}`", meaning) for status, code, meaning in errors]
    yield table(("status", "code", "meaning"), rows)
    yield "The body:\n"
    fields = ErrorBody.model_fields.items()
    yield table(
        ("key", "meaning"), [(f"`{name}`", field.description or "") for name, field in fields]
    )
    yield "No answer has a stack trace. It is in the log and in the trace.\n"


def _api() -> Iterator[str]:
    yield "# Python API\n"
    yield "`from spanserve import ...`: these names are public, and those of `spanserve.testing`.\n"
    yield from _names(spanserve)
    yield "# spanserve.testing\n"
    yield f"{doc(spanserve.testing)}\n"
    yield from _names(spanserve.testing)


def _names(module: Any) -> Iterator[str]:
    for name in module.__all__:
        thing = getattr(module, name)
        yield f"## {name}\n"
        if name in OTHERS:
            yield OTHERS[name] + "\n"
            continue
        yield code(signature(thing, made=name in MADE_BY_USERS))
        yield doc(thing) + "\n"
        for method, function in methods(thing):
            if method not in NOT_FOR_USERS and not method.startswith("test_"):
                is_property = isinstance(vars(thing)[method], property)
                yield code(f"{name}.{method if is_property else signature(function)}")
                yield doc(function) + "\n"


MADE_BY_USERS: Final = frozenset({"Array", "span"})
NOT_FOR_USERS: Final = frozenset(
    {"converted", "json_validator", "lists_schema", "pytest_generate_tests"}
)
OTHERS: Final = {
    "HOOKS_VERSION": f"The number of the hooks' contract, {spanserve.HOOKS_VERSION}: it grows with "
    "each hook or argument that is added. 1 was that of spanserve 0.1, without this name.",
    "AttributeValue": "The value of an attribute: text, bool, int, float, or a sequence of them.",
    "Attributes": "A mapping from text to `AttributeValue`.",
    "SAMPLES": "What makes spans of each shape, by its name: "
    f"{', '.join(spanserve.testing.SAMPLES)}. Each call returns others, of now: records for "
    "`spans_of`.",
    "Fault": "How a backend misbehaves: `dead` (it is not there), `slow` (it takes what comes and "
    "does not answer), `error` (it says that it cannot take anything now), `partial` (it takes a "
    "part of what comes in one call).",
    "Tree": "Names of spans, and below each the tree of its children: `{'run': {}}`.",
    "hookimpl": "Marks a method or function as the [hook](hooks.md) of its name.",
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
