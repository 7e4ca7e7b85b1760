"""Bodies and answers that are no JSON: bytes, forms with files, and Starlette's responses."""

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import pytest
from fastapi import Depends, File, Form, Header, HTTPException, UploadFile
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from spanserve import api, service
from spanserve.service.codecs.problems import InvalidBody
from spanserve.service.codecs.steps import finished
from spanserve.service.files.multipart import MOST_PARTS, Part, parts_of
from support.serving import DEADLINE_S, Serving, serving

PNG: Final = {"Content-Type": "image/png"}
BOUNDARY: Final = "0123456789"
FORM: Final = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
LIMIT: Final = 256 * 1024
LONG: Final = bytes(range(256)) * 900  # longer than what is read at once, and within the limit
background = threading.Event()
ended = threading.Event()


class House(BaseModel):
    area: float
    city: str = "Rome"


def caller(name: Annotated[str, Header()] = "nobody") -> str:
    return name


@service
class Files:
    @api(accepts=("image/png", "IMAGE/JPEG"))
    def size(self, image: bytes) -> int:
        return len(image)

    @api
    def optional(self, data: Annotated[bytes, Field(max_length=LIMIT)] = b"none") -> str:
        return data.decode("latin-1")

    @api(batch=True, accepts=("image/*",))
    def sizes(self, images: list[bytes]) -> list[int | HTTPException]:
        return [len(each) or HTTPException(404, "no image") for each in images]

    @api(batch=True, accepts=("image/png",), media_type="image/png")
    def flip(self, images: list[bytes]) -> list[bytes]:
        return [bytearray(each)[::-1] for each in images]  # type: ignore[misc]  # as users do

    @api
    def form(  # noqa: PLR0917  # as users write it
        self,
        image: UploadFile,
        caller: Annotated[str, Depends(caller)],
        threshold: float = 0.5,
        labels: list[str] | None = None,
        house: House | None = None,
        note: str = "",
    ) -> list[Any]:
        read = image.file.read()
        file = [image.filename, image.content_type, image.size, len(read), sum(read)]
        return [file, caller, threshold, labels, house, note]

    @api
    async def files(self, files: Annotated[list[UploadFile], File()]) -> list[int]:
        return [sum(await each.read()) for each in files]

    @api
    def fields(self, a: Annotated[int, Form()], b: Annotated[str, Form()] = "b") -> list[Any]:
        return [a, b]

    @api
    def masks(self, image: bytes, mask: bytes | None = None) -> list[int]:
        return [len(image), -1 if mask is None else len(mask)]

    @api
    async def words(self, audio: bytes, times: int = 1) -> AsyncIterator[str]:
        for _ in range(times):
            yield f"{len(audio)} "

    @api(media_type="image/png")
    def draw(self, size: int) -> bytes:
        return b"P" * size

    @api(media_type="audio/wav")
    async def speak(self, size: int) -> AsyncIterator[bytes]:
        for _ in range(size):
            yield b"W"

    @api
    def respond(self, kind: str) -> Response:
        return RESPONSES[kind]()

    @api
    async def respond_soon(self, kind: str) -> Response:
        return RESPONSES[kind]()


def lines() -> Iterator[str]:
    yield "a\n"
    yield "b\n"


async def endless() -> AsyncIterator[str]:
    try:
        while True:
            yield "a\n"
            await asyncio.sleep(0)
    finally:
        ended.set()


class Own(Response):
    async def __call__(self, *_parts: Any) -> None:
        raise ValueError("before it begins")


RESPONSES: Final[dict[str, Callable[[], Response]]] = {
    "html": lambda: HTMLResponse("<p>", 201, {"X-Own": "1", "Set-Cookie": "a=b"}),
    "file": lambda: FileResponse(__file__),
    "lines": lambda: StreamingResponse(lines(), media_type="text/csv"),
    "redirect": lambda: RedirectResponse("/docs", 303),
    "task": lambda: Response(b"1", background=BackgroundTask(background.set)),
    "own": Own,
    "endless": lambda: StreamingResponse(endless()),
}


