"""A file, the environment and the command line become one `Config`.

The strongest first: command line, environment (`SPANSERVE__A__B`), file, OpenTelemetry's
own variables, default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from spanserve.config.model import Config, TracingConfig, tracing_keys
from spanserve.config.opentelemetry import unread_exporter, unusable
from spanserve.config.tls import tls_problem
from spanserve.config.values.document import parse
from spanserve.config.values.environment import nested, standard_variables, with_overrides
from spanserve.config.values.interpolate import interpolated
from spanserve.config.values.problems import (
    Problem,
    config_error,
    problems_of,
    source_of,
    unknown_key,
)
from spanserve.config.values.source import DEFAULT, Source, SourceKind
from spanserve.config.values.tree import (
    Node,
    Path,
    Scalar,
    Table,
    merged,
    sources_of,
    tree_of,
    value_of,
)
from spanserve.config.values.untyped import shaped
from spanserve.errors import ConfigError
from spanserve.service.bundle.manifest import listing

CONFIG_VARIABLE: Final = "SPANSERVE_CONFIG"
OTHERS: Final = ("runner", "service")
"""Sections whose keys are those of the runner that is named, and of the service."""

_PREDECESSOR: Final = "BENTOML_CONFIG"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and how it came about.

    `sources` has a source for every key of core's own and for every key that was given,
    dotted; `warnings` are sentences for the log.
    """

    config: Config
    file: FilePath | None
    sources: Mapping[str, Source]
    warnings: tuple[str, ...]


