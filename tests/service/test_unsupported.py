"""What FastAPI's routes can declare and `@api` methods cannot: it stops the start, in one line."""

import re
import textwrap
from pathlib import Path
from typing import Any

import fastapi
import pytest
from fastapi import params

from spanserve.errors import ServiceError
from spanserve.service.service import service_spec
from support.serving import subprocess_server

HEAD = """
from dataclasses import dataclass
from typing import *

import numpy as np
from fastapi import *
from fastapi import params
from fastapi.responses import *
from fastapi.security import APIKeyHeader, SecurityScopes
from pydantic import Base64Bytes, BaseModel, Field, PrivateAttr
from starlette.requests import HTTPConnection
from typing_extensions import TypeAliasType

from spanserve import api, service

T = TypeVar("T")


def auth() -> str:
    raise HTTPException(401)
"""

MARKERS = sorted(
    name
    for name, kind in vars(params).items()
    if isinstance(kind, type) and kind.__module__ == "fastapi.params" and hasattr(fastapi, name)
)
TYPES = [
    "Request",
    "HTTPConnection",
    "WebSocket",
    "Response",
    "JSONResponse",
    "StreamingResponse",
    "BackgroundTasks",
    "SecurityScopes",
    "UploadFile",
]

INJECTED = {
    *("Depends", "Security", "Query", "Header", "Cookie"),
    *("Request", "HTTPConnection", "Response", "BackgroundTasks", "SecurityScopes"),
}
"""What FastAPI resolves where it is a parameter's own."""
OWN = {"parameter", "only parameter", "text", "stream", "default", "without a type"}
"""Places where it is."""


FORMS = {
    **{key: {"parameter", "only parameter", "text", "stream"} for key in ("File", "Form")},
    "UploadFile": {
        *("parameter", "only parameter", "text", "stream", "keyword", "optional", "alias")
    },
}
"""Places where it makes the body a form."""


def sections(text: str) -> dict[str, str]:
    """Sources by the comment above each."""
    parts = re.split(r"^# (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


PLACES = sections("""
# parameter
class S:
    @api
    def m(self, x: int, it: TYPE) -> int: ...
# only parameter
class S:
    @api
    async def m(self, it: TYPE) -> int: ...
# keyword
class S:
    @api
    def m(self, *, it: "None | TYPE" = None) -> int: ...
# text
class S:
    @api
    def m(self, it: "TYPE") -> int: ...
# optional
class S:
    @api
    def m(self, it: Optional[TYPE] = None) -> int: ...
# union
class S:
    @api
    def m(self, it: int | list[TYPE]) -> int: ...
# item
class S:
    @api(batch=True)
    def m(self, it: list[TYPE]) -> list[int]: ...
# batch
class S:
    @api(batch=True)
    def m(self, it: TYPE) -> list[int]: ...
# stream
class S:
    @api
    async def m(self, it: TYPE) -> AsyncIterator[int]:
        yield 1
# model
class Item(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    it: TYPE

class S:
    @api(batch=True)
    def m(self, x: list[Item]) -> list[int]: ...
# inner model
class In(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    it: TYPE | None = None

class Item(BaseModel):
    of: dict[str, list[In]]

class S:
    @api
    def m(self, x: Item) -> int: ...
# dataclass
@dataclass
class Item:
    it: TYPE

class S:
    @api
    def m(self, x: Item) -> int: ...
# typed dict
class Item(TypedDict):
    it: NotRequired[TYPE]

class S:
    @api
    def m(self, x: Item) -> int: ...
# named tuple
class Item(NamedTuple):
    it: TYPE

class S:
    @api
    def m(self, x: Item) -> int: ...
# alias
It = TypeAliasType("It", Annotated[TYPE, "of mine"])

class S:
    @api
    def m(self, x: list[It]) -> int: ...
# generic alias
It = TypeAliasType("It", dict[str, T], type_params=(T,))

class S:
    @api
    def m(self, x: It[TYPE]) -> int: ...
# result
class S:
    @api
    def m(self) -> TYPE: ...
# results
class S:
    @api(batch=True)
    def m(self, x: list[int]) -> list[TYPE]: ...
# yields
class S:
    @api
    async def m(self) -> AsyncIterator[TYPE]:
        yield 1
""")
DEFAULTS = sections("""
# default
class S:
    @api
    def m(self, x: int, it: str = MARKER) -> int: ...
# without a type
class S:
    @api
    def m(self, x: int, it=MARKER) -> int: ...
# of a model
class Item(BaseModel):
    it: str = MARKER

class S:
    @api
    def m(self, x: Item) -> int: ...
# of a dataclass
@dataclass
class Item:
    it: str = MARKER

class S:
    @api
    def m(self, x: Item) -> int: ...
# of the service
class S:
    def __init__(self, it: str = MARKER) -> None: ...

    @api
    def m(self, x: int) -> int: ...
""")
WORKS = sections("""
# Field beside a type
class S:
    @api
    def m(self, x: Annotated[int, Field(ge=1)] = 3) -> int: ...
# bytes that pydantic reads from text
class S:
    @api
    def m(self, x: Base64Bytes) -> str: ...
# items of such
class S:
    @api(batch=True)
    def m(self, x: list[Base64Bytes]) -> list[str]: ...
# a stream of bytes
class S:
    @api
    async def m(self) -> AsyncIterator[bytes]:
        yield b""
# an exception for an item
class S:
    @api(batch=True)
    def m(self, x: list[str]) -> list[float | HTTPException]: ...
# bytes in a model, and what is no field of it
class Item(BaseModel):
    image: bytes
    _of: Request = PrivateAttr()

class S:
    @api
    def m(self, x: Item, kind: Literal[b"x"] = b"x") -> Item: ...
# a model of itself
class Tree(BaseModel):
    below: "list[Tree]" = []

class S:
    @api
    def m(self, x: Tree) -> dict[str, np.ndarray]: ...
# a class of theirs as a default
class S:
    def __init__(self, answer: type = JSONResponse) -> None: ...

    @api
    def m(self, x: int) -> int: ...
""")


def spec_of(source: str, what: str = "") -> Any:
    """Read the service of this source, as it is read at the start."""
    source = source.replace("TYPE", what).replace("MARKER", what)
    source = source.replace("class S:", "@service\nclass S:")
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(f"{HEAD}\n\n{source}\n", "service.py", "exec"), names)
    return service_spec(names["S"])


