from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from mm_client_api import ApiKey
from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused, Unavailable, UsageError
from mm_publisher.serving import NotGoneError, NotReadyError, Proxy
from multimodal_contract import pb
from publisher_testing.models import CONFIG
from publisher_testing.proxy import KEY, FakeProxy

MODEL = ModelConfig.parse(CONFIG)


@pytest.fixture
def proxy() -> Iterator[FakeProxy]:
    with FakeProxy() as fake:
        yield fake


def _server(proxy: FakeProxy, **settings: object) -> Proxy:
    given: dict[str, object] = {"credentials": ApiKey(KEY), "ready_secs": 10.0, **settings}
    return Proxy(proxy.addr, **given)  # type: ignore[arg-type]  # each test says one


def test_a_version_that_is_not_there_yet_may_be_published(proxy: FakeProxy) -> None:
    _server(proxy).check("m", 3, MODEL)
    (packet,) = proxy.state.packets
    assert (packet.control.model, packet.control.model_version) == ("m", "3")


@pytest.mark.parametrize(
    ("code", "error", "expected"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, Refused, "does not let m be asked: ann may not use model 'm'"),
        (grpc.StatusCode.UNIMPLEMENTED, Refused, "Expected: the address of the proxy, not of Triton"),
        (grpc.StatusCode.INTERNAL, Unavailable, "--no-wait publishes without asking"),
    ],
)
def test_who_may_not_ask_is_reported_before_anything(
    proxy: FakeProxy, code: grpc.StatusCode, error: type[Exception], expected: str
) -> None:
    proxy.state.code = code
    with pytest.raises(error) as caught:
        _server(proxy).check("m", 1, MODEL)
    assert expected in str(caught.value)


def test_wrong_credentials_are_reported_and_not_shown(proxy: FakeProxy) -> None:
    with pytest.raises(Refused, match="Domino does not know this credential") as caught:
        _server(proxy, credentials=ApiKey("s3cret-wrong")).check("m", 1, MODEL)
    assert "s3cret" not in str(caught.value)


def test_no_credentials_and_no_address_are_reported(proxy: FakeProxy) -> None:
    with pytest.raises(UsageError, match="DOMINO_USER_TOKEN"):
        _server(proxy, credentials=None).check("m", 1, MODEL)
    with pytest.raises(UsageError, match="begins with a scheme; expected HOST:PORT"):
        Proxy("http://x", ApiKey(KEY)).check("m", 1, MODEL)
    with pytest.raises(Unavailable, match="cannot be asked whether a version serves"):
        Proxy("127.0.0.1:9", ApiKey(KEY)).check("m", 1, MODEL)


def test_a_version_is_awaited(proxy: FakeProxy) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        # Triton takes it over after it was asked for.
        proxy.state.ready["2"] = ("Y",)

    assert _server(proxy, say=say).wait("m", 2, MODEL).startswith("version 2 answered after")
    assert said == ["version 2: Request for unknown model: 'm' version 2 is not at ready state"]


def test_what_triton_said_last_is_reported(proxy: FakeProxy) -> None:
    with pytest.raises(
        NotReadyError, match=r"within 0\.5 s; .*'m' version 2 is not at ready state\. Triton's log says why"
    ):
        _server(proxy, ready_secs=0.5).wait("m", 2, MODEL)


@pytest.mark.parametrize("late", ["Stream removed (Deadline Exceeded)", "Deadline Exceeded"])
def test_our_own_deadline_does_not_replace_what_triton_said(proxy: FakeProxy, late: str) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        proxy.state.error = late

    with pytest.raises(
        NotReadyError, match=r"not ready within 1\.5 s; .* 'm' version 2 is not at ready state\. Triton's"
    ):
        _server(proxy, ready_secs=1.5, say=say).wait("m", 2, MODEL)
    assert said == ["version 2: Request for unknown model: 'm' version 2 is not at ready state"]
    # Nor does it count as an error of a version that is loaded; where nothing else was said, it is reported.
    with pytest.raises(
        NotReadyError, match=rf"not ready within 1\.5 s; the last word was: {re.escape(late)}\. Triton's"
    ):
        _server(proxy, ready_secs=1.5).wait("m", 2, MODEL)


def test_a_model_that_answers_with_errors_is_not_awaited_to_the_end(proxy: FakeProxy) -> None:
    proxy.state.error = "onnx runtime error: out of luck"
    started = time.monotonic()
    with pytest.raises(
        NotReadyError, match="version 2 is loaded and answers with an error: onnx runtime error: out of luck"
    ):
        _server(proxy, ready_secs=60).wait("m", 2, MODEL)
    assert time.monotonic() - started < 30


def test_an_answer_without_the_outputs_is_not_the_version(proxy: FakeProxy) -> None:
    proxy.state.ready["2"] = ("Z",)
    with pytest.raises(NotReadyError, match=r"the answer lacks Y, which config.pbtxt names"):
        _server(proxy).wait("m", 2, MODEL)


def test_a_call_that_is_refused_is_reported_at_once(proxy: FakeProxy) -> None:
    proxy.state.code = grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(NotReadyError, match="the proxy could not be asked: ann may not use model"):
        _server(proxy).wait("m", 2, MODEL)


def test_a_version_that_stops_is_awaited(proxy: FakeProxy) -> None:
    proxy.state.ready["1"] = ("Y",)
    with pytest.raises(NotGoneError, match=r"version 1 still answers after 0\.5 s"):
        _server(proxy, ready_secs=0.5).wait_gone("m", 1, MODEL)
    timer = threading.Timer(0.3, proxy.state.ready.clear)
    timer.start()
    _server(proxy).wait_gone("m", 1, MODEL)
    assert not proxy.state.ready
    timer.join()


def test_it_is_asked_with_zeros_or_with_the_sample(proxy: FakeProxy) -> None:
    proxy.state.ready["1"] = ("Y",)
    _server(proxy).wait("m", 1, MODEL)
    _server(proxy, sample={"X": np.full((2, 1), 7, np.float32)}).wait("m", 1, MODEL)
    zeros, sample = proxy.state.packets
    assert zeros.tensor.data == bytes(4)
    assert list(zeros.control.inputs[0].shape.dims) == [1, 1]
    assert list(sample.control.inputs[0].shape.dims) == [2, 1]


def test_free_dimensions_are_tried_in_several_sizes(proxy: FakeProxy) -> None:
    proxy.state.error = "the picture is too small"
    free = ModelConfig.parse(CONFIG.replace("dims: [ 1 ]", "dims: [ -1 ]", 1))
    with pytest.raises(NotReadyError, match="the picture is too small"):
        _server(proxy).wait("m", 1, free)
    assert {packet.control.inputs[0].shape.dims[1] for packet in proxy.state.packets} == {1, 32, 224}


def test_a_stateful_model_gets_a_sequence(proxy: FakeProxy) -> None:
    proxy.state.ready["1"] = ("Y",)
    _server(proxy).wait("m", 1, ModelConfig.parse(CONFIG + "sequence_batching {}"))
    assert [packet.event for packet in proxy.state.packets] == [pb.SEV_START, pb.SEV_END]
