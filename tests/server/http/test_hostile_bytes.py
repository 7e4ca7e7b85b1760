"""Whatever bytes a client sends, through every door: its own fault is never a 500."""

import gzip
import json
import logging
import zlib
from collections.abc import AsyncIterator, Iterator
from http.client import HTTPConnection, HTTPException
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from spanserve import Array, api, service
from support.serving import serving
from support.traces import Keeps

TOKEN: Final = "a token of sixteen characters"
Headers = dict[bytes, bytes]


class Person(BaseModel):
    """What an item may be."""

    name: str
    age: int = 0


@service
class Doors:
    """An endpoint of each kind of codec; none can fail."""

    @api(batch=True)
    def vector(self, rows: Annotated[np.ndarray, Array("float32", (2,))]) -> np.ndarray:
        return rows

    @api(batch=True)
    def matrix(self, rows: Annotated[np.ndarray, Array("int8", (2, None))]) -> np.ndarray:
        return rows

    @api(batch=True)
    def anything(self, arrays: npt.NDArray[np.float64]) -> np.ndarray:
        return arrays

    @api(batch=True)
    def texts(self, texts: Annotated[np.ndarray, Array("<U5", (None,))]) -> np.ndarray:
        return texts

    @api(batch=True)
    def flags(self, flags: Annotated[np.ndarray, Array("bool", ())]) -> np.ndarray:
        return flags

    @api(batch=True)
    def people(self, people: list[Person]) -> list[Person]:
        return people

    @api
    def names(self, text: str, number: float = 0.0, rest: Any = None) -> Any:
        return [text, number, rest]

    @api
    def value(self, value: Any) -> Any:
        return value

    @api
    def nothing(self) -> None:
        """Take nothing."""

    @api
    async def words(self, text: str) -> AsyncIterator[str]:
        yield text


ARRAYS: Final = ("vector", "matrix", "anything", "texts", "flags")
ROUTES: Final = (*ARRAYS, "people", "names", "value", "nothing", "words")


class Client:
    """One that sends what others cannot."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def close(self) -> None:
        self._connection.close()

    def send(self, method: str, path: str, headers: Headers, body: bytes = b"") -> int:
        """Return the answer's status; 0 where the parser of HTTP itself closed the connection."""
        connection = self._connection
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        try:
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.read()
        except (HTTPException, ConnectionError):
            connection.close()
            return 0
        return answer.status


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    config = {"tracing": {"control": {"token": TOKEN}}}
    with serving(Doors, config, tracers=[("keeps", Keeps(), {})]) as server:
        client = Client(server.port)
        yield client
        client.close()


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No failure of the server's own goes without a line in its log."""
    yield
    told = [each for each in caplog.get_records("call") if each.levelno >= logging.ERROR]
    assert [each.getMessage() for each in told] == []


def check(status: int) -> None:
    assert status < 500, status


hostile = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

