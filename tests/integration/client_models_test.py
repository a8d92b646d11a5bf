"""Models as the client library and mm-client see them, on the real Triton."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc

from devstack import models
from devstack.triton import Triton
from mm_client.__main__ import main
from mm_client_api import ApiKey, AsyncTritonClient, InvalidRequest, ModelNotFound, ModelNotReady, TritonClient
from service_testing.waiting import until
from serving import KEY, Proxy

TALKER, BROKEN = "talker", "broken"
# With vLLM's tensors. It says back what it was given, a few bytes at a time: letters come in parts.
TALKER_CONFIG = """backend: "python"
max_batch_size: 0
model_transaction_policy { decoupled: true }
input [ { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] },
        { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true },
        { name: "sampling_parameters" data_type: TYPE_STRING dims: [ 1 ] optional: true },
        { name: "exclude_input_in_output" data_type: TYPE_BOOL dims: [ 1 ] optional: true } ]
output [ { name: "text_output" data_type: TYPE_STRING dims: [ 1 ] },
         { name: "finish_reason" data_type: TYPE_STRING dims: [ 1 ] } ]
parameters { key: "description" value: { string_value: "Says back what it hears." } }
parameters { key: "chat_template" value: { string_value:
  "{% for m in messages %}[{{ m.role }}] {{ m.content }}\\n{% endfor %}" } }
