"""REST v2 with the real Triton behind: unmodified clients of others, and Triton's own REST as the reference."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tritonclient.http as httpclient
import tritonclient.http.aio as aioclient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from multimodal_contract.dtypes import TABLE
from service_testing.waiting import until
from serving import KEY, Proxy, proxy

FP32 = models.identity_name("FP32")
LARGE = 1_300_000  # elements of FP32, 5 MB


@pytest.fixture(scope="module")
def known() -> Iterator[DominoStandIn]:
    with DominoStandIn() as stand_in:
        stand_in.add_user("ann", api_key=KEY)
        yield stand_in


@pytest.fixture(scope="module")
def rest(triton: Triton, known: DominoStandIn) -> Iterator[Proxy]:
    with proxy(triton.grpc_url, known.url) as served:
        until(lambda: served.server.statistics().health.serving >= {"", "inference.GRPCInferenceService"})
        yield served


def address(rest: Proxy) -> str:
    return f"127.0.0.1:{rest.server.http_port}"


def credential() -> dict[str, str]:
    # The client writes fields of its own into what it is given.
    return {"x-domino-api-key": KEY}


@pytest.fixture
def client(rest: Proxy) -> Iterator[Any]:
    with httpclient.InferenceServerClient(address(rest)) as opened:
        yield opened


def tensor(name: str, data: Any, datatype: str, *, binary: bool = True) -> Any:
    made = httpclient.InferInput(name, list(data.shape), datatype)
    made.set_data_from_numpy(data, binary_data=binary)
    return made


def test_tritonclient_finds_out_what_is_served(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata(headers=credential())["name"] == "triton"
    assert client.is_model_ready(FP32, headers=credential())
    assert not client.is_model_ready("nothing", headers=credential())
    assert client.get_model_metadata(FP32, headers=credential())["inputs"] == [
        {"name": "INPUT0", "datatype": "FP32", "shape": [-1]}
    ]
    assert client.get_model_config(FP32, "1", headers=credential())["max_batch_size"] == 0
    statistics = client.get_inference_statistics(FP32, headers=credential())
    assert [each["name"] for each in statistics["model_stats"]] == [FP32]
    index = client.get_model_repository_index(headers=credential())
    assert {"name": FP32, "version": "1", "state": "READY"} in index
    for refused in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match=r"\[404\] no route POST /v2/repository/models/"):
            refused(FP32, headers=credential())


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("count", [3, 100_000])
def test_tritonclient_infers(client: Any, compression: str | None, count: int, *, binary: bool) -> None:
    data = np.linspace(-1, 1, count, dtype=np.float32)
    answer = client.infer(
        FP32,
        [tensor("INPUT0", data, "FP32", binary=binary)],
        outputs=[httpclient.InferRequestedOutput("OUTPUT0", binary_data=binary)],
        request_id="7",
        headers=credential(),
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), data)
    assert answer.get_response()["id"] == "7"


def test_five_megabytes_there_and_back(client: Any) -> None:
    data = np.arange(LARGE, dtype=np.float32)
    pending = [
        client.async_infer(FP32, [tensor("INPUT0", data + i, "FP32")], headers=credential(), timeout=60_000_000)
        for i in range(3)
    ]
    for i, each in enumerate(pending):
        np.testing.assert_array_equal(each.get_result().as_numpy("OUTPUT0"), data + i)


def test_a_sequence_lasts_over_requests(client: Any) -> None:
    sums = [
        client.infer(
            models.SEQUENCE,
            [tensor("INPUT", np.array([[value]], np.int32), "INT32")],
            sequence_id=5,
            sequence_start=value == 1,
            sequence_end=value == 3,
            headers=credential(),
        ).as_numpy("OUTPUT")[0, 0]
        for value in (1, 2, 3)
    ]
    assert sums == [1, 3, 6]


def test_an_error_has_tritons_words_and_a_status(client: Any) -> None:
    wrong = [tensor("INPUT0", np.zeros(1, np.int32), "INT32")]
    with pytest.raises(InferenceServerException, match=r"\[400\] dtype mismatch: model identity_fp32 takes FP32"):
        client.infer(FP32, wrong, headers=credential())
    with pytest.raises(InferenceServerException, match=r"\[404\] Request for unknown model: 'nothing' is not found"):
        client.infer("nothing", wrong, headers=credential())
    with pytest.raises(InferenceServerException, match=r"\[401\] missing credentials"):
        client.infer(FP32, wrong)


def test_no_request_asks_triton_for_the_classes_of_texts(client: Any, triton: Triton) -> None:
    # It would end of that.
    wrong = [tensor("INPUT0", np.array([b"x"], object), "BYTES")]
    asked = [httpclient.InferRequestedOutput("OUTPUT0", class_count=1)]
    with pytest.raises(InferenceServerException, match=r"\[400\] classification: model identity_bytes gives BYTES"):
        client.infer(models.identity_name("BYTES"), wrong, outputs=asked, headers=credential())
    assert triton.running


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_aio_infers(rest: Proxy, compression: str | None) -> None:
    async def session() -> Any:
        async with aioclient.InferenceServerClient(address(rest)) as opened:
            data = np.arange(1000, dtype=np.float32)
            ask = partial(
                opened.infer,
                FP32,
                [tensor("INPUT0", data, "FP32")],
                request_compression_algorithm=compression,
                response_compression_algorithm=compression,
            )
            answers = await asyncio.gather(*(ask(headers=credential()) for _ in range(10)))
            return [each.as_numpy("OUTPUT0").sum() for each in answers]

    assert asyncio.run(session()) == [499500.0] * 10


def curl(rest: Proxy, path: str, *words: str) -> tuple[int, str]:
    asked = ["-H", f"x-domino-api-key: {KEY}", *words, f"http://{address(rest)}{path}"]
    done = subprocess.run(
        ["curl", "-sS", "-m", "60", "-w", "\n%{http_code}", *asked],  # noqa: S607 - the one that the machine has
        capture_output=True,
        text=True,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_curl_infers_and_reads_events(rest: Proxy, tmp_path: Path) -> None:
    status, body = curl(rest, "/v1/models")
    assert status == 200
    assert FP32 in {each["id"] for each in json.loads(body)["data"]}
    status, body = curl(rest, f"/v2/models/{models.identity_name('BYTES')}/generate", "-d", '{"INPUT0": "hä"}')
    assert (status, json.loads(body)["OUTPUT0"]) == (200, "hä")
    status, body = curl(rest, f"/v2/models/{models.SQUARE}/generate_stream", "-N", "-d", '{"IN": 3}')
    event = 'data: {"OUT":3,"model_name":"square_int32","model_version":"1"}\n\n'
    assert (status, body) == (200, event * 3)
    status, body = curl(rest, f"/v2/models/{models.SQUARE}/generate", "-d", '{"IN": 3}')
    assert status == 400
    assert "generate expects model to produce exactly 1 response" in json.loads(body)["error"]
    # In chunks, since curl does not know how long its input is, and with a wait for 100.
    sent = tmp_path / "body"
    sent.write_text(json.dumps({"inputs": [described(FP32, "FP32", [0.5] * 100_000)]}))
    status, body = curl(
        rest, f"/v2/models/{FP32}/infer", "-X", "POST", "-T", str(sent), "-H", "Transfer-Encoding: chunked"
    )
    assert (status, json.loads(body)["outputs"][0]["shape"]) == (200, [100_000])
    assert curl(rest, "/v2/models/stats", "--compressed")[0] == 200


def test_answers_are_as_the_document_says(rest: Proxy) -> None:
    document = json.loads(curl(rest, "/openapi.json")[1])
    infer = json.dumps({"inputs": [described(FP32, "FP32", [1.5])]})
    asked = {
        "/v2/health/live": (),
        "/v2/health/ready": (),
        "/v2": (),
        "/v2/models/stats": (),
        "/v2/models/{model}": (),
        "/v2/models/{model}/ready": (),
        "/v2/models/{model}/config": (),
        "/v2/models/{model}/stats": (),
        "/v2/models/{model}/infer": ("-d", infer),
        "/v2/models/{model}/generate": ("-d", '{"INPUT0": 1.5}'),
        "/v2/models/{model}/generate_stream": ("-d", '{"INPUT0": 1.5}'),
        "/v2/repository/index": ("-X", "POST"),
        "/v1/models": (),
        "/v1/models/{model}": (),
        "/v1/completions": ("-d", json.dumps({"model": FP32, "prompt": "x"})),
        "/v1/chat/completions": ("-d", json.dumps({"model": FP32, "messages": []})),
        "/v1/embeddings": ("-d", '{"model": "nothing", "input": "x"}'),
        "/openapi.json": (),
        "/docs": (),
    }
    versions = {
        path.replace("/v2/models/{model}", "/v2/models/{model}/versions/{version}"): words
        for path, words in asked.items()
    }
    assert asked.keys() | versions.keys() == document["paths"].keys()
    for template, words in (asked | versions).items():
        (operation,) = document["paths"][template].values()
        for model, version in ((FP32, "1"), ("nothing", "1"), (FP32, "9")):
            status, body = curl(rest, template.format(model=model, version=version), *words)
            content = operation["responses"][str(status)].get("content", {})
            if "application/json" in content:
                schema = content["application/json"]["schema"] | {"components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(json.loads(body))


def test_a_policy_hides_what_a_caller_may_not_use(triton: Triton, domino: DominoStandIn, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"rules:\n- models: [{FP32}]\n  allow:\n    users: [ann]\n")
    with proxy(triton.grpc_url, domino.url, ACCESS_POLICY_FILE=str(policy)) as served:
        assert [each["id"] for each in json.loads(curl(served, "/v1/models")[1])["data"]] == [FP32]
        index = json.loads(curl(served, "/v2/repository/index", "-X", "POST")[1])
        statistics = json.loads(curl(served, "/v2/models/stats")[1])["model_stats"]
        assert [each["name"] for each in index] == [each["name"] for each in statistics] == [FP32]
        for name in (models.SQUARE, "nothing"):
            for path, words in (("", ()), ("/config", ()), ("/ready", ()), ("/infer", ("-d", '{"inputs": []}'))):
                status, body = curl(served, f"/v2/models/{name}{path}", *words)
                assert status == 403
                assert "may not use" in json.loads(body)["error"]


def described(model: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": "INPUT0", "datatype": datatype, "shape": [len(data)], "data": data}


def posted(url: str, body: bytes, fields: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, body, fields)  # noqa: S310 - of this machine
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {}, error.read()


# How our answer may differ from Triton's, and why.
DIFFERENCES = {
    (500, 400): "Triton takes JSON that it can't read for a mistake of its own; it is the caller's",
    (200, 400): "Triton wraps an integer beyond its type around; it is refused, with its type in the text",
}
_NUMBERS = st.integers(-(2**33), 2**33) | st.floats(width=32) | st.booleans() | st.text(max_size=3)


@pytest.mark.parametrize("dtype", TABLE, ids=lambda dtype: dtype.name)
def test_the_answer_is_tritons_own_or_a_difference_with_a_reason(rest: Proxy, triton: Triton, dtype: Any) -> None:
    model = models.identity_name(dtype.name)

    @settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
    @given(
        values=st.lists(_NUMBERS, max_size=4) | st.lists(st.integers(0, 1), max_size=4),
        shape=st.none() | st.lists(st.integers(0, 4), max_size=2),
        binary=st.booleans(),
        output=st.sampled_from(["OUTPUT0", "NOPE", None]),
        cut=st.sampled_from([0, 0, 0, 1]),
    )
    def compare(values: list[Any], shape: list[int] | None, output: str | None, cut: int, *, binary: bool) -> None:
        item: dict[str, Any] = {"name": "INPUT0", "datatype": dtype.name, "shape": shape or [len(values)]}
        data = b""
        if binary:
            data = bytes(len(values) * (dtype.size or 4))[cut:]
            item["parameters"] = {"binary_data_size": len(data)}
        else:
            item["data"] = values
        body: dict[str, Any] = {"id": "1", "inputs": [item]}
        if output is not None:
            body["outputs"] = [{"name": output, "parameters": {"binary_data": binary}}]
        text = json.dumps(body).encode()
        fields = {"inference-header-content-length": str(len(text))} if binary else {}
        path = f"/v2/models/{model}/infer"
        theirs = posted(triton.http_url + path, text + data, fields)
        ours = posted(f"http://{address(rest)}{path}", text + data, fields | credential())
        if theirs[0] == ours[0] == 200:
            length = int(theirs[1].get("inference-header-content-length", len(theirs[2])))
            mine = int(ours[1].get("inference-header-content-length", len(ours[2])))
            assert ours[2][mine:] == theirs[2][length:]
            ours_read, theirs_read = json.loads(ours[2][:mine]), json.loads(theirs[2][:length])
            # NaN is not itself.
            assert json.dumps(ours_read) == json.dumps(theirs_read)
        else:
            assert ours[0] == theirs[0] or (theirs[0], ours[0]) in DIFFERENCES, (theirs, ours)
            assert json.loads(ours[2])["error"]

    compare()


# Where a model does not say all of the tensor, Triton refuses with the same status, and other words.
_RAW_MODELS = (*(models.identity_name(each.name) for each in TABLE), models.ADD_SUB, models.IMAGE_MEAN, "nothing")
# How our answer to such a body may differ, and why.
_RAW_DIFFERENCES = {
    (200, 400): "Triton leaves out the bytes that are no whole element; the caller has sent something else than meant",
}


@pytest.mark.parametrize("model", _RAW_MODELS)
def test_a_body_of_one_tensor_alone_means_what_it_means_to_triton(rest: Proxy, triton: Triton, model: str) -> None:
    path = f"/v2/models/{model}/infer"
    for size in (0, 1, 3, 8, 24):
        body, fields = bytes(size), {"inference-header-content-length": "0"}
        theirs = posted(triton.http_url + path, body, fields)
        ours = posted(f"http://{address(rest)}{path}", body, fields | credential())
        if theirs[0] == ours[0] == 200:
            assert ours[2] == theirs[2]
            lengths = [int(each[1].get("inference-header-content-length", len(each[2]))) for each in (ours, theirs)]
            assert lengths[0] == lengths[1]
        else:
            assert ours[0] == theirs[0] or (theirs[0], ours[0]) in _RAW_DIFFERENCES, (theirs, ours)
            assert json.loads(ours[2])["error"]


@pytest.mark.parametrize("given", ["-1", "x", "1e1", "7fff", "99999999999", "1000", "+5", "0x0"])
def test_a_length_that_lies_is_refused_where_triton_may_read_another(rest: Proxy, triton: Triton, given: str) -> None:
    path, fields = f"/v2/models/{FP32}/infer", {"inference-header-content-length": given}
    body = json.dumps({"inputs": [described(FP32, "FP32", [1.5])]}).encode()
    # atoi reads "x" and "0x0" as 0, a tensor alone, and of others what they begin with.
    assert posted(triton.http_url + path, body, fields)[0] in {200, 400, 500}
    status, _, answer = posted(f"http://{address(rest)}{path}", body, fields | credential())
    assert status == 400
    assert json.loads(answer)["error"].startswith("Inference-Header-Content-Length is ")
