"""Who may look at the traces: each door, each refusal."""

import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from spanserve import api, service
from spanserve_local.pages.access import Access, is_loopback
from spanserve_local.tracer import Local
from support.serving import Serving, serving

TOKEN = "a-token-of-many-characters"
PATHS = ("/traces/", "/traces/api/status", "/traces/api/traces", "/traces/api/openapi.json")
SCRIPT = "/traces/assets/app.js"


@service
class Echo:
    @api
    def echo(self, number: int) -> int:
        return number


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server without a token."""
    path = tmp_path_factory.mktemp("open") / "traces.db"
    with serving(Echo, tracers=[("local", Local(), {"path": path})]) as server:
        yield server


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a token."""
    path = tmp_path_factory.mktemp("closed") / "traces.db"
    tracer = ("local", Local(), {"path": path, "token": TOKEN})
    with serving(Echo, tracers=[tracer]) as server:
        yield server


def head(server: Serving, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Ask with exactly these headers; return the status, and the body."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    first, _, rest = answer.decode().partition("\r\n")
    return int(first.split()[1]), rest


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:80", "127.8.9.10:1"])
def test_whoever_sits_at_the_machine_may_look(open_server: Serving, path: str, host: str) -> None:
    assert head(open_server, path, {"Host": host})[0] == 200


@pytest.mark.parametrize("path", [*PATHS, SCRIPT])
@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Host": "evil.example"}, "its Host is not this machine's"),
        ({"Host": "localhost.evil.example"}, "its Host is not this machine's"),
        ({"Host": "127.0.0.1.evil.example:80"}, "its Host is not this machine's"),
        ({"Host": "192.168.0.7:8000"}, "its Host is not this machine's"),
        ({"Host": "localhost", "Forwarded": "for=1.2.3.4"}, "header forwarded"),
        ({"Host": "localhost", "X-Forwarded-For": "127.0.0.1"}, "header x-forwarded-for"),
        ({"Host": "localhost", "X-Forwarded-Host": "localhost"}, "header x-forwarded-host"),
        ({"Host": "localhost", "X-Forwarded-Proto": "https"}, "header x-forwarded-proto"),
        ({"Host": "localhost", "X-FORWARDED-Anything": ""}, "header x-forwarded-anything"),
        ({"Host": "localhost", "X-Real-IP": "127.0.0.1"}, "header x-real-ip"),
        ({"Host": "localhost", "Via": "1.1 proxy"}, "header via"),
    ],
)
def test_without_a_token_what_comes_from_elsewhere_is_refused_with_what_to_set(
    open_server: Serving, path: str, headers: Mapping[str, str], why: str
) -> None:
    status, answer = head(open_server, path, headers)
    assert status == 403
    assert why in answer.replace("&#x27;", "'")
    assert "set tracing.local.token (SPANSERVE__TRACING__LOCAL__TOKEN)" in answer


@pytest.mark.parametrize("peer", ["172.17.0.1", "10.0.0.1", "::ffff:172.17.0.1", "fe80::1"])
def test_a_peer_beyond_this_machine_is_refused_as_a_containers_network_is(peer: str) -> None:
    scope = {"client": (peer, 1), "headers": [(b"host", b"localhost")]}
    refusal = Access(None).refusal(scope)
    assert refusal is not None
    assert refusal.status == 403
    assert "it comes from another machine or a container's network" in refusal.message
    assert "SPANSERVE__TRACING__LOCAL__TOKEN" in refusal.message


@pytest.mark.parametrize(
    "scope",
    [
        {"client": None, "headers": [(b"host", b"localhost")]},
        {"client": ("127.0.0.1", 1), "headers": []},
        {"client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost"), (b"host", b"evil")]},
    ],
)
def test_what_cannot_be_told_is_refused(scope: Mapping[str, object]) -> None:
    assert Access(None).refusal(scope) is not None


def test_names_and_addresses_of_this_machine() -> None:
    own = ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "127.1.2.3", "::1"]
    own += ["::ffff:127.0.0.1"]
    others = ["", "0.0.0.0", "localhost.example", "2130706433", "0x7f.1", "::2", "127.0.0.1.nip.io"]
    assert [host for host in [*own, *others] if is_loopback(host)] == own


@pytest.mark.parametrize("path", [*PATHS, SCRIPT])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer another-token-of-some-length"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "spanserve_traces=99999999999.00"},
        {"Cookie": f"spanserve_traces={TOKEN}"},
        {"Cookie": "spanserve_traces=ü.ü"},
        {"Cookie": "="},
    ],
)
def test_with_a_token_nobody_gets_in_without_it(
    closed_server: Serving, path: str, headers: Mapping[str, str]
) -> None:
    assert head(closed_server, path, {"Host": "localhost", **headers})[0] == 401
    assert head(closed_server, f"{path}?token={TOKEN}", {"Host": "localhost", **headers})[0] == 401