HTTPTOOLS = pytest.param("httptools", marks=pytest.mark.needs_httptools)


@pytest.fixture(scope="module", params=["direct", "h11", HTTPTOOLS])
def served(request: pytest.FixtureRequest) -> Iterator[Serving]:
    http = None if request.param == "direct" else request.param
    config = {"server": {"max_request_bytes": LIMIT}}
    with serving(Files, config, http=http) as server:
        yield server


def chunked(body: bytes) -> Iterator[bytes]:
    yield body[:3]
    yield body[3:]


def through_all_doors(url: str, body: bytes, headers: dict[str, str]) -> list[httpx.Response]:
    """Post a body whole, chunked, compressed, and with a query."""
    packed = {**headers, "Content-Encoding": "gzip"}
    return [
        httpx.post(url, content=body, headers=headers),
        httpx.post(url, content=chunked(body), headers=headers),
        httpx.post(url, content=gzip.compress(body), headers=packed),
        httpx.post(f"{url}?a=b", content=body, headers=headers),
    ]


def form(*parts: tuple[str, bytes], end: bytes = b"--\r\n") -> bytes:
    """A form's body; the head of a part is what stands after `name=`."""
    text = b"".join(
        b"--%b\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n"
        % (BOUNDARY.encode(), head.encode(), data)
        for head, data in parts
    )
    return text + b"--" + BOUNDARY.encode() + end


@pytest.mark.parametrize("path", ["size", "sizes"])
@pytest.mark.parametrize("body", [b"\x89PNG\0", LONG], ids=["short", "long"])
def test_bytes_come_as_they_are_by_every_door(served: Serving, path: str, body: bytes) -> None:
    answers = through_all_doors(f"{served.url}/{path}", body, PNG)

    assert [(each.status_code, each.json()) for each in answers] == [(200, len(body))] * 4


@pytest.mark.parametrize("path", ["size", "sizes", "form"])
def test_too_many_bytes_and_other_types_are_refused_by_every_door(
    served: Serving, path: str
) -> None:
    headers = FORM if path == "form" else PNG
    body = form(('"image"; filename="a"', bytes(LIMIT))) if path == "form" else bytes(LIMIT + 1)
    large = through_all_doors(f"{served.url}/{path}", body, headers)
    others = through_all_doors(f"{served.url}/{path}", b"[1]", {"Content-Type": "text/png"})

    assert [each.status_code for each in large] == [413] * 4
    assert [each.status_code for each in others] == [415] * 4
    assert others[0].headers["accept-post"] in others[0].json()["message"]


def test_one_item_s_exception_stands_in_its_place(served: Serving) -> None:
    empty = httpx.post(f"{served.url}/sizes", content=b"", headers=PNG)

    assert (empty.status_code, empty.json()["message"]) == (404, "no image")


def test_optional_bytes_may_be_absent_and_keep_their_bounds(served: Serving) -> None:
    url = f"{served.url}/optional"
    answers = [httpx.post(url), httpx.post(url, content=b"\xff"), httpx.post(url, content=b"ab")]

    assert [each.json() for each in answers] == ["none", "\xff", "ab"]


def test_bytes_go_out_as_they_are(served: Serving) -> None:
    flipped = through_all_doors(f"{served.url}/flip", b"abc\0", PNG)
    drawn = httpx.post(f"{served.url}/draw", json=3)
    spoken = httpx.post(f"{served.url}/speak", json=2)
    refused = httpx.post(f"{served.url}/draw", json=3, headers={"Accept": "image/jpeg"})

    assert [(each.content, each.headers["content-type"]) for each in flipped] == [
        (b"\0cba", "image/png")
    ] * 4
    assert (drawn.content, drawn.headers["content-type"]) == (b"PPP", "image/png")
    assert (spoken.content, spoken.headers["content-type"]) == (b"WW", "audio/wav")
    assert refused.status_code == 406


