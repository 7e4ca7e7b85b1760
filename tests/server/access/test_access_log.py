"""The access log: a line for each request, whichever way it came, and a count of what was lost."""

import io
import json
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import httpx
import numpy as np
import pytest

from spanserve.server.access.access_log import MOST_ENTRIES, AccessLog, Entry
from support.serving import subprocess_server, until

SERVICE: Final = """
from typing import Annotated, AsyncIterator
import numpy as np
from fastapi import Depends, HTTPException
from spanserve import Array, api, service

Row = Annotated[np.ndarray, Array("float32", (2,))]

def tenant(name: str = "") -> str:
    if name == "refused":
        raise HTTPException(403)
    return name

@service
class Doors:
    @api(batch=True)
    def double(self, rows: Row) -> np.ndarray:
        return rows * 2

    @api
    def plain(self, text: str) -> str:
        if text == "raises":
            raise ValueError(text)
        return text

    @api
    async def words(self, text: str) -> AsyncIterator[str]:
        yield text

    @api(dependencies=[Depends(tenant)])
    async def asked(self, text: str) -> str:
        return text

    @classmethod
    def configure_app(cls, app):
        @app.get("/own")
        async def own() -> str:
            raise ValueError("own")
"""
KEY: Final = "a-key-of-32-characters-or-so-0001"
LINE: Final = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    spanserve\.access: (?P<client>\S+) "
    r'"(?P<method>\S+) (?P<path>\S+)" (?P<status>\d{3}) (?P<ms>[\d.]+) ms '
    r"request=(?P<request_id>\S+)( key=(?P<key>\S+))?( trace=(?P<trace_id>[0-9a-f]{32}))?"
)


def packed(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array, "float32"), allow_pickle=False)
    return out.getvalue()


REQUESTS: Final[list[tuple[str, str, dict[str, Any], int]]] = [
    ("POST", "/double", {"content": b"[1,2]"}, 200),
    ("POST", "/double", {"content": b"[1,2]"}, 200),
    ("POST", "/double", {"content": b"nope"}, 400),
    ("POST", "/double?secret=s3cr3t", {"content": b"[1,2]"}, 200),
    ("POST", "/double", {"content": b"[1,2]", "headers": {"X-API-Key": "wrong"}}, 401),
    (
        "POST",
        "/double",
        {"content": packed([1, 2]), "headers": {"Content-Type": "application/x-npy"}},
        200,
    ),
    ("POST", "/plain", {"json": "a"}, 200),
    ("POST", "/plain", {"json": "raises"}, 500),
    ("POST", "/words", {"json": "a"}, 200),
    ("POST", "/asked", {"json": "a"}, 200),
    ("POST", "/asked?name=refused", {"json": "a"}, 403),
    ("GET", "/double", {}, 405),
    ("GET", "/own", {}, 500),
    ("GET", "/livez", {}, 200),
    ("GET", "/no%0Awhere%22", {}, 404),
]


@pytest.mark.parametrize("form", ["text", "json"])
def test_each_request_has_a_line_with_its_ids(tmp_path: Path, form: str) -> None:
    (tmp_path / "doors.py").write_text(SERVICE)
    config = tmp_path / "spanserve.yml"
    config.write_text(
        f"tracing: {{type: console, console: {{output: {tmp_path / 'spans'}}}}}\n"
        f"server: {{access_log: true, auth: {{keys: [{{name: mine, key: {KEY}}}]}}}}\n"
        f"logging: {{format: {form}}}\n"
    )
    wanted = []
    with subprocess_server(str(tmp_path / "doors.py"), "--config", str(config)) as server:
        with httpx.Client(base_url=server.url) as client:
            for method, path, options, status in REQUESTS:
                headers = {"X-API-Key": KEY, **options.get("headers", {})}
                answer = client.request(method, path, **{**options, "headers": headers})
                assert answer.status_code == status, (method, path)
                wanted.append(
                    {
                        "client": "127.0.0.1",
                        "method": method,
                        "path": unquote(path.partition("?")[0]),
                        "status": status,
                        "request_id": answer.headers["x-request-id"],
                        "trace_id": answer.headers.get("x-trace-id"),
                    }
                )
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 10) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
        assert until(lambda: len(lines_of(server.text(), form)) > len(wanted))
        assert server.stop(15) == 0
    found = [line for line in lines_of(server.text(), form) if line["path"] != "/readyz"]
    assert found[-1]["status"] == 400
    assert found[-1]["method"] == "-"
    shown = ["client", "method", "path", "status", "request_id", "trace_id"]
    if form == "text":
        wanted = [
            {**each, "path": each["path"].replace("\n", "%0A").replace('"', "%22")}
            for each in wanted
        ]
    assert [{name: line[name] for name in shown} for line in found[:-1]] == wanted
    assert {line["key"] for line in found[:2]} == {"mine"}
    assert "s3cr3t" not in server.text()
    assert KEY not in server.text()


def lines_of(log: str, form: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in log.splitlines():
        if form == "json":
            entry = json.loads(line)
            if entry["logger"] == "spanserve.access":
                found.append({"key": None, "trace_id": None, **entry})
        elif match := LINE.fullmatch(line):
            found.append({**match.groupdict(), "status": int(match["status"])})
    return [line for line in found if line["path"] != "/readyz"]


class Stuck(io.StringIO):
    """A terminal that nobody reads, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()

    def write(self, text: str) -> int:
        assert self.open.wait(30)
        return super().write(text)


def entry(number: int) -> Entry:
    return Entry("c", "GET", "/", 200, number, number, f"r{number}", "", "")


async def test_a_log_that_nobody_reads_is_bounded_and_its_losses_are_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Stuck()
    log = AccessLog("text", time.monotonic_ns, stream)
    sent = 3 * MOST_ENTRIES
    async with log.writing():
        for number in range(sent):
            log.note(entry(number))
        assert log.dropped > 0
        stream.open.set()
    written = stream.getvalue().splitlines()
    assert len(written) + log.dropped == sent
    assert len(written) <= 2 * MOST_ENTRIES
    assert [r.getMessage() for r in caplog.records] == [
        "the access log cannot be written as fast as requests come; lines are lost"
    ]
