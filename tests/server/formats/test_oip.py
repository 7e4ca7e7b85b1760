"""The Open Inference Protocol, by a client of Triton's and by hand."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
    def score(self, rows: Pair, weights: Pair) -> np.ndarray:
        return np.asarray((rows * weights).sum(axis=1))

    @api(batch=True)
    def lengths(self, texts: list[str]) -> list[int]:
        return [len(text) for text in texts]

    @api
    def plain(self) -> None:
        """Take nothing."""


@service
class Tensors:
    """Models of each kind of datatype."""

    @api(batch=True)
    def floats(self, rows: Pair) -> npt.NDArray[np.float32]:
        return rows

    @api(batch=True)
    def halves(self, rows: Annotated[np.ndarray, Array("float16", (None,))]) -> np.ndarray:
        return rows

    @api(batch=True)
    def whole(self, rows: Annotated[np.ndarray, Array("uint8", (2, 2))]) -> npt.NDArray[np.uint8]:
        return rows

    @api(batch=True)
    def flags(self, rows: Annotated[np.ndarray, Array("bool", ())]) -> npt.NDArray[np.bool_]:
        return rows

    @api(batch=True)
    def texts(self, rows: Annotated[np.ndarray, Array("U3", (1,))]) -> np.ndarray:
        return rows

    @api(batch=True)
    def several(self, rows: Pair, other: Annotated[np.ndarray, Array("int64")]) -> np.ndarray:
        return np.asarray(rows.sum(axis=1) + other)


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
        "versions": ["1"],
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
    document = httpx.get(f"{url}/openapi.json").json()
    paths = document["paths"]
    post = paths["/v2/models/double/infer"]["post"]
    [name] = paths["/v2/models/{name}/ready"]["get"]["parameters"]
    one = post["requestBody"]["content"]["application/json"]["schema"]["anyOf"][0]
    error = post["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]

    assert name["schema"]["enum"] == ["double", "shout", "score"]
    assert {f"/v2/models/{n}{v}/infer" for n in name["schema"]["enum"] for v in VERSIONS} <= set(
        paths
    )
    tensor = one["properties"]["inputs"]["items"]["properties"]
    assert (tensor["shape"], tensor["datatype"]) == ({"const": [1, 2]}, {"const": "FP32"})
    assert "error" in document["components"]["schemas"][error.rpartition("/")[2]]["required"]


VERSIONS = ("", "/versions/1")


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


def test_the_paths_of_a_version_answer(url: str) -> None:
    models = f"{url}/v2/models"
    told = [httpx.get(f"{models}/double{version}").json() for version in VERSIONS]
    ready = httpx.get(f"{models}/double/versions/1/ready")
    given = {"name": "rows", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    answer = httpx.post(f"{models}/double/versions/1/infer", json={"inputs": [given]}).json()
    unknown = [
        httpx.get(f"{models}/double/versions/2"),
        httpx.get(f"{models}/double/versions/2/ready"),
        httpx.post(f"{models}/double/versions/2/infer", json={"inputs": [given]}),
        httpx.post(f"{models}/nobody/versions/1/infer", json={"inputs": [given]}),
    ]

    assert told[0] == told[1]
    assert told[0]["versions"] == ["1"]
    assert (ready.status_code, ready.json()) == (200, {"name": "double", "ready": True})
    assert (answer["model_version"], answer["outputs"][0]["data"]) == ("1", [2, 4])
    assert [each.status_code for each in unknown] == [404] * 4
    assert unknown[0].json()["error"] == "double has no version '2' (there: 1)"


def test_null_is_as_good_as_absent_and_an_empty_id_comes_back(url: str) -> None:
    given = {"name": "any", "shape": [1, 2], "datatype": "FP32", "data": [1, 2], "parameters": None}
    body = {"id": "", "parameters": None, "inputs": [given], "outputs": None}
    answer = httpx.post(f"{url}/v2/models/double/infer", json=body)
    outputs = [{"name": "output", "parameters": None}]
    named = httpx.post(f"{url}/v2/models/double/infer", json={**body, "outputs": outputs})
    without = httpx.post(f"{url}/v2/models/double/infer", json={"id": None, "inputs": [given]})

    assert (answer.status_code, answer.json()["id"]) == (200, ""), answer.text
    assert named.json() == answer.json()
    assert "id" not in without.json()


def test_a_bare_array_s_output_has_a_name(url: str) -> None:
    outputs = httpx.get(f"{url}/v2/models/score").json()["outputs"]

    assert outputs == [{"name": "output", "datatype": "FP64", "shape": [-1]}]


@pytest.mark.parametrize("binary_data", [False, True])
def test_several_inputs_come_in_any_order(client: Any, *, binary_data: bool) -> None:
    rows, weights = np.ones((3, 2), "float32"), np.array([[1, 2], [3, 4], [5, 6]], "float32")
    given = [
        tensor("weights", weights, "FP32", binary_data=binary_data),
        tensor("rows", rows, "FP32", binary_data=binary_data),
    ]
    outputs = [triton.InferRequestedOutput("output", binary_data=binary_data)]

    answer = client.infer("score", given, outputs=outputs)

    assert answer.as_numpy("output").tolist() == [3, 7, 11]
    with pytest.raises(triton.InferenceServerException, match="takes 'rows', 'weights'"):
        client.infer("score", given[:1])
    short = tensor("rows", rows[:2], "FP32")
    with pytest.raises(triton.InferenceServerException, match="different numbers of items"):
        client.infer("score", [given[0], short])


def test_schemathesis_finds_no_valid_request_that_is_refused(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "schemathesis"
    checks = "positive_data_acceptance,response_schema_conformance,content_type_conformance"
    with serving(Tensors) as server:
        found = subprocess.run(
            [
                *(str(command), "run", f"{server.url}/openapi.json", "--checks", checks),
                *("--include-path-regex", "^/v2/models/[a-z]+(/versions/1)?/infer$"),
                *("--max-examples", "40", "--seed", "1", "--mode", "positive"),
                *("--phases", "examples,coverage,fuzzing"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert found.returncode == 0, found.stdout[-4000:] + found.stderr[-1000:]