"""
TALKER_MODEL = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            def given(name):
                return pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0]

            sender = request.get_response_sender()
            said = given("text_input")[: json.loads(given("sampling_parameters")).get("max_tokens", 1000)]
            assert given("stream") and given("exclude_input_in_output")
            for start in range(0, len(said), 3):
                piece = np.array([said[start : start + 3]], object)
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("text_output", piece)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
BROKEN_MODEL = "raise RuntimeError('no weights here')\n"


def write(folder: Path, model: str, config: str) -> Path:
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(model)
    (folder / "config.pbtxt").write_text(config)
    return folder


@pytest.fixture
def client(serving: Proxy) -> Iterator[TritonClient]:
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as made:
        yield made


@pytest.fixture(scope="module")
def more_models(repository: Path, triton: Triton) -> Iterator[None]:
    """Two models of these tests' own: one that talks, and one that can't be loaded."""
    folders = [
        write(repository / TALKER, TALKER_MODEL, TALKER_CONFIG),
        write(repository / BROKEN, BROKEN_MODEL, TALKER_CONFIG),
    ]
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as direct:

        def states() -> dict[str, str]:
            return {model.name: model.reason or model.state for model in direct.get_model_repository_index().models}

        until(lambda: states().get(TALKER) == "READY" and "no weights" in states().get(BROKEN, ""))
        yield
        for folder in folders:
            shutil.rmtree(folder)
        until(lambda: not {TALKER, BROKEN} & set(states()))


@pytest.fixture
def command(serving: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MM_ADDR", serving.address)
    monkeypatch.setenv("DOMINO_USER_API_KEY", KEY)


def test_the_doctor_finds_nothing_wrong(
    serving: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", KEY)
    url = f"http://127.0.0.1:{serving.server.http_port}"
    assert main(["doctor", "--addr", serving.address, "--http-url", url, "--timeout", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["ok"] * 11
    assert " answers made up inputs: " in lines[-1]


def test_models_are_called_by_what_triton_says_of_them(client: TritonClient, tmp_path: Path) -> None:
    add_sub = client.model(models.ADD_SUB)
    assert (add_sub.description.max_batch_size, add_sub.description.platform) == (8, "onnxruntime_onnx")
    arrays = add_sub([1, 2.5], INPUT1=[3, 4])
    assert (arrays.SUM.tolist(), arrays.DIFFERENCE.tolist()) == ([[4, 6.5]], [[-2, -1]])
    assert [each.SUM.shape for each in add_sub.stream([{"INPUT0": [[1], [2]], "INPUT1": [[1], [2]]}])] == [(2, 1)]
    assert client.model(models.TEXT)("Hello   World").NORMALIZED.tolist() == [b"hello world"]
    np.save(tmp_path / "wave.npy", np.ones(100))
    assert client.model(models.AUDIO)(tmp_path / "wave.npy").PEAK.tolist() == [1]
    square = client.model(models.SQUARE)
    assert square.inputs.DELAY.optional
    assert [each.OUT.tolist() for each in square.stream([3, 2])] == [[3]] * 3 + [[2]] * 2
    assert client.model(models.SEQUENCE).description.stateful
    for dtype in ("fp16", "bf16", "uint8", "int64", "fp64"):
        identity = client.model(models.identity_name(dtype))
        assert identity([1, 0, 1]).OUTPUT0.tolist() == [1, 0, 1]


def test_asyncio_calls_them_as_well(serving: Proxy) -> None:
    async def detect() -> tuple[int, ...]:
        async with AsyncTritonClient(serving.address, credentials=ApiKey(KEY)) as client:
            detector = await client.model(models.DETECTOR)
            return (await detector(np.zeros((3, 640, 640)))).output0.shape

    assert asyncio.run(detect()) == (1, 84, 8400)


def test_what_can_not_be_used_says_why(client: TritonClient, more_models: None) -> None:
    def why() -> str:
        with pytest.raises(ModelNotReady) as caught:
            client.model(BROKEN)
        return caught.value.detail

    # Triton forgets the reason while it tries again, at each look at the repository.
    until(lambda: "no weights here" in why())
    with pytest.raises(ModelNotFound, match="did you mean yolov8n"):
        client.model("yolov8")
    with pytest.raises(ModelNotFound, match="'yolov8n' has no version '2'; it has 1"):
        client.model(models.DETECTOR, "2")
    with pytest.raises(InvalidRequest, match=r"expected FP32 \[1, 3, 640, 640\]"):
        client.model(models.DETECTOR)(np.zeros((640, 640, 3)))


@pytest.mark.usefixtures("command", "more_models")
def test_the_command_lists_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    # Beside those that other tests have put there.
    assert set(listed) >= {*models.MODELS, TALKER, BROKEN}
    assert "no weights here" in listed[BROKEN]["reason"]
    assert (listed[TALKER]["decoupled"], listed[TALKER]["description"]) == (True, "Says back what it hears.")
    assert listed[models.DETECTOR]["inputs"] == [
        {"name": "images", "datatype": "FP32", "shape": [1, 3, 640, 640], "optional": False}
    ]
    assert main(["models", models.DETECTOR]) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["MODEL", "VERSION", "STATE", "TAKES,", "OR", "WHY", "NOT", "GIVES"]
    assert " ".join(row.split()) == "yolov8n 1 READY images FP32 [1, 3, 640, 640] output0 FP32 [1, 84, 8400]"


@pytest.mark.usefixtures("command")
def test_every_model_can_be_tried(capsys: pytest.CaptureFixture[str]) -> None:
    for name, model in models.MODELS.items():
        status = main(["try", name, "--json"])
        printed = capsys.readouterr()
        if name == models.SEQUENCE:
            # What belongs to a sequence is refused by itself.
            assert (status, "SEV_START" in printed.err) == (1, True), printed.err
        else:
            assert status == 0, printed.err
            (first, *_) = json.loads(printed.out)["answers"]
            assert set(first) == {output.name for output in model.outputs}


@pytest.mark.usefixtures("command", "more_models")
def test_a_language_model_is_talked_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", TALKER, "Grüße, 世界"]) == 0
    assert capsys.readouterr().out == "[user] Grüße, 世界\n\n"
    assert main(["chat", TALKER, "Hello", "--system", "Be kind.", "--max-tokens", "12"]) == 0
    assert capsys.readouterr().out == "[system] Be \n"
    assert main(["chat", models.TEXT, "Hello"]) == 2
    assert "expected text_input or prompt of BYTES" in capsys.readouterr().err
