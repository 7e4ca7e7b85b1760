"""The Open Inference Protocol, by a client of Triton's and by hand."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from hypothesis import example, given
from hypothesis import strategies as st

from spanserve import Array, api, service
from spanserve.service.codecs.problems import InvalidBody, InvalidItem
from spanserve.service.codecs.steps import finished
from spanserve.service.codecs.tensors import DATATYPES, Tensor, datatype_of
from spanserve.service.results.large_results import binary
from spanserve.tracing.model import names
from support.holding import HELD
from support.serving import serving, until
from support.traces import Keeps, check_all, is_batch, named

Pair = Annotated[np.ndarray, Array("float32", (2,))]


@service
class Models:
    """Two models of arrays, one of texts in arrays, and what is none."""

    @api(batch=True, max_batch_size=64)
    def double(self, rows: Pair) -> npt.NDArray[np.float32]:
        if (rows == 13).any():
            raise ValueError("thirteen")
        return rows * 2

    @api(batch=True)
    def shout(self, texts: Annotated[np.ndarray, Array("str", ())]) -> np.ndarray:
        return np.char.upper(texts)

    @api(batch=True)
    def lengths(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @api
    def plain(self) -> None:
        """Take nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Models) as server:
        yield server.url


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def tensor(name: str, array: Any, datatype: str, **how: Any) -> Any:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array, **how)
    return given


def test_a_client_of_tritons_finds_the_server_and_its_models(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert not client.is_model_ready("lengths")
    assert client.get_server_metadata()["name"] == "Models"
    assert client.get_model_metadata("double") == {
        "name": "double",
        "platform": "spanserve",
        "inputs": [{"name": "rows", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1]}],
    }


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_a_client_of_tritons_gets_its_answers(
    client: Any, *, binary_in: bool, binary_out: bool | None
) -> None:
    rows = np.arange(20, dtype="float32").reshape(10, 2) + 20
    outputs = None
    if binary_out is not None:
        outputs = [triton.InferRequestedOutput("output", binary_data=binary_out)]
    result = client.infer(
        "double",
        [tensor("rows", rows, "FP32", binary_data=binary_in)],
        outputs=outputs,
        request_id="seven",
    )
    assert result.get_response()["id"] == "seven"
    assert (result.as_numpy("output") == rows * 2).all()


@pytest.mark.parametrize("binary_data", [True, False])
def test_texts_are_tensors_too(client: Any, *, binary_data: bool) -> None:
    texts = np.array(["ä", "bc", ""], dtype=object)
    result = client.infer("shout", [tensor("texts", texts, "BYTES", binary_data=binary_data)])
    assert [text.decode() for text in result.as_numpy("output")] == ["Ä", "BC", ""]


def test_a_client_of_tritons_learns_what_was_wrong(client: Any) -> None:
    wrong = tensor("rows", np.zeros((1, 3), "float32"), "FP32")
    with pytest.raises(triton.InferenceServerException, match=r"shape \(3,\); one item is float32"):
        client.infer("double", [wrong])
    with pytest.raises(triton.InferenceServerException, match=r"unknown model 'doubel'.*'double'"):
        client.infer("doubel", [wrong])


def test_a_client_of_tritons_can_read_of_what_is_not_there(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match="no '/v2/models/double/config' here"):
        client.get_model_config("double")


def test_another_method_has_an_error_of_the_protocol_s(url: str) -> None:
    answer = httpx.get(f"{url}/v2/models/double/infer")
    error = answer.json()
    assert (answer.status_code, error["error"]) == (405, error["message"])


def test_the_openapi_document_names_the_models(url: str) -> None:
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    [name] = paths["/v2/models/{name}/infer"]["post"]["parameters"]
    assert name["schema"]["enum"] == ["double", "shout"]