JSON_VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**40, -(2**63), 1 << 64, 1e300, -1e300, 1e-320])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "number", "name", "age", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
ROWS: Final = st.lists(st.floats() | st.integers(-200, 200), min_size=1, max_size=3)


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Draw a body, and most often spoil it somewhere."""
    body = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(body)))
        body[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(body)


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


JSON: Final = (
    mutated((JSON_VALUES | ROWS).map(dumped))
    | st.binary(max_size=20)
    | st.integers(1, 5000).map(lambda depth: b"[" * depth)
)
HEADER_BYTES: Final = st.binary(max_size=40).map(
    lambda value: bytes(each for each in value if each >= 0x20 and each != 0x7F).strip()
)


def worded(*words: bytes) -> st.SearchStrategy[bytes]:
    """Return headers made of such words, in any order, and of others."""
    return (
        st.lists(st.sampled_from(words) | HEADER_BYTES, max_size=6)
        .map(b"".join)
        .filter(lambda value: not value.startswith((b" ", b"\t")))
    )


@hostile
@given(route=st.sampled_from(ROUTES), body=JSON, query=st.booleans())
def test_json_of_any_kind_is_an_item_or_the_client_s_fault(
    client: Client, route: str, body: bytes, *, query: bool
) -> None:
    check(client.send("POST", f"/{route}?a=1" if query else f"/{route}", {}, body))


@hostile
@given(route=st.sampled_from([*ARRAYS, "people"]), lines=st.lists(JSON, max_size=5))
def test_lines_of_any_kind_are_answered(client: Client, route: str, lines: list[bytes]) -> None:
    headers = {b"Content-Type": b"application/x-ndjson"}
    check(client.send("POST", f"/{route}", headers, b"\n".join(lines)))


@hostile
@given(
    route=st.sampled_from(ROUTES),
    body=mutated(JSON.map(gzip.compress) | JSON.map(zlib.compress)),
    coding=st.sampled_from([b"gzip", b"deflate", b"gzip, deflate", b"br"]) | HEADER_BYTES,
)
def test_compressed_bodies_of_any_kind_are_read_or_the_client_s_fault(
    client: Client, route: str, body: bytes, coding: bytes
) -> None:
    check(client.send("POST", f"/{route}", {b"Content-Encoding": coding}, body))


def npy_body(header: bytes, data: bytes, version: bytes = b"\x01\x00") -> bytes:
    width = 2 if version == b"\x01\x00" else 4
    return b"\x93NUMPY" + version + len(header).to_bytes(width, "little") + header + data


SHAPES: Final = st.lists(
    st.integers(0, 3) | st.sampled_from([10**40, 2**62, -1, True]), max_size=4
) | st.integers(1, 100).map(lambda axes: [1] * axes)
NPY: Final = st.builds(
    lambda descr, order, shape, data, version: npy_body(
        f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {tuple(shape)}, }}".encode(),
        data,
        version,
    ),
    st.sampled_from(["<f4", "<f8", "|i1", "|b1", "<U5", "|O", "<U0", "<M8[s]", "<f99", [("a", 1)]])
    | st.text(st.characters(codec="latin-1"), max_size=6),
    st.sampled_from(["False", "True", "1", "()"]),
    SHAPES,
    st.binary(max_size=40),
    st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00"]),
)


def shaped(shape: str, data: bytes = b"") -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    return npy_body(header.encode(), data)


@hostile
@given(
    route=st.sampled_from(ARRAYS),
    body=mutated(NPY),
    accept=st.sampled_from([b"*/*", b"application/json"]),
)
@example("anything", shaped("(0, 1" + "0" * 40 + ")"), b"*/*")
@example("anything", shaped(f"({'1, ' * 100})", bytes(4)), b"*/*")
@example("anything", shaped("(True,)", bytes(4)), b"*/*")
@example("matrix", shaped("(9223372036854775807, 2, 0)"), b"*/*")
@example("vector", shaped("(" + "-" * 5000 + "1,)"), b"*/*")
@example("vector", shaped("(2,)", bytes(8)).replace(b"'<f4'", b"'<\\q'"), b"*/*")
def test_arrays_of_any_kind_are_items_or_the_client_s_fault(
    client: Client, route: str, body: bytes, accept: bytes
) -> None:
    headers = {b"Content-Type": b"application/x-npy", b"Accept": accept}
    check(client.send("POST", f"/{route}", headers, body))


INPUTS: Final = {"vector": "rows", "matrix": "rows", "anything": "arrays", "texts": "texts"}
DATATYPES: Final = st.sampled_from(["FP32", "FP64", "INT8", "UINT64", "BOOL", "BYTES", "FP16", "X"])


MANY_OF_NOTHING: Final = dumped(
    {"inputs": [{"name": "arrays", "shape": [2**62, 0], "datatype": "FP32", "data": []}]}
)


@st.composite
def protocol_bodies(draw: st.DrawFn) -> tuple[str, bytes, bytes]:
    """Draw a model, a request of the protocol to it, and the length of its JSON as it is said."""
    model = draw(st.sampled_from(list(INPUTS)))
    raw = draw(st.binary(max_size=24))
    tensor: dict[str, Any] = {
        "name": INPUTS[model],
        "shape": draw(SHAPES),
        "datatype": draw(DATATYPES),
    }
    if draw(st.booleans()):
        tensor["data"] = draw(JSON_VALUES | ROWS | st.lists(ROWS, max_size=3))
    else:
        tensor["parameters"] = {"binary_data_size": draw(st.just(len(raw)) | JSON_VALUES)}
    request = {"inputs": [tensor], "parameters": {"binary_data_output": draw(st.booleans())}}
    text = draw(mutated(st.just(dumped(request))))
    said = draw(st.just(b"%d" % len(text)) | st.just(b"") | worded(b"\xb2", b"1", b"-", b" ", b"_"))
    return model, text + raw, said


@hostile
@given(protocol_bodies())
@example(("vector", b"{}", b"\xb2"))
@example(("anything", MANY_OF_NOTHING, b""))
def test_tensors_of_any_kind_are_items_or_the_client_s_fault(
    client: Client, sent: tuple[str, bytes, bytes]
) -> None:
    model, body, said = sent
    headers = {b"Inference-Header-Content-Length": said} if said else {}
    check(client.send("POST", f"/v2/models/{model}/infer", headers, body))


MEDIA: Final = worded(
    *(b"application/json", b"application/x-npy", b"application/x-ndjson", b"text/event-stream"),
    *(b"*/*", b",", b";", b"q=", b"q=0.5", b"=", b" ", b"charset=utf-8", b"\xb2", b"nan"),
)
TRACES: Final = worded(
    *(b"00-", b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7", b"-", b":", b"01", b"1"),
    *(b"0", b"d", b"true", b"a=b", b",", b"=", b"%0A", b"%", b"ff", b"\xb2", b"\xff"),
)
OWN: Final = st.fixed_dictionaries(
    {},
    optional={
        b"Accept": MEDIA,
        b"Content-Type": MEDIA,
        **dict.fromkeys(
            (
                *(b"traceparent", b"tracestate", b"baggage", b"b3", b"uber-trace-id"),
                *(b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags"),
                *(b"jaeger-debug-id", b"jaeger-baggage", b"uberctx-a", b"user-agent"),
                *(b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id"),
            ),
            TRACES,
        ),
        b"x-request-timeout-ms": worded(b"9", b"99", b".", b"e", b"\xb2", b"-", b"inf").filter(
            lambda value: value.strip(b"0.")[:1] not in b"0123456789" or value[:2] >= b"99"
        ),
    },
)


@hostile
@given(route=st.sampled_from(ROUTES), headers=OWN, query=st.booleans())
def test_headers_of_any_kind_are_understood_or_left_alone(
    client: Client, route: str, headers: Headers, *, query: bool
) -> None:
    check(client.send("POST", f"/{route}?a" if query else f"/{route}", headers, b"[1, 2]"))


@hostile
@given(
    worded(
        *(b"application/openmetrics-text", b"text/plain", b";", b",", b" ", b"version=", b"1.0.0"),
        *(b"0.0.4", b"x", b"escaping=", b"allow-utf-8", b"values", b"q=1", b"\xb2", b"99"),
    )
)
@example(b"application/openmetrics-text; version=x")
@example(b"application/openmetrics-text; version=1.0.0; escaping=x")
@example(b"text/plain; version=\xb2")
def test_metrics_come_whatever_format_is_asked_for(client: Client, accept: bytes) -> None:
    assert client.send("GET", "/metrics", {b"Accept": accept}) == 200


@hostile
@given(
    body=mutated(
        st.dictionaries(
            st.sampled_from(["sample_rate", "keep", "for_s"]), JSON_VALUES, max_size=3
        ).map(dumped)
    )
    | JSON,
    token=st.sampled_from([TOKEN.encode()] * 3 + [b"", b"\xff"]) | HEADER_BYTES,
)
def test_what_is_recorded_is_changed_or_not(client: Client, body: bytes, token: bytes) -> None:
    headers = {b"Authorization": b"Bearer " + token, b"Content-Type": b"application/json"}
    check(client.send("PATCH", "/tracing", headers, body))
