"""Upgrades of a connection: websockets are served, and every other one is ignored.

The JDK's `HttpClient` asks for HTTP/2 with each first request, and `curl --http2` does.
"""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from fastapi import FastAPI, WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from spanserve import api, service
from spanserve.server.connections.shared import NO_WEBSOCKETS
from support.conversations import PROTOCOLS, Talk, app_of, post, served

H2C: Final = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
)
UPGRADES: Final = [
    H2C,
    ("Connection: Upgrade", "Upgrade: foo"),
    ("Connection: upgrade, keep-alive", "Upgrade: foo/2, bar"),
    ("Connection: keep-alive, Upgrade", "Upgrade: websocket"),  # a POST is none
    ("Connection: Upgrade", "Upgrade: TLS/1.0", "Upgrade: h2c"),
]


@service
class Echo:
    """Says what it was given."""

    @api(batch=True, inline=True)
    def double(self, items: list[int]) -> list[int]:
        return [2 * item for item in items]

    @api
    async def named(self, name: str = "nobody") -> str:
        return name

    @classmethod
    def configure_app(cls, app: FastAPI) -> None:
        @app.websocket("/ws")
        async def ws(websocket: WebSocket) -> None:
            await websocket.accept()
            await websocket.send_text(f"hello {await websocket.receive_text()}")
            await websocket.close()


@pytest.fixture(params=PROTOCOLS, ids=PROTOCOLS.get, scope="module")
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    with served(request.param, app_of(Echo)) as (_, place):
        yield place


def chunked(body: bytes, *headers: str, path: str = "/double") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *headers, "", ""]
    pieces = b"".join(b"1\r\n%b\r\n" % body[at : at + 1] for at in range(len(body)))
    return "\r\n".join(lines).encode() + pieces + b"0\r\n\r\n"


@pytest.mark.parametrize("headers", UPGRADES, ids=" ".join)
@pytest.mark.parametrize("form", [post, chunked])
def test_an_upgrade_that_is_not_spoken_is_ignored_wherever_the_request_is_cut(
    place: tuple[str, int], form: Any, headers: tuple[str, ...]
) -> None:
    request = form(b"123", *headers)
    following = post(b"4")
    with Talk(place) as talk:
        talk.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in [*range(1, len(request), 11), *range(len(request) - 25, len(request) + 1)]:
            given, _, answer = talk.ask(request[:cut], request[cut:] + following)
            assert (given, answer) == (200, 246)
            given, _, answer = talk.answer()
            assert (given, answer) == (200, 8)


def test_a_body_behind_an_upgrade_is_not_a_request(place: tuple[str, int]) -> None:
    hidden = post(b"4")
    with Talk(place) as talk:
        assert talk.ask(post(hidden, *H2C))[0] == 400
        given, _, answer = talk.ask(post(b'"me"', *H2C, path="/named"))
        assert (given, answer) == (200, "me")
        assert talk.ask(post(b"21"))[2] == 42


def test_an_upgrade_without_a_body_is_ignored(place: tuple[str, int]) -> None:
    asked = "GET /metadata HTTP/1.1\r\nHost: x\r\n" + "\r\n".join([*H2C, "", ""])
    with Talk(place) as talk:
        assert talk.ask(asked.encode())[0] == 200
        assert talk.ask(asked.encode() + post(b"4"))[0] == 200
        assert talk.answer()[2] == 8


def test_curl_may_ask_for_http_2(place: tuple[str, int]) -> None:
    curl = _program("curl")
    body = "[" + " " * 200_000 + "]"
    url = f"http://127.0.0.1:{place[1]}"
    command = [curl, "-sS", "--noproxy", "*", "--http2", "-d", "@-"]
    said = subprocess.run(
        [*command, f"{url}/double", "-H", "Content-Type: application/json"],
        input=b"123",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert said.stdout == b"246"
    said = subprocess.run(
        [*command, "-w", "%{http_code}", "-o", "/dev/null", f"{url}/double"],
        input=body.encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert said.stdout == b"415"  # curl says that it is a form


def test_the_jdks_client_may_ask_for_http_2(place: tuple[str, int]) -> None:
    program = Path(__file__).parents[2] / "support" / "Post.java"
    said = subprocess.run(
        [_program("java"), str(program), f"http://127.0.0.1:{place[1]}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert (said.returncode, said.stdout.split()) == (0, ["246", "8", '"me"']), said.stderr


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} on this machine to ask with")
    return found


def test_a_websocket_of_the_users_own_works(place: tuple[str, int]) -> None:
    with connect(f"ws://127.0.0.1:{place[1]}/ws", proxy=None) as websocket:
        websocket.send("you")
        assert websocket.recv() == "hello you"
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(f"ws://127.0.0.1:{place[1]}/nowhere", proxy=None),
    ):
        pass


def test_a_websocket_may_follow_requests_on_its_connection(place: tuple[str, int]) -> None:
    with Talk(place) as talk:
        assert talk.ask(post(b"4"))[2] == 8
        talk.socket.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert talk.file.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"


@pytest.mark.parametrize("http", PROTOCOLS, ids=PROTOCOLS.get)
def test_without_a_library_for_websockets_the_log_says_so_once(
    http: Any, caplog: pytest.LogCaptureFixture
) -> None:
    asked = (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with served(http, app_of(Echo), ws="none") as (_, place), Talk(place) as talk:
        assert [talk.ask(asked)[0] for _ in range(3)] == [404] * 3
        assert talk.ask(post(b"4"))[2] == 8
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [NO_WEBSOCKETS]