def infer(url: str, changes: dict[str, Any], name: str = "double") -> httpx.Response:
    given = {"name": "rows", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    body = {"inputs": [given | changes]}
    return httpx.post(f"{url}/v2/models/{name}/infer", json=body)


def test_an_answer_by_hand(url: str) -> None:
    answer = infer(url, {"data": [[1, 2], [3, 4]]})
    output = {"name": "output", "datatype": "FP32", "shape": [2, 2], "data": [2, 4, 6, 8]}
    assert answer.json() == {"model_name": "double", "outputs": [output]}
    assert "x-request-id" in answer.headers


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"name": "no"}, 422, "the inputs are ['no']; double takes 'rows'"),
        ({"shape": [3, 2]}, 422, "4 entries there, 6 wanted by the shape [3, 2]"),
        ({"shape": [4]}, 422, "an array of shape (); one item is float32 of shape (2,)"),
        ({"shape": [-1, 2]}, 400, "inputs.0.shape.0"),
        ({"datatype": "FP99"}, 422, "unknown datatype 'FP99'"),
        ({"data": ["a", "b", "c", "d"]}, 422, "'rows': item 0[0] is no FP32"),
        ({"data": [[1], [2, 3]]}, 422, "ragged"),
        ({"data": None}, 422, "has no data"),
        ({"datatype": "INT8", "data": [1, 2, 3, 400]}, 422, "item 1[1] does not fit INT8"),
        ({"parameters": {"binary_data_size": 4}}, 400, "0 bytes follow the JSON, 4 are said to"),
        ({"parameters": {"binary_data_size": "x"}}, 400, "binary_data_size is 'x'"),
        ({"data": [1, 2, 13, 4]}, 500, "item 1: the service raised ValueError"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_words(
    url: str, changes: dict[str, Any], status: int, words: str
) -> None:
    answer = infer(url, changes)
    error = answer.json()
    assert answer.status_code == status
    assert words in error["error"]
    assert (error["error"], error["request_id"]) == (
        error["message"],
        answer.headers["x-request-id"],
    )


@pytest.mark.parametrize("name", ["lengths", "plain", "nobody"])
def test_what_takes_no_array_is_no_model(url: str, name: str) -> None:
    assert infer(url, {}, name).status_code == 404
    assert httpx.get(f"{url}/v2/models/{name}").status_code == 404


def test_a_service_without_arrays_has_no_such_routes() -> None:
    @service
    class Texts:
        @api(batch=True)
        def lengths(self, texts: list[str]) -> list[int]:
            return [len(text) for text in texts]

    with serving(Texts) as server:
        assert httpx.get(f"{server.url}/v2").status_code == 404


def test_its_items_are_batched_with_those_of_the_plain_route() -> None:
    kept = Keeps()
    body = {"inputs": [{"name": "numbers", "shape": [2], "datatype": "FP64", "data": [3, 4]}]}
    with (
        serving(str(HELD), tracers=[("kept", kept, {})]) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        post = server.url
        hold = pool.submit(httpx.post, f"{post}/hold")
        assert until(lambda: server.metrics()["spanserve_runner_busy"] == 1)
        sent = [pool.submit(httpx.post, f"{post}/predict", json=number) for number in (1, 2)]
        sent.append(pool.submit(httpx.post, f"{post}/v2/models/predict/infer", json=body))
        depth = 'spanserve_queue_depth{endpoint="/predict"}'
        assert until(lambda: server.metrics()[depth] == 4)
        httpx.post(f"{post}/release")
        assert hold.result().status_code == 200
        answers = [each.result() for each in sent]
    assert [answers[0].json(), answers[1].json()] == [2, 4]
    assert answers[2].json()["outputs"][0]["data"] == [6, 8]
    check_all(kept.spans)
    [batch] = filter(is_batch, kept.spans)
    assert (batch.attributes[names.BATCH_SIZE], len(batch.links)) == (4, 4)
    [root] = named("POST /v2/models/{name}/infer", kept.spans)
    assert root.attributes[names.ENDPOINT] == "/predict"
    own = [span.name for span in kept.spans if span.trace_id == root.trace_id]
    assert [own.count(name) for name in ("decode", "queue", "run", "encode")] == [1, 2, 2, 1]


@example("FP32", b"", [9] * 20 + [0])
@example("FP32", b"", [0] * 70)
@given(st.sampled_from(sorted(DATATYPES)), st.binary(max_size=64), st.lists(st.integers(0, 9)))
def test_any_bytes_are_a_tensor_or_are_refused(kind: str, raw: bytes, shape: list[int]) -> None:
    try:
        array = finished(Tensor(name="x", shape=shape, datatype=kind).array(memoryview(raw)))
    except (InvalidBody, InvalidItem):
        return
    assert list(array.shape) == shape
    if kind != "BOOL":
        assert (datatype_of(array.dtype), b"".join(finished(binary(array)))) == (kind, raw)
