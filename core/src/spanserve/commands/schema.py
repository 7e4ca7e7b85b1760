"""`spanserve schema`: the JSON Schema of the config file, with all installed plugins' sections.

It is for editors. It knows keys, types, bounds and words, but no rules between keys: those the
server checks, and `spanserve check`. No key is required, since the environment may give it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from spanserve.config.model import NOT_KEYS, Config
from spanserve.config.names import TRACER_NAME, TRACER_OBJECT
from spanserve.config.values.redact import is_secret_key, redacted
from spanserve.running.discovery import InstalledRunner
from spanserve.tracing.plugins.registry import KNOWN_DISTRIBUTIONS, InstalledTracer

Schema = dict[str, Any]

DIALECT: Final = "http://json-schema.org/draft-07/schema#"
VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
NULL: Final = {"type": "null"}
OFF: Final = ("none", "off")

_UNREADABLE_TEXT: Final = ("pattern", "maxLength", "enum", "const")
_ABOUT: Final = ("description", "default", "writeOnly", "deprecated", "examples")


def config_schema(tracers: Sequence[InstalledTracer], runners: Sequence[InstalledRunner]) -> Schema:
    """Return the schema of a config file in an environment with these plugins."""
    schema = model_schema(Config)
    tracing = _object_in(schema["properties"]["tracing"])
    kept = {key: each for key, each in tracing["properties"].items() if key not in NOT_KEYS}
    kept["type"] = _type_of_tracing(tracers, kept["type"])
    sections = dict(_sections(tracers))
    tracing["properties"] = {**kept, **sections}
    tracing["patternProperties"] = {
        **{f"^{re.escape(name)}/{TRACER_NAME.pattern}$": each for name, each in sections.items()},
        f"^{TRACER_OBJECT.pattern}(/{TRACER_NAME.pattern})?$": {"type": ["object", "null"]},
    }
    schema["properties"]["runner"] = _runner(runners, schema["properties"]["runner"]["description"])
    return {"$schema": DIALECT, "title": "The configuration of spanserve", **schema}


def model_schema(model: type[BaseModel], path: str = "") -> Schema:
    """Return what a section of the file may hold that this model is read from."""
    raw = model.model_json_schema(schema_generator=_Generator)
    return _Reader(raw.pop("$defs", {})).read(raw, path)


class _Generator(GenerateJsonSchema):
    """Pydantic's own, which leaves open what has no schema, and neither fails nor warns."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # pydantic's

    def function_before_schema(self, schema: Any) -> JsonSchemaValue:
        """What a validator looks at first may have any form, unless it says which.

        Of a choice of words it changes capitals at most.
        """
        told = super().function_before_schema(schema)
        is_told = "json_schema_input_schema" in schema or "enum" in told
        return told if is_told else {"anyOf": [told, {}]}

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:
        del schema, error_info
        return {}