def refused(source: str, what: str) -> str:
    with pytest.raises(ServiceError) as raised:
        spec_of(source, what)
    text = str(raised.value)
    assert "\n" not in text
    assert "; " in text, "it says what to write instead"
    return text


def made(marker: str) -> str:
    return f"{marker}(auth)" if marker in {"Depends", "Security"} else f"{marker}()"


def check(what: str, place: str, source: str, written: str) -> None:
    """Check that it is resolved where it is a parameter's own, and refused elsewhere."""
    if what in FORMS and place in FORMS[what]:
        assert spec_of(source, written).apis[0].codec.reads == ("multipart/form-data",)
    elif what.endswith("Response") and place == "result":
        assert spec_of(source, written).apis[0].codec.gives == ()
    elif what in INJECTED and place in OWN:
        assert [each.name for each in spec_of(source, written).apis[0].injected] == ["it"]
    elif what in INJECTED and place == "batch":
        assert "takes exactly one parameter, the batch" in refused(source, written)
    else:
        assert f" declares {what}" in refused(source, written)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_beside_a_type_is_resolved_or_refused(marker: str, place: str) -> None:
    check(marker, place, PLACES[place], f"Annotated[str, {made(marker)}]")


@pytest.mark.parametrize("place", DEFAULTS)
@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_as_a_default_is_resolved_or_refused(marker: str, place: str) -> None:
    check(marker, place, DEFAULTS[place], made(marker))


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_without_its_parentheses_is_refused(marker: str) -> None:
    assert f" declares {marker}()" in refused(PLACES["parameter"], f"Annotated[str, {marker}]")
    assert f" declares {marker}()" in refused(DEFAULTS["default"], marker)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", TYPES)
def test_a_type_of_fastapi_s_is_resolved_or_refused(kind: str, place: str) -> None:
    check(kind, place, PLACES[place], kind)


@pytest.mark.parametrize("place", ["parameter", "only parameter", "text", "optional", "union"])
@pytest.mark.parametrize("kind", ["bytearray", "dict[str, bytes]", "memoryview"])
def test_bytes_that_are_no_body_are_refused(kind: str, place: str) -> None:
    assert "take text (pydantic's Base64Bytes)" in refused(PLACES[place], kind)