def load(
    file: FilePath | None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Loaded:
    """Read the configuration; raise ConfigError with all that is wrong with it.

    `file` is the command line's; without one, SPANSERVE_CONFIG names it, or there is none.
    `overrides` are the command line's by dotted key (`server.port`); None is not given.
    """
    asked_by = "" if file else f" (from {CONFIG_VARIABLE})"
    file = file or (FilePath(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    standard = standard_variables(environ)
    tree: Node = standard.tree
    if file is not None:
        tree = merged(tree, _file_tree(file, asked_by))
    tree = _with_command_line(with_overrides(tree, environ), overrides)
    config, sources = _checked_tree(tree, environ, standard.resource_attributes)
    warnings = (
        *_warnings(file, environ),
        *standard.warnings,
        *(each.words for each in unusable(environ) if each.words),
        *_unread(environ, sources),
    )
    return Loaded(config, file, _with_defaults(sources), warnings)


def load_mapping(given: Mapping[str, Any], name: str) -> Loaded:
    """Check a configuration that is there as a mapping; `name` is what messages call it."""
    tree = tree_of(given, Source(SourceKind.FILE, name))
    config, sources = _checked_tree(tree, {}, {})
    return Loaded(config, None, _with_defaults(sources), ())


def _checked_tree(
    tree: Node, environ: Mapping[str, str], resource_attributes: Mapping[str, str]
) -> tuple[Config, Mapping[str, Source]]:
    tree, problems = interpolated(tree, environ)
    sources = dict(sources_of(tree))
    return _config(tree, sources, problems, resource_attributes), sources


def _file_tree(file: FilePath, asked_by: str) -> Table:
    if file.suffix == ".py" and file.is_file():
        raise ConfigError(f"{file}{asked_by} is Python, and no config file")
    tree = parse(_text(file, asked_by), lambda line: Source(SourceKind.FILE, str(file), line))
    if isinstance(tree, Table):
        return tree
    if isinstance(tree, Scalar) and tree.value is None:
        return Table({}, tree.source)
    raise ConfigError(f"{file} must be a mapping with keys such as tracing and server")


def _text(file: FilePath, asked_by: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {file}{asked_by}{_missing(file)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"the config file {file}{asked_by} is a directory") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the config file {file} is not UTF-8 text: {error.reason}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"the config file {file}{asked_by} cannot be read: {error}") from error


def _missing(file: FilePath) -> str:
    """Say what is there, and which file was probably meant."""
    folder = file.absolute().parent
    if not folder.is_dir():
        return f": there is no folder {folder}"
    there = sorted(each.name for each in folder.glob("*.y*ml") if each.is_file())
    # `.yaml` for `.yml`, and the other way round, are nearer than any other name.
    likely = [name for name in there if FilePath(name).stem == file.stem]
    if likely or (likely := get_close_matches(file.name, there, n=1)):
        return f"; did you mean {file.with_name(likely[0])}?"
    return f" (in {folder}: {listing(folder, '*.y*ml')})"


def _with_command_line(tree: Node, overrides: Mapping[str, object]) -> Node:
    for key, value in overrides.items():
        if value is not None:
            path = tuple(key.split("."))
            source = Source(SourceKind.COMMAND_LINE, "--" + path[-1].replace("_", "-"))
            tree = merged(tree, nested(path, Scalar(value, source)))
    return tree


def _config(
    tree: Node,
    sources: Mapping[str, Source],
    problems: list[Problem],
    resource_attributes: Mapping[str, str],
) -> Config:
    data, misplaced = _sorted(value_of(tree), sources, resource_attributes)
    config, found = _checked(data, sources)
    # A value with an unset variable is still its own text: what pydantic says of it is noise.
    unfilled = {problem.path for problem in problems}
    found = [*misplaced, *(problem for problem in found if problem.path not in unfilled)]
    unread = config.tracing if config else None
    found += [problem for problem in problems if not (unread and _is_unread(problem.path, unread))]
    if found:
        raise config_error(found)
    if config is None:
        raise config_error(problems)
    return config


def _checked(data: object, sources: Mapping[str, Source]) -> tuple[Config | None, list[Problem]]:
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        return None, [
            _placed(problem, sources) for problem in problems_of(error, Config, sources=sources)
        ]
    return config, _unusable_files(config, sources)


def _is_unread(path: Path, tracing: TracingConfig) -> bool:
    """Say whether a key lies in the section of a tracer that is not selected."""
    return path[0] == "tracing" and path[1] in set(tracing.sections) - set(tracing.type)


def _sorted(
    data: object, sources: Mapping[str, Source], resource_attributes: Mapping[str, str]
) -> tuple[object, list[Problem]]:
    """Move tracers' sections to where the model has them; sections left empty are no error."""
    if not isinstance(data, dict):
        return {}, []
    config = dict(data)
    # Some have models of their own, which are read later.
    others = {name: config.pop(name) for name in OTHERS if config.get(name) is not None}
    if isinstance(others.get("runner"), str):
        others["runner"] = {"type": others["runner"]}
    if not all(isinstance(each, dict) for each in others.values()):
        return {**shaped(config, Config), **others}, []
    config, misplaced = _tracing_sorted(config, sources, resource_attributes)
    return {**config, **{name: each for name, each in others.items() if each}}, misplaced


def _tracing_sorted(
    config: dict[str, Any], sources: Mapping[str, Source], resource_attributes: Mapping[str, str]
) -> tuple[dict[str, Any], list[Problem]]:
    tracing = {} if config.get("tracing") is None else config["tracing"]
    if not isinstance(tracing, dict):
        return shaped(config, Config), []
    own: dict[str, Any] = {key: tracing[key] for key in tracing if key in tracing_keys()}
    others = {key: tracing[key] for key in tracing if key not in own}
    sections = {
        key: value or {}
        for key, value in others.items()
        if value is None or isinstance(value, dict)
    }
    misplaced = [
        _not_a_section(("tracing", key), tracing.get("type"), sources)
        for key in others
        if key not in sections
    ]
    own = {"resource_attributes": resource_attributes, **own}
    config = shaped({**config, "tracing": own}, Config)
    config["tracing"]["sections"] = sections  # each tracer has a model of its own
    return config, misplaced


def _not_a_section(path: Path, selected: object, sources: Mapping[str, Source]) -> Problem:
    source = source_of(path, sources)
    names = [str(name).lower() for name in (selected if isinstance(selected, list) else [selected])]
    if path[-1] in names:
        return Problem(
            path, f"{'.'.join(path)}: wanted a mapping with the tracer's own keys ({source})"
        )
    return unknown_key(path, source, tracing_keys(), _elsewhere(path))


def _placed(problem: Problem, sources: Mapping[str, Source]) -> Problem:
    """Say of an unknown key where it is known, if it is in one other place."""
    place = _elsewhere(problem.path)
    if place and problem.message.startswith("unknown key "):
        return unknown_key(problem.path, source_of(problem.path, sources), (), place)
    return problem


def _elsewhere(path: Path) -> str:
    keys = [key for key in _keys_of(Config) if key.rpartition(".")[2] == path[-1].lower()]
    return keys[0] if len(keys) == 1 else ""


def _keys_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted keys of core's own values."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        if model is TracingConfig and name not in tracing_keys():
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _keys_of(field.annotation, f"{key}.")
        else:
            keys.append(key)
    return keys


def _with_defaults(sources: Mapping[str, Source]) -> Mapping[str, Source]:
    given = {key: source for key, source in sources.items() if key}
    return {**dict.fromkeys(_keys_of(Config), DEFAULT), **given}


def _unusable_files(config: Config, sources: Mapping[str, Source]) -> list[Problem]:
    certfile, keyfile = config.server.ssl_certfile, config.server.ssl_keyfile
    problems = [
        Problem(path, f"{'.'.join(path)}: there is no file {name} ({source_of(path, sources)})")
        for key, name in {"ssl_certfile": certfile, "ssl_keyfile": keyfile}.items()
        for path in [("server", key)]
        if name is not None and not FilePath(name).is_file()
    ]
    if certfile and not problems and (words := tls_problem(certfile, keyfile)):
        path = ("server", "ssl_certfile")
        problems.append(Problem(path, f"{'.'.join(path)}: {words} ({source_of(path, sources)})"))
    return problems


def _unread(environ: Mapping[str, str], sources: Mapping[str, Source]) -> tuple[str, ...]:
    """Say that somebody asks for OpenTelemetry's exporters, where nothing is said of tracers."""
    variable = unread_exporter(environ)
    if not variable or "tracing.type" in sources:
        return ()
    return (f"{variable} is set, and tracing is off: `tracing.type: otel` would read it",)


def _warnings(file: FilePath | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    if file is None and environ.get(_PREDECESSOR):
        return (
            f"{_PREDECESSOR} is set but not read: spanserve reads --config or {CONFIG_VARIABLE}",
        )
    return ()
