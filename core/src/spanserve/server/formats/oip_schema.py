"""What the OpenAPI document says of a model's inference requests.

JSON Schema cannot say that data are as long as their shape: each number of items has a schema of
its own, and the first few stand for all.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from spanserve.server.formats.oip_model import OUTPUT, Model
from spanserve.service.codecs.array import Array
from spanserve.service.codecs.tensors import datatype_of

Schema = dict[str, Any]

_NUMBERS_OF_ITEMS: Final = (1, 2, 3)
_FREE_LENGTH: Final = 2
"""What stands for a length of an item that is free."""

_PARAMETERS: Final[Schema] = {
    "type": ["object", "null"],
    "properties": {"binary_data_size": False},
    "description": "binary_data_size is for data that follow the JSON",
}
_OUTPUTS: Final[Schema] = {
    "type": ["array", "null"],
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"const": OUTPUT}, "parameters": {"type": ["object", "null"]}},
    },
}


def request_schema(model: Model) -> Schema:
    """Return the schema of a model's requests."""
    return {
        "title": f"{model.name}: inference request",
        "description": "A tensor has one item more for each step of its first axis; any number",
        "anyOf": [_request(model.inputs, count) for count in _NUMBERS_OF_ITEMS],
    }


def response_schema(model: Model) -> Schema:
    """Return the schema of its answers."""
    output = {
        "type": "object",
        "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"const": OUTPUT},
            "datatype": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
    }
    return {
        "title": f"{model.name}: inference response",
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"const": model.name},
            "model_version": {"const": model.version},
            "id": {"type": "string"},
            "outputs": {"type": "array", "items": output, "minItems": 1, "maxItems": 1},
        },
    }


def _request(inputs: Mapping[str, Array], count: int) -> Schema:
    alone = len(inputs) == 1
    tensors = [
        _tensor({"type": "string"} if alone else {"const": name}, array, count)
        for name, array in inputs.items()
    ]
    listed: Schema = {"type": "array", "minItems": len(tensors), "maxItems": len(tensors)}
    listed |= {"items": tensors[0]} if alone else {"prefixItems": tensors}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": {"type": ["object", "null"]},
            "inputs": listed,
            "outputs": _OUTPUTS,
        },
    }


def _tensor(name: Schema, array: Array, count: int) -> Schema:
    shape = [count, *(length or _FREE_LENGTH for length in array.shape or ())]
    if array.shape is not None and 0 in array.shape:
        shape = [count, *(0 if length == 0 else length or 1 for length in array.shape)]
    size = math.prod(shape)
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": name,
            "shape": {"const": shape},
            "datatype": {"const": datatype_of(array.dtype)},
            "parameters": _PARAMETERS,
            "data": {
                "type": "array",
                "items": _entry(array.dtype),
                "minItems": size,
                "maxItems": size,
            },
        },
    }


def _entry(dtype: np.dtype[Any]) -> Schema:
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype.kind == "U":
        longest = {"maxLength": dtype.itemsize // 4} if dtype.itemsize else {}
        return {"type": "string", "pattern": "^[^\\u0000]*$", **longest}
    if dtype.kind == "f":
        most = float(np.finfo(dtype).max)
        return {"type": "number", "minimum": -most, "maximum": most}
    whole = np.iinfo(dtype)
    return {"type": "integer", "minimum": int(whole.min), "maximum": int(whole.max)}
