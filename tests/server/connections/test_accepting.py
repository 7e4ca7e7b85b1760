"""Clients that come many at once: a busy event loop takes them in together, not one a batch."""

import json
import socket
import textwrap
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import httpx

from spanserve.server.process.listening import CLIENTS_A_TURN
from support.serving import DEADLINE_S, subprocess_server, until

SERVICE = """
    import time
    from pathlib import Path

    from spanserve import api, service

    HERE = Path(__file__).parent


    @service
    class Held:
        @api(batch=True, inline=True, max_batch_size=64)
        def size(self, numbers: list[int]) -> list[int]:
            if 0 in numbers:
                (HERE / "entered").touch()
                while not (HERE / "open").exists():
                    time.sleep(0.005)
            return [len(numbers)] * len(numbers)
"""


def sent(stack: ExitStack, port: int, number: int) -> socket.socket:
    """Connect, and send a request without waiting for the answer."""
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_S))
    body = json.dumps(number)
    head = f"POST /size HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall((head + body).encode())
    return connection


def answer(connection: socket.socket) -> int:
    """Read the answer's body, which is one number."""
    response = HTTPResponse(connection)
    response.begin()
    return int(response.read())


def test_clients_that_connect_while_the_loop_is_busy_are_taken_in_at_once(tmp_path: Path) -> None:
    file = tmp_path / "held.py"
    file.write_text(textwrap.dedent(SERVICE))
    with subprocess_server(str(file)) as server, ExitStack() as stack:
        port = httpx.URL(server.url).port
        assert port is not None
        holder = sent(stack, port, 0)
        assert until((tmp_path / "entered").exists)
        others = [sent(stack, port, number) for number in range(1, CLIENTS_A_TURN + 1)]
        (tmp_path / "open").touch()
        assert answer(holder) == 1
        assert [answer(each) for each in others] == [CLIENTS_A_TURN] * CLIENTS_A_TURN
