"""Inferences through the real connection, with a server that answers for Triton whatever the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from mm_service.status import Code
from proxy_testing.triton import LARGEST, LIMIT, TIMEOUT, StandIn, begin, connected, response, streamed
from triton_proxy.inference.answer import Answer, InferenceCancelled, InferenceFailed, OutputTensor
from triton_proxy.inference.parameters import Parameter, ParameterKind
from triton_proxy.inference.request import TimeLimit
from triton_proxy.triton import endpoint
from triton_proxy.triton.inference import Inference

# Small enough for protobuf to parse all of it, and large enough to be lifted out.
SIZES = pytest.mark.parametrize("size", [4, 100_000])


def outputs(*contents: bytes) -> dict[str, OutputTensor]:
    """What is to come of such contents."""
    pairs = zip("yz", contents, strict=False)
    return {name: OutputTensor("UINT8", (len(content),), content) for name, content in pairs}


def answered(*answers: bytes) -> list[Answer]:
    """What a decoupled model's answers become."""
    with connected() as (stand_in, triton):
        stand_in.infer_stream = lambda request, context: iter(answers)
        return list(begin(triton, decoupled=True, model_version="2").answers())


@contextmanager
def aborting(decoupled: bool, code: grpc.StatusCode, text: str) -> Iterator[Inference]:
    def abort(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(code, text)

    def abort_stream(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield streamed(b"12", final=False)
        context.abort(code, text)

    with connected() as (stand_in, triton):
        stand_in.infer, stand_in.infer_stream = abort, abort_stream
        yield begin(triton, decoupled=decoupled)


@contextmanager
def never_answering(decoupled: bool, limit: TimeLimit = LIMIT) -> Iterator[tuple[StandIn, Inference]]:
    def wait(request: Any, context: grpc.ServicerContext) -> bytes:
        ended = threading.Event()
        context.add_callback(ended.set)
        stand_in.begun.set()
        ended.wait(TIMEOUT)
        stand_in.finish.set()
        return b""

    def wait_first(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield wait(request, context)

    with connected() as (stand_in, triton):
        stand_in.infer, stand_in.infer_stream = wait, wait_first
        yield stand_in, begin(triton, decoupled=decoupled, limit=limit)


EITHER = pytest.mark.parametrize("decoupled", [False, True])


@pytest.fixture(autouse=True, params=[False, True], ids=["shared", "own"])
def _connection(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test goes the way of small requests, then that of large ones."""
    if request.param:
        monkeypatch.setattr(endpoint, "LARGE_BYTES", 0)


@SIZES
def test_a_model_answers_once(size: int) -> None:
    with connected() as (stand_in, triton):
        first, second = b"a" * size, b"bc"
        stand_in.infer = lambda request, context: response(first, second).SerializeToString()
        assert list(begin(triton, decoupled=False).answers()) == [Answer("3", outputs(first, second))]


@SIZES
def test_an_answer_without_outputs_has_none(size: int) -> None:
    with connected() as (stand_in, triton):
        made = response()
        made.parameters["note"].string_param = "n" * size
        stand_in.infer = lambda request, context: made.SerializeToString()
        note = Parameter("note", ParameterKind.STRING, "n" * size)
        assert list(begin(triton, decoupled=False).answers()) == [Answer("3", {}, parameters=(note,))]


def test_megabytes_are_not_copied() -> None:
    with connected() as (stand_in, triton):
        stand_in.infer = lambda request, context: response(b"a" * 100_000).SerializeToString()
        (answer,) = begin(triton, decoupled=False).answers()
    assert answer.outputs is not None
    assert isinstance(answer.outputs["y"].data, memoryview)


@SIZES
@pytest.mark.parametrize(("contents", "names"), [(2, "y"), (1, "yz")])
@EITHER
def test_an_answer_of_which_something_is_missing(decoupled: bool, size: int, contents: int, names: str) -> None:
    made = response(*[bytes(size)] * contents, names="")
    for name in names:
        made.outputs.add(name=name, datatype="UINT8", shape=[size])
    message = service_pb2.ModelStreamInferResponse(infer_response=made).SerializeToString()
    with connected() as (stand_in, triton):
        stand_in.infer = lambda request, context: made.SerializeToString()
        stand_in.infer_stream = lambda request, context: iter([message])
        with pytest.raises(InferenceFailed, match=f"answered {len(names)} outputs with {contents} contents"):
            list(begin(triton, decoupled=decoupled).answers())


@EITHER
def test_an_output_described_without_contents_is_not_an_empty_one(decoupled: bool) -> None:
    made = response()
    made.outputs.add(name="y" * 100_000, datatype="UINT8", shape=[0])
    message = service_pb2.ModelStreamInferResponse(infer_response=made).SerializeToString()
    with connected() as (stand_in, triton):
        stand_in.infer = lambda request, context: made.SerializeToString()
        stand_in.infer_stream = lambda request, context: iter([message])
        with pytest.raises(InferenceFailed, match="answered 1 outputs with 0 contents"):
            list(begin(triton, decoupled=decoupled).answers())


@SIZES
@EITHER
def test_an_answer_that_is_none(decoupled: bool, size: int) -> None:
    with connected() as (stand_in, triton):
        stand_in.infer = lambda request, context: b"\xff" * size
        stand_in.infer_stream = lambda request, context: iter([b"\xff" * size])
        with pytest.raises(InferenceFailed, match="Triton's answer does not parse"):
            list(begin(triton, decoupled=decoupled).answers())


@EITHER
@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' is not found", None),
        (grpc.StatusCode.INVALID_ARGUMENT, "inference request for sequence 9 must specify the START flag", None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "out of memory", None),
        (grpc.StatusCode.UNAVAILABLE, "", "UNAVAILABLE"),
    ],
)
def test_what_triton_says_instead(decoupled: bool, code: grpc.StatusCode, text: str, expected: str | None) -> None:
    with aborting(decoupled, code, text) as inference, pytest.raises(InferenceFailed) as caught:
        list(inference.answers())
    assert (caught.value.code, str(caught.value)) == (Code[code.name], expected or text)


@EITHER
@pytest.mark.parametrize("secs", [1e9, 3.4e38])
def test_the_longest_limit_is_none_that_has_passed(decoupled: bool, secs: float) -> None:
    with connected() as (stand_in, triton):
        stand_in.infer_stream = lambda request, context: iter([streamed(b"1", final=True)])
        answers = begin(triton, decoupled=decoupled, limit=TimeLimit(secs, "control.timeout_secs")).answers()
        assert [answer.final for answer in answers] == [True]


@EITHER
def test_a_deadline_says_whose_it_is(decoupled: bool) -> None:
    with never_answering(decoupled, TimeLimit(0.2, "control.timeout_secs")) as (_, inference):
        with pytest.raises(InferenceFailed) as caught:
            list(inference.answers())
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert str(caught.value) == "timeout: Triton did not answer within 0.2 s (control.timeout_secs)"
        assert inference.milliseconds > 0


@EITHER
def test_an_answer_that_is_too_large(decoupled: bool) -> None:
    with connected() as (stand_in, triton):
        stand_in.infer = lambda request, context: response(bytes(LARGEST)).SerializeToString()
        stand_in.infer_stream = lambda request, context: iter([streamed(bytes(LARGEST), final=True)])
        with pytest.raises(
            InferenceFailed, match=r"^the model.s answer is larger than MAX_MESSAGE_MB allows: .*1048576"
        ) as caught:
            list(begin(triton, decoupled=decoupled).answers())
        assert caught.value.code is Code.RESOURCE_EXHAUSTED


def test_a_triton_that_is_not_there() -> None:
    with connected() as (stand_in, triton):
        stand_in.server.stop(None).wait()
        for decoupled in (False, True):
            with pytest.raises(InferenceFailed) as caught:
                list(begin(triton, decoupled=decoupled).answers())
            assert caught.value.code is Code.UNAVAILABLE


@SIZES
def test_a_decoupled_model_answers_any_number_of_times(size: int) -> None:
    assert answered(
        streamed(b"a" * size, final=False),
        streamed(b"b" * size, b"c", final=False, version="4"),
        streamed(final=True, version=""),
        streamed(b"never read", final=True),
    ) == [
        Answer("3", outputs(b"a" * size), final=False),
        Answer("4", outputs(b"b" * size, b"c"), final=False),
        Answer("4", None),
    ]


def test_the_last_answer_may_have_data() -> None:
    assert answered(streamed(b"a", final=False), streamed(b"b", final=True)) == [
        Answer("3", outputs(b"a"), final=False),
        Answer("3", outputs(b"b")),
    ]


def test_a_decoupled_model_may_have_nothing_to_say() -> None:
    # Triton does not say the version then: the one that is thought to serve.
    assert answered(streamed(final=True, version="")) == [Answer("2", None)]


def test_an_answer_in_the_middle_may_have_no_outputs() -> None:
    assert answered(streamed(final=False), streamed(final=True)) == [
        Answer("3", {}, final=False),
        Answer("3", None),
    ]


@pytest.mark.parametrize("final", [True, None])
def test_an_error_is_the_end_unless_it_says_otherwise(final: bool | None) -> None:
    got: list[Answer] = []
    with connected() as (stand_in, triton):
        answers = [streamed(b"a", final=False), streamed(error="no luck", final=final), streamed(b"b", final=True)]
        stand_in.infer_stream = lambda request, context: iter(answers)
        with pytest.raises(InferenceFailed, match=r"^no luck$"):
            got.extend(begin(triton, decoupled=True).answers())
    assert got == [Answer("3", outputs(b"a"), final=False)]


@SIZES
def test_after_an_error_in_the_middle_it_goes_on(size: int) -> None:
    error = "no luck" * size
    assert answered(
        streamed(b"a", final=False),
        streamed(error=error, final=False, version=""),
        streamed(b"b", final=True),
    ) == [
        Answer("3", outputs(b"a"), final=False),
        Answer("3", None, error, final=False),
        Answer("3", outputs(b"b")),
    ]


@pytest.mark.parametrize("answers", [[], [streamed(b"a", final=False)]])
def test_a_stream_that_ends_too_soon(answers: list[bytes]) -> None:
    with pytest.raises(InferenceFailed, match="ended the stream of answers without a last one"):
        answered(*answers)


@EITHER
@pytest.mark.parametrize("before", [True, False])
def test_nobody_gets_an_answer_after_cancel(decoupled: bool, before: bool) -> None:
    with never_answering(decoupled) as (stand_in, inference):
        assert stand_in.begun.wait(TIMEOUT)
        canceller = threading.Thread(target=inference.cancel)
        answers = inference.answers()
        if before:
            inference.cancel()
        else:
            canceller.start()
        with pytest.raises(InferenceCancelled):
            next(answers)
        # Triton hears of it.
        assert stand_in.finish.wait(TIMEOUT)


@pytest.mark.parametrize("final", [False, True])
def test_triton_is_told_when_nobody_reads_on(final: bool) -> None:
    ended = threading.Event()

    def endless(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(ended.set)
        while context.is_active():
            yield streamed(b"a", final=final)

    with connected() as (stand_in, triton):
        stand_in.infer_stream = endless
        inference = begin(triton, decoupled=True)
        answers = inference.answers()
        next(answers)
        if final:
            assert list(answers) == []
        else:
            answers.close()  # type: ignore[attr-defined]
        assert ended.wait(TIMEOUT)
        assert inference.milliseconds > 0


def reported(inference: Inference) -> Callable[[], list[int]]:
    """Waits for what the callback is called with, and gives that."""
    sizes: list[int] = []
    done = threading.Event()

    def callback(size: int) -> None:
        sizes.append(size)
        done.set()

    inference.add_done_callback(callback)
    return lambda: sizes if done.wait(TIMEOUT) else []


def test_who_waits_is_told_how_large_the_answer_is() -> None:
    with connected() as (stand_in, triton):
        raw = response(b"a" * 1000).SerializeToString()
        stand_in.infer = lambda request, context: raw
        inference = begin(triton, decoupled=False)
        early = reported(inference)
        inference.wait()
        assert early() == reported(inference)() == [len(raw)]
        assert inference.milliseconds == inference.milliseconds > 0


def test_who_waits_for_a_stream_is_told_that_nothing_of_it_is_held() -> None:
    with connected() as (stand_in, triton):
        stand_in.infer_stream = lambda request, context: iter([streamed(b"a", final=True)])
        inference = begin(triton, decoupled=True)
        early = reported(inference)
        list(inference.answers())
        inference.wait()
        assert early() == reported(inference)() == [0]


@EITHER
def test_who_waits_is_told_of_failures_too(decoupled: bool) -> None:
    with never_answering(decoupled) as (_, inference):
        sizes = reported(inference)
        inference.cancel()
        inference.wait()
        assert sizes() == [0]
    with aborting(False, grpc.StatusCode.INTERNAL, "no luck") as inference:
        assert reported(inference)() == [0]