@pytest.mark.parametrize("kind", ["bytes", "Annotated[bytes, Field(max_length=3)]"])
def test_bytes_are_a_body_an_item_or_a_part_of_a_form(kind: str) -> None:
    reads = {
        place: spec_of(PLACES[place], kind).apis[0].codec.reads
        for place in ("only parameter", "optional", "item", "parameter")
    }

    raw, form = ("*/*",), ("multipart/form-data",)
    assert reads == {"only parameter": raw, "optional": raw, "item": raw, "parameter": form}


@pytest.mark.parametrize("place", ["result", "results"])
@pytest.mark.parametrize("kind", ["dict[str, bytes]", "dict[str, bytearray]", "memoryview | None"])
def test_a_result_with_bytes_in_it_is_refused(kind: str, place: str) -> None:
    assert "bytes have no JSON form; return bytes alone" in refused(PLACES[place], kind)


@pytest.mark.parametrize("place", ["result", "results"])
def test_a_result_of_bytes_goes_out_as_it_is(place: str) -> None:
    assert spec_of(PLACES[place], "bytes").apis[0].codec.gives == ("application/octet-stream",)


@pytest.mark.parametrize(
    ("options", "method", "words"),
    [
        ("accepts=('image/png',)", "x: int", "accepts is for a body of bytes"),
        ("accepts='image/png'", "x: bytes", "give a list of media types"),
        ("accepts=('png',)", "x: bytes", "'png', which is no media type"),
        ("media_type='image/png'", "x: int", "media_type is for bytes that are returned"),
        ("media_type='a\\r\\nb: c'", "x: int", "write a media type, as image/png"),
    ],
)
def test_media_that_nothing_would_heed_are_refused(options: str, method: str, words: str) -> None:
    source = f"class S:\n    @api({options})\n    def m(self, {method}) -> int: ..."

    assert words in refused(source, "int")


def test_the_lines_say_where_why_and_what_to_write_instead() -> None:
    assert refused(PLACES["model"], "Annotated[str, Depends(auth)]") == (
        "S.m: parameter 'x' declares Depends() (in Item.it), which no request would be asked for "
        "there: callers could send it in the body; write a parameter of its own for it, "
        "NAME: Annotated[TYPE, Depends(...)]"
    )
    assert refused(PLACES["results"], "Response") == (
        "S.m: the result declares Response, but the server encodes what it returns; "
        "return the value itself, raise HTTPException for another status, "
        "or write a plain method that returns the Response alone"
    )
    assert refused(PLACES["model"], "UploadFile") == (
        "S.m: parameter 'x' declares UploadFile (in Item.it), but only a plain method's own "
        "parameters are parts of a form; "
        "write a parameter of its own, NAME: UploadFile, without batch=True"
    )


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        ("x: int = Field(ge=3)", "write Annotated[TYPE, Field(...)] = DEFAULT"),
        ("x: Annotated[int, Field(alias='y')], z: int", "Field(alias=...)"),
        ("x: Annotated[int, Field(default=4)]", "write x: TYPE = DEFAULT"),
        ("x: Annotated[list[int], Field(default_factory=list)]", "Field(default_factory=...)"),
    ],
)
def test_what_pydantic_says_of_fields_only_is_refused_of_a_parameter(
    parameter: str, text: str
) -> None:
    assert text in refused("class S:\n    @api\n    def m(self, MARKER) -> int: ...", parameter)


@pytest.mark.parametrize("source", WORKS.values(), ids=WORKS)
def test_what_works_is_not_refused(source: str) -> None:
    assert spec_of(source).apis[0].name == "m"


def test_a_generic_model_is_looked_into() -> None:
    box = """
class Box(BaseModel, Generic[T]):
    it: T

class S:
    @api
    def m(self, x: Box[TYPE]) -> int: ...
"""
    assert "declares UploadFile (in Box[UploadFile].it)" in refused(box, "UploadFile")


def test_the_start_stops_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "service.py"
    service = """
        @service
        class Guarded:
            @api
            def m(self, x: list[Annotated[str, Depends(auth)]]) -> list[str]:
                return x
        """
    file.write_text(HEAD + textwrap.dedent(service))

    with subprocess_server(str(file), wait=False) as server:
        assert server.process.wait(30) == 2

    assert server.log[-1] == (
        "error: Guarded.m: parameter 'x' declares Depends(), which no request would be asked "
        "for there: callers could send it in the body; write a parameter of its own for it, "
        "NAME: Annotated[TYPE, Depends(...)]\n"
    )
