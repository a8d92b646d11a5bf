"""Unmodified tritonclient, with another address and one header more: what its users do, on either server."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as client
import tritonclient.grpc.aio as aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from proxy_testing.both_servers import grpc_server
from serving import KEY, TIMEOUT, Proxy, heard, proxy

__all__ = ["grpc_server"]  # autouse

HEADERS = {"x-domino-api-key": KEY}
DENIED = "this proxy passes on, of inference.GRPCInferenceService, ServerLive, ServerReady, "
TEXTS = np.array([b"", "grüß".encode(), b"\0\xff" * 3], np.object_)

Answers = queue.SimpleQueue[tuple[Any, InferenceServerException | None]]


@pytest.fixture
def triton_client(serving: Proxy) -> Iterator[Any]:
    with client.InferenceServerClient(serving.address) as made:
        yield made


def tensor(name: str, array: Any, dtype: str) -> Any:
    made = client.InferInput(name, array.shape, dtype)
    made.set_data_from_numpy(array)
    return made


def floats(*values: float) -> list[Any]:
    return [tensor("INPUT0", np.array(values, np.float32), "FP32")]


def number(value: int, *, delay: float = 0) -> list[Any]:
    """For the decoupled model."""
    return [
        tensor("IN", np.array([value], np.int32), "INT32"),
        tensor("DELAY", np.array([delay], np.float32), "FP32"),
    ]


def summand(value: int) -> list[Any]:
    """For the stateful model."""
    return [tensor("INPUT", np.array([[value]], np.int32), "INT32")]


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """Status and text."""
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status(), caught.value.message()


class Stream:
    """A session of `start_stream`."""

    def __init__(self, made: Any, headers: dict[str, str] = HEADERS, **more: Any) -> None:
        self._client = made
        self._answers: Answers = queue.SimpleQueue()
        made.start_stream(lambda result, error: self._answers.put((result, error)), headers=headers, **more)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.stop_stream()

    def send(self, model: str, inputs: Sequence[Any], request_id: str = "", **more: Any) -> None:
        self._client.async_stream_infer(model, inputs, request_id=request_id, **more)

    def take(self) -> Any:
        result, error = self._answers.get(timeout=TIMEOUT)
        assert error is None, error
        return result.get_response()

    def error(self) -> InferenceServerException:
        result, error = self._answers.get(timeout=TIMEOUT)
        assert result is None
        assert error is not None
        return error


def test_questions_are_answered_as_triton_does(triton_client: Any, triton: Triton) -> None:
    answered: list[Callable[..., object]] = [
        lambda one, **more: one.is_server_live(**more),
        lambda one, **more: one.is_server_ready(**more),
        lambda one, **more: one.is_model_ready(models.ADD_SUB, **more),
        lambda one, **more: one.is_model_ready(models.ADD_SUB, "9", **more),
        lambda one, **more: one.is_model_ready("nope", **more),
        lambda one, **more: one.get_model_metadata(models.ADD_SUB, **more),
        lambda one, **more: one.get_model_config(models.ADD_SUB, "1", **more),
        lambda one, **more: one.get_model_repository_index(**more),
    ]
    refused: list[Callable[..., object]] = [
        lambda one, **more: one.get_model_metadata("nope", **more),
        lambda one, **more: one.get_model_config("", **more),
        lambda one, **more: one.get_inference_statistics("nope", **more),
    ]
    with client.InferenceServerClient(triton.grpc_url) as direct:
        for ask in answered:
            assert ask(triton_client, headers=HEADERS) == ask(direct)
        for ask in refused:
            assert refusal(partial(ask, triton_client, headers=HEADERS)) == refusal(partial(ask, direct))
    described = triton_client.get_server_metadata(headers=HEADERS)
    assert (described.name, described.version) == ("triton", "2.51.0")
    assert "statistics" in described.extensions
    assert not any("memory" in name or "repository" in name for name in described.extensions)
    statistics = triton_client.get_inference_statistics(models.ADD_SUB, headers=HEADERS)
    assert [(each.name, each.version) for each in statistics.model_stats] == [(models.ADD_SUB, "1")]


def test_nothing_is_answered_without_credentials(serving: Proxy, triton: Triton) -> None:
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    since = heard(triton, "identity_fp32")
    message = service_pb2.ModelInferRequest(model_name="identity_fp32", raw_input_contents=[bytes(4)])
    message.inputs.add(name="INPUT0", datatype="FP32", shape=[1])
    for method in service.methods:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = serving.channel.unary_unary(
            f"/{service.full_name}/{method.name}"
        )
        for metadata in ((), (("x-domino-api-key", "s3cret-of-nobody"),), (("authorization", "Bearer s3cret"),)):
            with pytest.raises(grpc.RpcError) as caught:
                call(message.SerializeToString(), metadata=metadata, timeout=TIMEOUT)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert heard(triton, "identity_fp32", since) == 0


def test_what_changes_triton_is_refused(triton_client: Any) -> None:
    for call in (
        lambda: triton_client.load_model("identity_fp32", headers=HEADERS),
        lambda: triton_client.unload_model("identity_fp32", headers=HEADERS),
        lambda: triton_client.register_system_shared_memory("r", "/r", 8, headers=HEADERS),
        lambda: triton_client.get_system_shared_memory_status(headers=HEADERS),
        lambda: triton_client.get_cuda_shared_memory_status(headers=HEADERS),
        lambda: triton_client.update_log_settings({"log_info": False}, headers=HEADERS),
        lambda: triton_client.get_trace_settings(headers=HEADERS),
    ):
        status, text = refusal(call)
        assert status == "StatusCode.PERMISSION_DENIED"
        assert text.startswith(DENIED)


@pytest.mark.parametrize(
    "path",
    [
        "/inference.GRPCInferenceService/repositorymodelload",
        "/inference.grpcinferenceservice/RepositoryModelLoad",
        "/inference.GRPCInferenceService/RepositoryModelLoad/",
        "/inference.GRPCInferenceService//RepositoryModelLoad",
        "//inference.GRPCInferenceService/RepositoryModelLoad",
        "/inference%2EGRPCInferenceService/RepositoryModelLoad",
        "/inference.GRPCInferenceService/ModelInfer/../RepositoryModelLoad",
        "/inference.GRPCInferenceService/modelinfer",
    ],
)
def test_other_spellings_are_refused_too(serving: Proxy, path: str) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = serving.channel.unary_unary(path)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", metadata=tuple(HEADERS.items()), timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (caught.value.details() or "").startswith(DENIED)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("count", [3, 100_000, 2_000_000])
def test_one_inference(triton_client: Any, count: int, compression: str | None) -> None:
    array = np.arange(count, dtype=np.float32)
    answer = triton_client.infer(
        "identity_fp32",
        [tensor("INPUT0", array, "FP32")],
        outputs=[client.InferRequestedOutput("OUTPUT0")],
        request_id="one",
        headers=HEADERS,
        compression_algorithm=compression,
        priority=1,
        timeout=10_000_000,
        parameters={"mine": "own"},
    )
    assert (answer.as_numpy("OUTPUT0") == array).all()
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == ("one", "identity_fp32", "1")


def test_texts_and_classes(triton_client: Any) -> None:
    answer = triton_client.infer("identity_bytes", [tensor("INPUT0", TEXTS, "BYTES")], headers=HEADERS)
    assert (answer.as_numpy("OUTPUT0") == TEXTS).all()
    classes = client.InferRequestedOutput("OUTPUT0", class_count=2)
    answer = triton_client.infer("identity_fp32", floats(1, 9, 5), outputs=[classes], headers=HEADERS)
    assert list(answer.as_numpy("OUTPUT0")) == [b"9.000000:1", b"5.000000:2"]


def test_classes_of_texts_never_reach_triton(triton_client: Any, triton: Triton) -> None:
    # Triton 2.51 ends with a segmentation fault of such a request, whatever the texts are.
    before = triton.pid
    classes = client.InferRequestedOutput("OUTPUT0", class_count=1)
    for inputs in ([tensor("INPUT0", TEXTS, "BYTES")], [tensor("INPUT0", TEXTS[:0], "BYTES")]):
        status, text = refusal(
            partial(triton_client.infer, "identity_bytes", inputs, outputs=[classes], headers=HEADERS)
        )
        assert (status, text) == (
            "StatusCode.INVALID_ARGUMENT",
            (
                "classification: model identity_bytes gives BYTES for 'OUTPUT0', which have no classes, the request "
                "asks for them; ModelMetadata describes the model"
            ),
        )
    assert triton_client.infer("identity_bytes", inputs, headers=HEADERS)
    assert (triton.running, triton.pid) == (True, before)


def test_many_at_once(triton_client: Any) -> None:
    answers: Answers = queue.SimpleQueue()
    for index in range(30):
        triton_client.async_infer(
            "identity_fp32",
            floats(index),
            lambda result, error: answers.put((result, error)),
            request_id=str(index),
            headers=HEADERS,
        )
    seen = {}
    for _ in range(30):
        result, error = answers.get(timeout=TIMEOUT)
        assert error is None
        seen[result.get_response().id] = float(result.as_numpy("OUTPUT0")[0])
    assert seen == {str(index): float(index) for index in range(30)}


def test_errors_have_a_status_and_words(triton_client: Any) -> None:
    def infer(model: str, inputs: Sequence[Any], **more: Any) -> Callable[[], object]:
        return lambda: triton_client.infer(model, inputs, headers=HEADERS, **more)

    assert refusal(infer("nope", floats(1))) == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'nope' is not found",
    )
    assert refusal(infer("identity_fp32", floats(1), model_version="9")) == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'identity_fp32' version 9 is not found",
    )
    assert refusal(infer(models.SQUARE, number(2))) == (
        "StatusCode.UNIMPLEMENTED",
        "ModelInfer RPC doesn't support models with decoupled transaction policy",
    )
    assert refusal(infer("identity_fp32", floats(1), outputs=[client.InferRequestedOutput("nope")])) == (
        "StatusCode.INVALID_ARGUMENT",
        "unexpected inference output 'nope' for model 'identity_fp32'",
    )
    assert refusal(infer("identity_int32", floats(1))) == (
        "StatusCode.INVALID_ARGUMENT",
        (
            "dtype mismatch: model identity_int32 takes INT32 for 'INPUT0', the request says FP32; "
            "ModelMetadata describes the model"
        ),
    )
    shared = client.InferInput("INPUT0", [1], "FP32")
    shared.set_shared_memory("region", 4)
    status, text = refusal(infer("identity_fp32", [shared]))
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert text.startswith("inputs[0].parameters has 'shared_memory_byte_size'; expected the tensor's data")


def test_a_stream_has_an_answer_for_each_request(triton_client: Any) -> None:
    with Stream(triton_client, compression_algorithm="gzip") as stream:
        for index in range(40):
            stream.send("identity_fp32", floats(index), request_id=str(index))
        answers = [stream.take() for _ in range(40)]
    assert [answer.id for answer in answers] == [str(index) for index in range(40)]
    for index, answer in enumerate(answers):
        assert answer.raw_output_contents[0] == np.float32(index).tobytes()
        assert answer.parameters["triton_final_response"].bool_param


def test_an_error_in_a_stream_ends_only_its_request(triton_client: Any) -> None:
    with Stream(triton_client) as stream:
        stream.send("identity_fp32", floats(1), request_id="a")
        stream.send("nope", floats(1), request_id="b")
        stream.send("identity_int32", floats(1), request_id="c")
        stream.send("identity_fp32", floats(2), request_id="d")
        assert stream.take().id == "a"
        assert stream.error().message() == "Request for unknown model: 'nope' is not found"
        assert stream.error().message().startswith("dtype mismatch: model identity_int32 takes INT32")
        assert stream.take().id == "d"


def test_an_error_in_a_stream_has_the_id_of_its_request(serving: Proxy) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(serving.channel)
    message = service_pb2.ModelInferRequest(model_name="nope", id="b")
    for broken in (False, True):
        if broken:
            message.raw_input_contents.append(b"")
        metadata = tuple(HEADERS.items())
        (answer,) = stub.ModelStreamInfer(iter([message]), metadata=metadata, timeout=TIMEOUT)
        assert answer.error_message
        assert answer.infer_response == service_pb2.ModelInferResponse(id="b")


@pytest.mark.parametrize("empty_final", [False, True])
def test_decoupled_answers_come_one_by_one(triton_client: Any, empty_final: bool) -> None:
    with Stream(triton_client) as stream:
        for request_id in ("a", "b"):
            stream.send(models.SQUARE, number(3), request_id, enable_empty_final_response=empty_final)
        stream.send("identity_fp32", floats(1), "c")
        answers = [stream.take() for _ in range(7 + 2 * empty_final)]
    marks = [(answer.id, answer.parameters["triton_final_response"].bool_param) for answer in answers]
    each = [False] * 3 + [True] * empty_final
    assert marks == [("a", mark) for mark in each] + [("b", mark) for mark in each] + [("c", True)]
    assert all(answer.raw_output_contents == [np.int32(3).tobytes()] for answer in answers[:3])


def steps(values: Sequence[int]) -> Iterator[tuple[int, bool, bool]]:
    for index, value in enumerate(values):
        yield value, index == 0, index == len(values) - 1


@pytest.mark.parametrize("sequence_id", [7, "seven"])
def test_sequences_in_a_stream_and_in_unary_calls(triton_client: Any, sequence_id: int | str) -> None:
    sums = []
    with Stream(triton_client) as stream:
        for value, start, end in steps([1, 2, 3, 4]):
            stream.send(
                models.SEQUENCE,
                summand(value),
                sequence_id=sequence_id,
                sequence_start=start,
                sequence_end=end,
            )
        sums.append([int(np.frombuffer(stream.take().raw_output_contents[0], np.int32)[0]) for _ in range(4)])
    sums.append(
        [
            int(
                triton_client.infer(
                    models.SEQUENCE,
                    summand(value),
                    sequence_id=sequence_id,
                    sequence_start=start,
                    sequence_end=end,
                    headers=HEADERS,
                ).as_numpy("OUTPUT")[0, 0]
            )
            for value, start, end in steps([1, 2, 3, 4])
        ]
    )
    assert sums == [[1, 3, 6, 10]] * 2


def test_nobody_joins_the_sequence_of_another(serving: Proxy, domino: DominoStandIn) -> None:
    domino.add_user("bob", api_key="s3cret-key-of-bob")
    bob = {"x-domino-api-key": "s3cret-key-of-bob"}
    with client.InferenceServerClient(serving.address) as made:

        def add(value: int, headers: dict[str, str], **more: bool) -> int:
            answer = made.infer(models.SEQUENCE, summand(value), sequence_id=7, headers=headers, **more)
            return int(answer.as_numpy("OUTPUT")[0, 0])

        assert add(1, HEADERS, sequence_start=True) == 1
        status, text = refusal(lambda: add(100, bob))
        assert status == "StatusCode.INVALID_ARGUMENT"
        assert "must specify the START flag on the first request of the sequence" in text
        assert add(100, bob, sequence_start=True) == 100
        assert add(2, HEADERS) == 3
        assert add(1, bob, sequence_end=True) == 101
        assert add(3, HEADERS, sequence_end=True) == 6


POLICY = """
rules:
  - models: [identity_fp32]
    allow: {users: [ann]}
