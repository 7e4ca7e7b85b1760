"""The authentication of docs/how-to/deploy.md, as it stands there: it guards every way in."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from support.serving import DEADLINE_S, subprocess_server

TESTS = Path(__file__).parents[2]
PAGE = TESTS.parent / "docs" / "how-to" / "deploy.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = "open sesame"
WITHOUT_SPEEDUPS = {"PYTHONPATH": str(TESTS / "support" / "plain")}
SERVERS: dict[str, tuple[list[str], dict[str, str]]] = {
    "our protocol": ([], {}),
    "uvicorn's": ([], WITHOUT_SPEEDUPS),
    "a root path": ([], {"SPANSERVE__SERVER__ROOT_PATH": "/ml"}),
    "two workers": (["--workers", "2"], {}),
}


class Door(NamedTuple):
    """A request; with pieces, its body is chunked."""

    method: str
    target: str
    body: bytes | list[bytes] | None = None
    headers: Mapping[str, str] = {}
    status: int = 200

    def status_of(self, connection: HTTPConnection, key: str | None) -> int:
        """Send it, by a key or by none, and return the answer's status."""
        body = iter(self.body) if isinstance(self.body, list) else self.body
        headers = dict(self.headers)
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        if isinstance(self.body, list):
            headers["Transfer-Encoding"] = "chunked"
        connection.request(
            self.method, self.target, body, headers, encode_chunked=isinstance(self.body, list)
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status


def npy() -> bytes:
    written = io.BytesIO()
    np.save(written, np.array([1.0, 2.0]))
    return written.getvalue()


def tensors(name: str) -> bytes:
    tensor = {"name": name, "shape": [1], "datatype": "FP64", "data": [3.0]}
    return json.dumps({"inputs": [tensor]}).encode()


DOORS = [
    Door("POST", "/double", b"3"),
    Door("POST", "/double?key=none", b"3"),
    Door("POST", "/double", [b"3"]),
    Door("POST", "/double", b"x", status=400),
    Door("GET", "/double", status=405),
    Door("POST", "/triple", b"3"),
    Door("POST", "/triple?key=none", b"3"),
    Door("POST", "/triple", [b"3", b".5"]),
    Door("POST", "/triple", b"3\n4", {"Content-Type": "application/x-ndjson"}),
    Door("POST", "/triple", [b"3\n", b"4"], {"Content-Type": "application/x-ndjson"}),
    Door("POST", "/triple", b"3", {"Accept": "application/x-npy"}),
    Door("POST", "/triple", npy(), {"Content-Type": "application/x-npy"}),
    Door("POST", "/triple", [npy()], {"Content-Type": "application/x-npy"}),
    Door("POST", "/v2/models/triple/infer", tensors("numbers")),
    Door("POST", "/v2/models/triple/infer?key=none", [tensors("numbers")]),
    Door("GET", "/v2/models/triple"),
    Door("GET", "/v2/health/ready"),
    Door("POST", "/tri%70le", b"3"),
    Door("POST", "//triple", b"3", status=404),
    Door("POST", "/triple/../triple", b"3", status=404),
    Door("POST", "/livez/../triple", b"3", status=404),
    Door("GET", "/about"),
    Door("HEAD", "/about"),
    Door("OPTIONS", "/double", status=405),
    Door("GET", "/metrics"),
    Door("GET", "/metadata"),
    Door("GET", "/docs"),
    Door("GET", "/openapi.json"),
    Door("PATCH", "/tracing", b"{}", status=404),
    Door("GET", "/nothing", status=404),
]


@pytest.fixture(scope="module", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    [code] = [
        text
        for language, text in FENCE.findall(PAGE.read_text())
        if language == "python" and "class KeyWanted" in text
    ]
    file = tmp_path_factory.mktemp("guarded") / "service.py"
    file.write_text(code)
    options, environment = SERVERS[request.param]
    with subprocess_server(str(file), *options, env={"API_KEY": KEY, **environment}) as server:
        yield server.url


@pytest.fixture
def connection(url: str) -> Iterator[HTTPConnection]:
    """One connection for all, as a gateway keeps it."""
    where = httpx.URL(url)
    made = HTTPConnection(where.host, where.port, timeout=DEADLINE_S)
    yield made
    made.close()


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.method} {door.target}")
def test_no_request_gets_in_without_the_key(connection: HTTPConnection, door: Door) -> None:
    keys = [KEY, None, KEY, "open", "", KEY.upper(), None, KEY]

    statuses = [door.status_of(connection, key) for key in keys]

    let_in = door.status
    assert statuses == [let_in, 401, let_in, 401, 401, 401, 401, let_in]


@pytest.mark.parametrize("probe", ["/livez", "/readyz", "/healthz"])
def test_probes_need_no_key(connection: HTTPConnection, probe: str) -> None:
    assert Door("GET", probe).status_of(connection, None) == 200


def test_a_refusal_says_what_is_wanted(url: str) -> None:
    refused = httpx.post(f"{url}/double", json=3)

    error: dict[str, Any] = refused.json()
    assert (error["code"], error["message"]) == ("http_401", "a key is wanted")
    assert refused.headers["www-authenticate"] == "Bearer"