class _Reader:
    """Turns pydantic's schema of a model into that of the YAML which the model is read from."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def read(
        self, node: Schema, path: str, above: tuple[str, ...] = (), *, listed: bool = False
    ) -> Schema:
        """Return the schema at a dotted path; `above` are the definitions that it stands in.

        Within a list (`listed`) what is required is required: no variable completes an item.
        """
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            if name in above:  # a model that holds itself: anything
                return {}
            node = {**self._definitions[name], **{k: v for k, v in node.items() if k != "$ref"}}
            above = (*above, name)
        schema = {key: value for key, value in node.items() if key != "title"}
        for union in {"anyOf", "oneOf"} & schema.keys():
            branches = [self.read(each, path, above, listed=listed) for each in schema[union]]
            schema[union] = _flat(branches)
        if "items" in schema:
            schema["items"] = self.read(schema["items"], f"{path}.[]", above, listed=True)
        if isinstance(schema.get("additionalProperties"), dict):
            of_all = self.read(schema["additionalProperties"], f"{path}.*", above, listed=listed)
            schema["additionalProperties"] = of_all
        if "properties" in schema:
            schema = self._object(schema, path, above, listed=listed)
        return _written(_with_secrets_marked(schema, path), path)

    def _object(self, schema: Schema, path: str, above: tuple[str, ...], *, listed: bool) -> Schema:
        required = () if listed else schema.pop("required", ())
        properties = {}
        for key, node in schema["properties"].items():
            below = f"{path}.{key}" if path else key
            read = self.read(node, below, above, listed=listed)
            if key in required:
                read["description"] = f"{read.get('description', '')} (required)".strip()
            properties[key] = read
        return {**schema, "properties": properties}


def _written(schema: Schema, path: str) -> Schema:
    """Let in what may stand in the file for such a value."""
    kind = schema.get("type")
    if kind == "object" and path.rpartition(".")[2] not in {"", "*", "[]"}:
        return _or(schema, NULL)  # a key with nothing under it
    if kind in {"integer", "number", "boolean"} or any(key in schema for key in _UNREADABLE_TEXT):
        return _or(schema, VARIABLE)
    return schema


def _or(schema: Schema, other: Schema) -> Schema:
    """Return the schema of this or the other, which says of itself what this one said."""
    about: Schema = {key: schema[key] for key in _ABOUT if key in schema}
    rest = {key: value for key, value in schema.items() if key not in about}
    return {**about, "anyOf": [rest, other]}


def _flat(branches: Sequence[Schema]) -> list[Schema]:
    """Return the branches of a union, with those of a union within it in its place, each once."""
    pure = ({"anyOf"}, {"anyOf", "description"})
    flat = [
        each
        for branch in branches
        for each in (branch["anyOf"] if branch.keys() in pure else [branch])
    ]
    return [each for index, each in enumerate(flat) if each not in flat[:index]]


def _with_secrets_marked(schema: Schema, path: str) -> Schema:
    """Mark what is secret by its type or its name; its default and its examples are not shown."""
    shown = dict(schema)
    either = [schema, *schema.get("anyOf", ())]
    is_text = any(each.get("type") == "string" and "enum" not in each for each in either)
    is_secret = is_secret_key(path.removesuffix(".*").rpartition(".")[2])
    if any(each.get("writeOnly") for each in either) or (is_text and is_secret):
        shown["writeOnly"] = is_secret = True
    if is_secret:
        shown.pop("examples", None)
        if shown.get("default"):
            del shown["default"]
    if "default" in shown:
        shown["default"] = redacted(shown["default"])
    return shown


def _object_in(schema: Schema) -> Schema:
    """Return the mapping among the branches of a section, to be changed in place."""
    found: Schema = next(each for each in schema["anyOf"] if "properties" in each)
    return found


def _type_of_tracing(tracers: Sequence[InstalledTracer], schema: Schema) -> Schema:
    names = sorted({tracer.name for tracer in tracers if tracer.plugin is not None})
    kinds = "|".join(map(re.escape, names))
    other = {
        "type": "string",
        "pattern": f"^({kinds}|{TRACER_OBJECT.pattern})(/{TRACER_NAME.pattern})?$",
    }
    one = {"anyOf": [{"enum": names}, other]}
    several = {"type": "array", "items": one, "uniqueItems": True}
    with_commas = {"type": "string", "pattern": "[,$]"}
    return {
        "description": schema["description"],
        "default": None,
        "anyOf": [*one["anyOf"], several, {"enum": [*OFF, False, None]}, with_commas],
    }


def _sections(tracers: Sequence[InstalledTracer]) -> Iterator[tuple[str, Schema]]:
    for name, distribution in KNOWN_DISTRIBUTIONS.items():
        if all(tracer.name != name for tracer in tracers):
            told = f"Not installed, and not read; try: pip install {distribution}"
            yield name, {"description": told, "type": ["object", "null"]}
    for tracer in tracers:
        told = f"The tracer of {tracer.distribution} {tracer.version}".rstrip()
        if tracer.plugin is None:
            yield tracer.name, {"description": f"{told}, which cannot be loaded"}
        else:
            schema = model_schema(tracer.plugin.settings_model, tracer.name)
            yield tracer.name, {**schema, "description": told}


def _runner(runners: Sequence[InstalledRunner], description: str) -> Schema:
    """Return the schema of `runner`: a name alone, or a section with the keys of one of them."""
    loaded = {each.name: each.settings_model for each in runners if each.settings_model}
    sections = []
    for name, model in loaded.items():
        section = model_schema(model)
        named = {"type": {"description": "The runner's name", "enum": [name]}}
        sections.append({**section, "properties": {**named, **section["properties"]}})
    of_variable = {"type": "object", "properties": {"type": VARIABLE}, "required": ["type"]}
    branches = [{"enum": list(loaded)}, *sections, of_variable, VARIABLE, NULL]
    return {"description": description, "anyOf": branches}