"""
NOT_ALLOWED = "StatusCode.PERMISSION_DENIED"


def test_what_a_caller_may_not_use_looks_as_if_nobody_could_tell(
    triton: Triton, domino: DominoStandIn, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with (
        proxy(triton.grpc_url, domino.url, ACCESS_POLICY_FILE=str(policy)) as served,
        client.InferenceServerClient(served.address) as made,
    ):
        index = made.get_model_repository_index(headers=HEADERS)
        assert [model.name for model in index.models] == ["identity_fp32"]
        statistics = made.get_inference_statistics(headers=HEADERS)
        assert [each.name for each in statistics.model_stats] == ["identity_fp32"]
        assert made.get_model_metadata("identity_fp32", headers=HEADERS).name == "identity_fp32"
        assert made.infer("identity_fp32", floats(1), headers=HEADERS).as_numpy("OUTPUT0")[0] == 1
        texts = set()
        for model in ("identity_int32", "nope"):
            for call in (
                lambda model=model: made.get_model_metadata(model, headers=HEADERS),
                lambda model=model: made.get_model_config(model, headers=HEADERS),
                lambda model=model: made.is_model_ready(model, headers=HEADERS),
                lambda model=model: made.get_inference_statistics(model, headers=HEADERS),
                lambda model=model: made.infer(model, floats(1), headers=HEADERS),
            ):
                status, text = refusal(call)
                assert status == NOT_ALLOWED
                texts.add(text.replace(model, "MODEL"))
        assert len(texts) == 1
        with Stream(made) as stream:
            stream.send("identity_fp32", floats(1), "a")
            assert stream.take().id == "a"
            stream.send("identity_int32", floats(1), "b")
            assert stream.error().status() == NOT_ALLOWED


def test_with_asyncio(serving: Proxy) -> None:
    async def session() -> tuple[Any, ...]:
        async with aio.InferenceServerClient(serving.address) as made:
            live = await made.is_server_live(headers=HEADERS)
            index = await made.get_model_repository_index(headers=HEADERS)
            one = await made.infer("identity_fp32", floats(1, 2), headers=HEADERS, compression_algorithm="gzip")

            async def requests() -> AsyncIterator[dict[str, Any]]:
                for nth in range(5):
                    yield {
                        "model_name": "identity_fp32",
                        "inputs": floats(nth),
                        "request_id": str(nth),
                    }
                yield {"model_name": models.SQUARE, "inputs": number(2), "request_id": "square"}
                yield {"model_name": "nope", "inputs": floats(1), "request_id": "unknown"}

            streamed = []
            async for result, error in made.stream_infer(requests(), headers=HEADERS):
                streamed.append(error.message() if error else result.get_response().id)
            return live, {model.name for model in index.models}, list(one.as_numpy("OUTPUT0")), streamed

    live, names, one, streamed = asyncio.run(session())
    assert live
    assert names >= set(models.MODELS)
    assert one == [1, 2]
    assert streamed == [
        *map(str, range(5)),
        "square",
        "square",
        "Request for unknown model: 'nope' is not found",
    ]