@pytest.mark.parametrize("data", [b"\x89PNG\r\n--01234\r\n", LONG], ids=["short", "long"])
def test_a_form_s_parts_are_the_parameters_by_every_door(served: Serving, data: bytes) -> None:
    body = form(
        ('"image"; filename="b\xfc.png"\r\nContent-Type: image/png', data),
        ('"threshold"', b"0.25"),
        ('"labels"', b"a"),
        ('"labels"', b"1"),
        ('"house"', b'{"area": 3}'),
        ('"note"', b'"quoted", 7'),
    )
    answers = through_all_doors(f"{served.url}/form", body, {**FORM, "Name": "Ada"})

    file = ["b\xfc.png", "image/png", len(data), len(data), sum(data)]
    house = {"area": 3.0, "city": "Rome"}
    expected = [file, "Ada", 0.25, ["a", "1"], house, '"quoted", 7']
    assert [(each.status_code, each.json()) for each in answers] == [(200, expected)] * 4


def test_what_a_form_leaves_out_has_its_default(served: Serving) -> None:
    [image] = {"image": b"1"}.items()
    told = httpx.post(f"{served.url}/form", files=[image])
    files = httpx.post(f"{served.url}/files", files=[("files", b"\1"), ("files", b"\2")])
    masks = httpx.post(f"{served.url}/masks", files={"image": b"123"})
    unchosen = form(('"image"; filename="a"', b"1"), ('"mask"; filename=""', b""))
    browser = httpx.post(f"{served.url}/masks", content=unchosen, headers=FORM)
    fields = httpx.post(f"{served.url}/fields", content=form(('"a"', b"7")), headers=FORM)
    streamed = httpx.post(f"{served.url}/words", files={"audio": b"123"}, data={"times": "2"})

    assert told.json()[1:] == ["nobody", 0.5, None, None, ""]
    assert (files.json(), masks.json(), browser.json()) == ([1, 2], [3, -1], [1, -1])
    assert (fields.json(), streamed.text) == ([7, "b"], "3 3 ")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (form(('"imag"; filename="a"', b"1")), 422, "unknown part 'imag' (there: image"),
        (form(('"note"', b"1")), 422, "part 'image' is missing"),
        (form(('"image"', b"1"), ('"image"', b"2")), 422, "2 parts are named 'image'"),
        (form(('"image"', b"1"), ('"threshold"', b"high")), 422, "threshold: "),
        (form(('"image"', b"1"), ('"note"', b"\xff")), 422, "note: the part is not UTF-8"),
        (form(('"image"', b"1"), ('"house"', b'{"are": 1}')), 422, "house.area: Field required"),
        (form(("", b"1")), 422, "unknown part ''"),
        (form(('"a"', b"1")).replace(b"name=", b"nom="), 400, "a part has no name"),
        (form(('"image"', b"1"), end=b"-"), 400, "its last boundary is missing"),
        (b"", 400, "its last boundary is missing"),
        (b"{}", 400, "the body is no multipart/form-data"),
        (form(*[('"labels"', b"1")] * (MOST_PARTS + 1)), 400, "more than 1000 parts"),
        (form(('"image"' + "\r\nA: b" * 20, b"1")), 400, "no multipart/form-data: "),
        (form(('"image"; a=' + "b" * 9000, b"1")), 400, "no multipart/form-data: "),
    ],
)
def test_a_form_that_is_none_is_refused_with_the_reason(
    served: Serving, body: bytes, status: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "python_multipart"):
        answer = httpx.post(f"{served.url}/form", content=body, headers=FORM)

    assert [each for each in caplog.records if each.name.startswith("python_multipart")] == []

    assert (answer.status_code, words in answer.json()["message"]) == (status, True), answer.text


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary="])
def test_a_form_without_a_boundary_is_refused(served: Serving, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = httpx.post(f"{served.url}/form", content=form(('"note"', b"1")), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("path", ["respond", "respond_soon"])
def test_any_response_of_starlette_s_is_the_answer(served: Serving, path: str) -> None:
    background.clear()

    def asked(kind: str) -> httpx.Response:
        return httpx.post(f"{served.url}/{path}", json=kind)

    html, file, table, redirect = map(asked, ("html", "file", "lines", "redirect"))
    task, own = asked("task"), asked("own")

    assert (html.status_code, html.text, html.headers["x-own"]) == (201, "<p>", "1")
    assert html.headers["set-cookie"] == "a=b"
    assert html.headers["content-length"] == "3"
    assert file.content == Path(__file__).read_bytes()
    assert file.headers["content-length"] == str(len(file.content))
    assert (table.text, table.headers["content-type"]) == ("a\nb\n", "text/csv; charset=utf-8")
    assert (redirect.status_code, redirect.headers["location"]) == (303, "/docs")
    assert background.wait(DEADLINE_S)
    assert (task.text, own.status_code) == ("1", 500)
    assert all("x-request-id" in each.headers for each in (html, file, table))


def test_a_response_ends_when_its_client_leaves(served: Serving) -> None:
    ended.clear()
    with httpx.stream("POST", f"{served.url}/respond_soon", json="endless") as answer:
        next(answer.iter_raw())

    assert ended.wait(DEADLINE_S)


def test_the_openapi_document_says_all_of_it(served: Serving) -> None:
    document = httpx.get(f"{served.url}/openapi.json").json()
    binary = {"schema": {"type": "string", "format": "binary"}}

    def body(path: str) -> Any:
        return document["paths"][path]["post"]["requestBody"]["content"]

    def result(path: str) -> Any:
        return document["paths"][path]["post"]["responses"]["200"]["content"]

    assert body("/size") == {"image/png": binary, "image/jpeg": binary}
    assert body("/sizes") == {"image/*": binary}
    assert body("/optional") == {"*/*": binary}
    assert (result("/draw"), result("/flip")) == ({"image/png": binary},) * 2
    assert result("/size")["application/json"]["schema"]["type"] == "integer"
    [(media, content)] = body("/form").items()
    schema = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    assert (media, schema["required"]) == ("multipart/form-data", ["image"])
    assert list(schema["properties"]) == ["image", "threshold", "labels", "house", "note"]
    assert schema["properties"]["image"]["type"] == "string"


HOSTILE: Final = st.text("-\r\n0123456789:; Cont").map(str.encode)
parts = st.lists(
    st.tuples(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.binary(max_size=200) | st.sampled_from([b"\r\n--", b"\r" * 50, b"--0123456789--"]),
        st.none() | st.from_regex(r"[a-z.]{1,8}", fullmatch=True),
    ),
    max_size=5,
)


@given(parts)
def test_what_a_client_puts_into_a_form_comes_out(given_parts: Sequence[Any]) -> None:
    given_parts = [each for each in given_parts if b"\r\n--0123456789" not in b"\r\n" + each[1]]
    heads = [f'"{n}"' + (f'; filename="{f}"' if f else "") for n, _, f in given_parts]
    body = form(*zip(heads, [data for _, data, _ in given_parts], strict=True))

    if not given_parts:
        return
    assert finished(parts_of(body, FORM["Content-Type"])) == [
        Part(name, data, file, "text/plain") for name, data, file in given_parts
    ]


@settings(max_examples=200)
@given(st.binary(max_size=300) | HOSTILE, st.text(st.characters(max_codepoint=255)))
def test_hostile_forms_are_refused_and_nothing_else(body: bytes, boundary: str) -> None:
    for start in (b"", b"--0123456789\r\n"):
        for content_type in (FORM["Content-Type"], f"multipart/form-data; boundary={boundary}"):
            with suppress(InvalidBody):
                found = finished(parts_of(start + body, content_type))
                assert sum(len(each.data) for each in found) <= len(body)


def test_a_slow_form_is_read_as_it_comes(served: Serving) -> None:
    body = form(('"image"; filename="a"', b"12345"))
    head = f"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {FORM['Content-Type']}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), DEADLINE_S) as client:
        for place in range(len(head.encode() + body)):
            client.send((head.encode() + body)[place : place + 1])
        answer = client.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])[0][3:] == [5, sum(b"12345")]
