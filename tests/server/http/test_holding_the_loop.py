"""No request of arrays or lines keeps the others waiting: how late a timer of the server's is.

Run as a script it prints the figures, of bodies of so many megabytes: `python
tests/server/http/test_holding_the_loop.py 20`, with `tests` in PYTHONPATH.
"""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import httpx
import numpy as np
import pytest

from support.serving import subprocess_server

LATE: Final = Path(__file__).parents[2] / "support" / "services" / "late.py"
MEGABYTES: Final = 2.0
TIMES: Final = 5
MOST_MS: Final = 20.0


class Case(NamedTuple):
    """A request, and the status of its answer."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 200


LINES: Final = {"Content-Type": "application/x-ndjson"}
NPY: Final = {"Content-Type": "application/x-npy"}


def packed(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def binary(array: Any) -> Case:
    data = array.tobytes()
    head = (
        b'{"inputs":[{"name":"arrays","shape":[1,%d],"datatype":"FP32","parameters":'
        b'{"binary_data_size":%d}}],"parameters":{"binary_data_output":true}}'
        % (len(array), len(data))
    )
    length = {"Inference-Header-Content-Length": str(len(head))}
    return Case("/v2/models/echo/infer", length, head + data)


def cases(size: int) -> dict[str, Case]:
    """Return requests of about so many bytes."""
    numbers = b"[" + b"0.123456," * (size // 9) + b"1]"
    tensor = b'{"inputs":[{"name":"arrays","shape":[1,%d],"datatype":"FP32","data":%b}]}'
    floats = np.zeros(size // 4, "float32")
    return {
        "entries for 64": Case("/row", {}, b"[" + b"1," * (size // 2) + b"1]", 422),
        "numbers": Case("/numbers", {}, numbers),
        "rows of one": Case("/anything", {}, b"[" + b"[1]," * (size // 4) + b"[1]]"),
        "rows for a row": Case("/numbers", {}, b"[" + b"[1]," * (size // 4) + b"[1]]", 422),
        "a text at the end": Case("/numbers", {}, b"[" + b"1," * (size // 2) + b'"x"]', 422),
        "a list without end": Case("/numbers", {}, b"[" + b"1," * (size // 2), 400),
        "texts": Case("/texts", {}, b"[" + b'"abc",' * (size // 6) + b'""]'),
        "lines that are none": Case("/row", LINES, b"x\n" * (size // 20)),
        "blank lines": Case("/row", LINES, b"\n" * size),
        "a long line": Case("/numbers", LINES, numbers),
        "numbers and back": Case("/echo", {}, numbers),
        "npy and back": Case("/echo", NPY, packed(floats)),
        "npy that widens": Case("/anything", NPY, packed(np.zeros(size, "int8"))),
        "npy of columns": Case("/anything", NPY, packed(np.zeros((9, size // 36), "f4", "F"))),
        "tensors and back": Case("/v2/models/echo/infer", {}, tensor % (size // 9 + 1, numbers)),
        "binary and back": binary(floats),
    }


class Late:
    """A server that says how late its timer was."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.asked()

    def asked(self) -> float:
        """Return the worst lateness since the last time, in ms."""
        return float(self._client.get("/late").text)

    def meanwhile(self, case: Case) -> float:
        """Return the worst lateness while a request is answered."""
        found = []
        for _ in range(TIMES):
            self.asked()
            answer = self._client.post(case.path, content=case.body, headers=case.headers)
            assert answer.status_code == case.status, answer.text[:500]
            found.append(self.asked())
        return median(found)


@pytest.fixture(scope="module")
def late() -> Iterator[Late]:
    with (
        subprocess_server(str(LATE)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        yield Late(client)


CASES: Final = cases(int(MEGABYTES * 1e6))


@pytest.mark.parametrize("name", CASES)
def test_a_long_request_holds_the_loop_for_a_moment_only(late: Late, name: str) -> None:
    assert late.meanwhile(CASES[name]) <= MOST_MS


def told(megabytes: float) -> Iterator[str]:
    """Yield how long each kind of request holds the loop."""
    with (
        subprocess_server(str(LATE)) as server,
        httpx.Client(base_url=server.url, timeout=600) as client,
    ):
        late = Late(client)
        for name, case in cases(int(megabytes * 1e6)).items():
            yield f"{name:22} {late.meanwhile(case):7.1f} ms"


if __name__ == "__main__":
    for line in told(float(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
