"""Endpoints in OpenAI's shape: its own client of Python asks them, and bytes by hand."""

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx
import numpy as np
import openai
import pytest
from fastapi import HTTPException

from spanserve import api, service
from spanserve.errors import ServiceError
from spanserve.testing import Client, client
from support.serving import DEADLINE_S

KEY: Final = "open-sesame"
CONFIG: Final = {"server": {"auth": {"keys": [KEY]}}}
HELLO: Final[Any] = [{"role": "user", "content": "say a b c"}]
ended = threading.Event()


@service
class Assistant:
    """A model of words and one of texts."""

    @api(batch=True, openai="embeddings")
    def embed(self, texts: list[str]) -> np.ndarray:
        if "bad" in texts:
            raise HTTPException(404, "no such text")
        return np.array([[len(text), text.count("a"), 0.5] for text in texts], "float32")

    @api(openai="chat")
    async def talk(
        self, messages: list[dict[str, str]], temperature: float = 1.0, stop: str | None = None
    ) -> AsyncIterator[str]:
        words = messages[-1]["content"].split()[1:]
        try:
            for word in words:
                if word == "late":
                    raise HTTPException(409, "too late")
                yield f"{word}{temperature:g}{stop or ''} "
                while word == "wait":
                    await asyncio.sleep(0.01)
                    yield "."
        finally:
            ended.set()


@pytest.fixture(scope="module")
def served() -> Iterator[Client]:
    with client(Assistant, config=CONFIG) as running:
        running.headers["Authorization"] = f"Bearer {KEY}"
        yield running


@pytest.fixture
def ai(served: Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0) as asking:
        yield asking


def test_openai_s_client_gets_embeddings(ai: openai.OpenAI) -> None:
    many = ai.embeddings.create(model="mine", input=["banana", "abc"])
    one = ai.embeddings.create(model="mine", input="a", encoding_format="float")

    assert [each.embedding for each in many.data] == [[6, 3, 0.5], [3, 1, 0.5]]
    assert [each.index for each in many.data] == [0, 1]
    assert (one.data[0].embedding, one.model) == ([1, 1, 0.5], "mine")


def test_openai_s_client_gets_a_chat_whole_and_piece_by_piece(ai: openai.OpenAI) -> None:
    whole = ai.chat.completions.create(model="mine", messages=HELLO, temperature=0.5)
    stream = ai.chat.completions.create(
        model="mine", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)

    choice = whole.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("a0.5 b0.5 c0.5 ", "stop")
    assert whole.id.startswith("chatcmpl-")
    pieces = [chunk.choices[0].delta.content for chunk in chunks[:-1]]
    assert pieces == ["", "a1 ", "b1 ", "c1 ", None]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None


async def test_openai_s_async_client_gets_both(served: Client) -> None:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=KEY) as asking:
        made = await asking.embeddings.create(model="mine", input=["a", "b"])
        stream = await asking.chat.completions.create(model="m", messages=HELLO, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert (len(made.data), text) == (2, "a1 b1 c1 ")


def test_openai_s_client_learns_what_was_wrong(ai: openai.OpenAI, served: Client) -> None:
    with pytest.raises(openai.BadRequestError, match="the body is empty"):
        ai.post("/chat/completions", body=None, cast_to=object)
    with pytest.raises(openai.UnprocessableEntityError, match="messages"):
        ai.chat.completions.create(model="m", messages=[])
    with pytest.raises(openai.UnprocessableEntityError, match="between 1 and 2048"):
        ai.embeddings.create(model="m", input=[])
    with pytest.raises(openai.NotFoundError, match="no such text"):
        ai.embeddings.create(model="m", input="bad")
    with pytest.raises(openai.UnprocessableEntityError, match="dimensions"):
        ai.embeddings.create(model="m", input="a", dimensions=3)
    late: Any = [{"role": "user", "content": "say late"}]
    with pytest.raises(openai.ConflictError, match="too late"):
        ai.chat.completions.create(model="m", messages=late)
    with pytest.raises(openai.AuthenticationError) as refused:
        openai.OpenAI(base_url=f"{served.url}/v1", api_key="none").embeddings.create(
            model="m", input="a"
        )
    assert refused.value.code == "unauthorized"


def test_errors_have_openai_s_form(served: Client) -> None:
    answer = served.post("/v1/embeddings", json={"input": 3})

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"], error["param"]) == (
        *(422, "invalid_request_error"),
        *("invalid_item", None),
    )
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_stream_ends_with_done_and_one_that_breaks_with_an_error(served: Client) -> None:
    def events(text: str) -> list[str]:
        body = {"model": "m", "messages": [{"content": text}], "stream": True}
        with served.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            found = []
            try:
                for line in answer.iter_lines():
                    found += [line.removeprefix("data: ")] if line else []
            except httpx.RemoteProtocolError:
                pass  # what breaks off has no end
            return found

    fine, broken = events("say a"), events("say a late")

    assert fine[-1] == "[DONE]"
    assert json.loads(broken[-1])["error"]["message"] == "too late"


def test_a_client_that_leaves_ends_the_generator(served: Client) -> None:
    ended.clear()
    body = {"model": "m", "messages": [{"content": "say wait"}], "stream": True}
    with served.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(answer.iter_lines())

    assert ended.wait(DEADLINE_S)


def test_the_trace_has_the_time_to_the_first_item(served: Client) -> None:
    body = {"model": "m", "messages": HELLO, "stream": True}
    root = served.trace(served.post("/v1/chat/completions", json=body)).root
    other = served.trace(served.post("/v1/embeddings", json={"input": "a"})).root

    first_ms = root.attributes["spanserve.stream.first_item_ms"]
    assert isinstance(first_ms, float)
    assert 0 < first_ms < (root.end_ns - root.start_ns) / 1e6
    assert "spanserve.stream.first_item_ms" not in other.attributes


def test_embeddings_of_many_requests_share_batches(served: Client) -> None:
    answer = served.post("/v1/embeddings", json={"input": ["a"] * 100, "encoding_format": "base64"})
    trace = served.trace(answer)

    row = np.frombuffer(base64.b64decode(answer.json()["data"][99]["embedding"]), "<f4")
    assert row.tolist() == [1, 1, 0.5]
    assert len(trace.named("queue")) == 100


def test_the_openapi_document_has_openai_s_schemas(served: Client) -> None:
    paths = served.get("/openapi.json").json()["paths"]

    for path, name in (("embeddings", "Embeddings"), ("chat/completions", "Chat")):
        post = paths[f"/v1/{path}"]["post"]
        body = post["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        answer = post["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        error = post["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
        names = [each.rpartition("/")[2] for each in (body, answer, error)]
        assert names == [f"{name}Request", f"{name}Response", "OpenAIErrorBody"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"openai": "embeddings"}, "add batch=True"),
        ({"openai": "chat"}, "write yield"),
        ({"openai": "image"}, "write 'embeddings' or 'chat'"),
    ],
)
def test_a_method_of_another_kind_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ServiceError, match=words):

        @service
        class Wrong:
            @api(**options)
            def m(self, texts: list[str]) -> list[float]:
                return [0.0 for _ in texts]