@pytest.mark.parametrize("path", PATHS)
def test_a_token_opens_every_door_from_anywhere(closed_server: Serving, path: str) -> None:
    from_afar = {"Host": "traces.example", "X-Forwarded-For": "1.2.3.4"}
    assert head(closed_server, path, {**from_afar, "Authorization": f"Bearer {TOKEN}"})[0] == 200


def login(server: Serving, token: str, following: str = "") -> httpx.Response:
    form = {"token": token, "next": following}
    return httpx.post(f"{server.url}/traces/login", data=form)


def test_a_form_sets_a_cookie_that_opens_and_does_not_hold_the_token(
    closed_server: Serving,
) -> None:
    answer = login(closed_server, TOKEN, "trace=0af7651916cd43dd8448eb211c80319c&span=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "./?trace=0af7651916cd43dd8448eb211c80319c&span=1"
    cookie, *flags = answer.headers["set-cookie"].split("; ")
    assert flags == ["HttpOnly", "SameSite=Lax", "Path=/traces", "Max-Age=43200"]
    assert TOKEN not in cookie
    assert head(closed_server, "/traces/", {"Host": "localhost", "Cookie": cookie})[0] == 200
    last = "1" if cookie[-1] == "0" else "0"
    forged = {"Host": "localhost", "Cookie": f"{cookie[:-1]}{last}"}
    assert head(closed_server, "/traces/", forged)[0] == 401
    later = re.sub(r"=(\d+)\.", lambda found: f"={int(found[1]) + 1}.", cookie)
    assert head(closed_server, "/traces/", {"Host": "localhost", "Cookie": later})[0] == 401


@pytest.mark.parametrize("token", ["", "no", TOKEN[:-1], f"{TOKEN}x", "x" * 100_000])
def test_a_wrong_token_sets_no_cookie(closed_server: Serving, token: str) -> None:
    answer = login(closed_server, token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("following", ["//evil.example", "a\r\nSet-Cookie: b=c", "<script>", "é"])
def test_a_login_leads_nowhere_else(closed_server: Serving, following: str) -> None:
    assert login(closed_server, TOKEN, following).headers["location"] == "./"
    assert following not in login(closed_server, "wrong", following).text


@pytest.mark.parametrize(
    "path", [*PATHS, "/traces/login", "/traces/nowhere", "/traces/assets/x.js"]
)
def test_every_answer_has_the_headers_that_keep_a_browser_safe(
    open_server: Serving, closed_server: Serving, path: str
) -> None:
    for server in (open_server, closed_server):
        answer = httpx.get(f"{server.url}{path}")
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'; ")
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


def test_the_viewers_own_requests_are_not_traced(open_server: Serving) -> None:
    before = open_server.metrics()['spanserve_spans_recorded_total{tracer="local"}']
    for path in (*PATHS, "/traces", "/traces/nowhere"):
        assert "x-trace-id" not in httpx.get(f"{open_server.url}{path}").headers
    after = open_server.metrics()['spanserve_spans_recorded_total{tracer="local"}']
    assert after == before
    assert "x-trace-id" in httpx.post(f"{open_server.url}/echo", json=1).headers


def test_no_method_but_reading_is_answered(open_server: Serving) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in PATHS:
            assert httpx.request(method, f"{open_server.url}{path}").status_code == 405


def test_it_works_beside_keys_and_under_a_root_path(tmp_path: Path) -> None:
    config = {"server": {"auth": {"keys": ["a-key-of-the-service"]}, "root_path": "/shop"}}
    tracer = ("local", Local(), {"path": tmp_path / "traces.db", "token": TOKEN})
    with serving(Echo, config, tracers=[tracer]) as server:
        assert httpx.post(f"{server.url}/echo", json=1).status_code == 401
        with httpx.Client(base_url=server.url) as client:
            assert client.get("/traces/api/status").status_code == 401
            form = {"token": TOKEN, "next": ""}
            answer = client.post("/traces/login", data=form)
            assert "; Path=/shop/traces; " in answer.headers["set-cookie"]
            cookie = answer.headers["set-cookie"].partition(";")[0]
            found = httpx.get(f"{server.url}/traces/api/status", headers={"Cookie": cookie})
            assert found.status_code == 200, found.text
