from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.waiting import PATIENCE_SECS, until

from mm_client_api._sync.client import TritonClient
from mm_client_api.credentials import ApiKey, BearerToken
from mm_client_api.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidRequest,
    MessageTooLarge,
    ModelError,
    NotAProxy,
    ProtocolError,
    ProxyUnavailable,
    UnsupportedPayload,
)
from mm_client_api.request import InferenceRequest
from mm_client_api.tensors import Value, encode
from multimodal_contract.dtypes import TABLE

KEY = ApiKey(echo.API_KEY)


@pytest.fixture
def client(server: EchoServer) -> Iterator[TritonClient]:
    with TritonClient(server.addr, credentials=KEY) as client:
        yield client


def request(number: int, model: str = "echo") -> InferenceRequest:
    return InferenceRequest(model, {"x": np.array([number], np.int64)}, ["x"])


def large_request(number: int) -> InferenceRequest:
    """Large enough for packets to be taken ahead."""
    return InferenceRequest("echo", {"x": np.array([number], np.int64), "rest": np.zeros(40_000)}, ["x"])


Make = Callable[[int], InferenceRequest]
both_sizes = pytest.mark.parametrize("make", [request, large_request])


def test_an_inference_has_its_outputs_and_names_what_is_missing(client: TritonClient, server: EchoServer) -> None:
    inputs = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "t": np.array([b"a", b"\0b"], object)}
    result = client.infer("echo", inputs, outputs=["x", "t", "nope"])
    np.testing.assert_array_equal(result.outputs["x"], inputs["x"])
    assert result.outputs["t"].tolist() == [b"a", b"\0b"]
    assert result.missing == ("nope",)
    assert (result.model, result.model_version) == ("echo", "7")
    assert result.timing.triton_infer_ms == 1.5
    assert server.metadata["x-domino-api-key"] == echo.API_KEY


def test_a_request_takes_lists_and_pythons_own_values(client: TritonClient) -> None:
    inputs: dict[str, Value] = {"text": ["Hello", "World"], "ids": [[1, 2], [3, 4]], "flag": True}
    result = client.infer("echo", inputs, outputs=list(inputs))
    assert result.outputs["text"].tolist() == [b"Hello", b"World"]
    assert result.outputs["ids"].tolist() == [[1, 2], [3, 4]]
    assert result.outputs["flag"].item() is True


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("datatype", [dtype.name for dtype in TABLE])
def test_every_element_type_travels_both_ways(datatype: str, published: bool) -> None:
    array = np.array(["a", "ü"]) if datatype == "BYTES" else np.array([1.0, 0.0], np.float32)
    tensor = (
        encode(array.astype(bool) if datatype == "BOOL" else array.astype("u1"), datatype)
        if datatype not in ("BYTES", "FP16", "FP32", "FP64", "BF16", "INT8")
        else encode(array.astype("i1") if datatype == "INT8" else array, datatype)
    )
    with EchoServer(published=published) as server, TritonClient(server.addr, credentials=KEY) as client:
        result = client.infer("echo", {"x": tensor}, outputs=["x"])
    assert result.tensors["x"] == tensor
    expected = [b"a", "ü".encode()] if datatype == "BYTES" else [1, 0]
    assert result.outputs["x"].tolist() == expected


def test_a_bearer_token_identifies_too(server: EchoServer) -> None:
    with TritonClient(server.addr, credentials=BearerToken(echo.TOKEN)) as client:
        assert client.infer("echo", {"x": np.zeros(1)}, outputs=["x"]).status == "OK"


@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        (echo.REFUSES, InvalidRequest, "size mismatch: got 3 bytes, expected 4"),
        (echo.UNSUPPORTED, UnsupportedPayload, "payload not served"),
        (echo.BREAKS, ModelError, "failed to load model"),
    ],
)
def test_a_refused_inference_raises(client: TritonClient, model: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        client.infer(model, {"x": np.zeros(1)}, outputs=["x"])


def test_wrong_credentials_keep_the_servers_words(server: EchoServer) -> None:
    with TritonClient(server.addr, credentials=ApiKey("wrong-secret")) as client:
        with pytest.raises(AuthenticationError, match=echo.UNAUTHENTICATED_TEXT) as caught:
            client.infer("echo", {"x": np.zeros(1)}, outputs=["x"])
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "wrong-secret" not in str(caught.value)
        with pytest.raises(AuthenticationError, match=echo.UNAUTHENTICATED_TEXT):
            list(client.stream(map(request, itertools.count())))


def test_nobody_listening_is_said() -> None:
    with TritonClient("127.0.0.1:1", credentials=KEY) as client:
        with pytest.raises(ProxyUnavailable, match="MM_ADDR"):
            client.infer("echo", {"x": np.zeros(1)}, outputs=["x"])
        with pytest.raises(ProxyUnavailable):
            list(client.stream([request(0)]))


def test_another_grpc_service_is_said() -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with TritonClient(f"127.0.0.1:{port}", credentials=KEY) as client, pytest.raises(NotAProxy, match="not of Triton"):
        client.infer("echo", {"x": np.zeros(1)}, outputs=["x"])
    server.stop(None).wait()


@both_sizes
def test_a_stream_answers_in_order_over_one_call(client: TritonClient, server: EchoServer, make: Make) -> None:
    results = list(client.stream(map(make, range(300)), window=8))
    assert [result.outputs["x"].item() for result in results] == list(range(300))
    assert server.streams == 1
    assert server.most_unanswered <= 8


@both_sizes
def test_the_window_bounds_what_is_pulled(client: TritonClient, server: EchoServer, make: Make) -> None:
    pulled = []

    def numbers() -> Iterator[InferenceRequest]:
        for number in itertools.count():
            pulled.append(number)
            yield make(number)

    server.answering.clear()
    results = client.stream(numbers(), window=4)
    reader = threading.Thread(target=lambda: next(results))
    reader.start()
    until(lambda: server.received == 4)
    server.answering.set()
    reader.join()
    # One answer was taken, so one more is pulled; the others wait in vain for a reader.
    until(lambda: len(pulled) == 5)
    for taken in range(1, 50):
        assert next(results).outputs["x"].item() == taken
        assert len(pulled) <= 4 + taken + 1
    assert server.most_unanswered <= 4
    results.close()


@both_sizes
def test_stopping_early_cancels_the_call(client: TritonClient, server: EchoServer, make: Make) -> None:
    ended = threading.Event()

    def endless() -> Iterator[InferenceRequest]:
        try:
            yield from map(make, itertools.count())
        finally:
            ended.set()

    for _ in client.stream(endless(), window=4):
        # The sender has no place left and waits for one.
        until(lambda: server.received == 5)
        break
    assert server.ended.wait(PATIENCE_SECS)
    assert ended.wait(PATIENCE_SECS)


def test_an_error_cancels_the_call_while_somebody_holds_it(client: TritonClient, server: EchoServer) -> None:
    models = itertools.chain([echo.SWAPS], itertools.repeat("echo"))
    with pytest.raises(ProtocolError) as caught:
        list(client.stream(map(request, itertools.count(), models)))
    assert server.ended.wait(PATIENCE_SECS)
    # Its traceback keeps the stream's frame, and with it the call, alive.
    assert caught.value.__traceback__ is not None


def test_failed_packets_do_not_end_the_stream(client: TritonClient) -> None:
    models = ["echo", echo.REFUSES, echo.UNSUPPORTED, echo.BREAKS, "echo"]
    results = list(client.stream(request(number, model) for number, model in enumerate(models)))
    assert [type(result.error) for result in results] == [
        type(None),
        InvalidRequest,
        UnsupportedPayload,
        ModelError,
        type(None),
    ]
    assert [result.status for result in results] == ["OK", "BAD_REQUEST", "UNSUPPORTED", "INTERNAL", "OK"]


@both_sizes
def test_what_the_iterable_raises_comes_after_the_results_before(client: TritonClient, make: Make) -> None:
    def failing() -> Iterator[InferenceRequest]:
        yield make(0)
        yield make(1)
        raise LookupError("camera unplugged")

    results = client.stream(failing())
    assert [next(results).outputs["x"].item() for _ in range(2)] == [0, 1]
    with pytest.raises(LookupError, match="camera unplugged"):
        next(results)


@both_sizes
def test_a_request_that_cannot_be_encoded_is_raised_in_place(client: TritonClient, make: Make) -> None:
    bad = InferenceRequest("echo", {"x": np.array([1j])}, ["x"])
    results = client.stream([make(0), bad, make(2)])
    assert next(results).status == "OK"
    with pytest.raises(InvalidRequest, match="complex128"):
        next(results)


def test_a_stream_that_breaks_says_why(client: TritonClient) -> None:
    results = client.stream([request(0), request(1, echo.ABORTS), request(2)])
    assert next(results).status == "OK"
    with pytest.raises(ProxyUnavailable, match="shutting down"):
        next(results)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (echo.FORGETS, "ended the stream with [12] packets unanswered"),
        (echo.SWAPS, "'of-another-packet' came while"),
    ],
)
def test_lost_and_swapped_answers_are_noticed(client: TritonClient, model: str, words: str) -> None:
    results = client.stream([request(0), request(1, model), request(2)])
    assert next(results).status == "OK"
    with pytest.raises(ProtocolError, match=words):
        next(results)


def test_a_decoupled_model_answers_several_times(client: TritonClient) -> None:
    results = list(client.stream([request(0, echo.DECOUPLED), request(1)] * 20, window=2))
    assert [result.final for result in results] == [False, False, True, True] * 20


@pytest.mark.parametrize("published", [False, True])
def test_both_kinds_of_proxy_free_the_window(published: bool) -> None:
    with EchoServer(published=published) as server, TritonClient(server.addr, credentials=KEY) as client:
        assert len(list(client.stream(map(request, range(20)), window=2))) == 20
        assert server.most_unanswered <= 2


def test_a_message_over_the_limit_is_not_sent(server: EchoServer) -> None:
    big = np.zeros(1024 * 1024 + 1, np.uint8)
    with TritonClient(server.addr, credentials=KEY, max_message_mb=1) as client:
        with pytest.raises(MessageTooLarge, match=r"MAX_MESSAGE_MB=1.*RESOURCE_EXHAUSTED"):
            client.infer("echo", {"x": big}, outputs=["x"])
        results = client.stream([request(0), InferenceRequest("echo", {"x": big}, ["x"])])
        assert next(results).status == "OK"
        with pytest.raises(MessageTooLarge):
            next(results)
    assert server.received == 1


def test_a_message_over_the_servers_limit_keeps_its_words() -> None:
    big = np.zeros(2 * 1024 * 1024, np.uint8)
    with (
        EchoServer(max_message_mb=1) as server,
        TritonClient(server.addr, credentials=KEY) as client,
        pytest.raises(MessageTooLarge, match="larger than max"),
    ):
        client.infer("echo", {"x": big}, outputs=["x"])


def test_a_deadline_ends_a_call_that_hangs(client: TritonClient, server: EchoServer) -> None:
    server.answering.clear()
    with pytest.raises(DeadlineExceeded):
        next(client.stream([request(0)], deadline_secs=0.2))


def test_an_unusable_window_is_refused_at_once(client: TritonClient) -> None:
    with pytest.raises(ConfigurationError, match="window is 0"):
        client.stream([], window=0)


def test_an_empty_stream_ends(client: TritonClient) -> None:
    assert list(client.stream([])) == []


def test_threads_may_share_a_client(client: TritonClient) -> None:
    failures: list[str] = []

    def work(first: int) -> None:
        numbers = range(first, first + 50)
        got = [result.outputs["x"].item() for result in client.stream(map(request, numbers))]
        if got != list(numbers):
            failures.append(f"{first}: {got}")

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 600, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_closed_client_says_so(server: EchoServer) -> None:
    client = TritonClient(server.addr, credentials=KEY)
    client.close()
    with pytest.raises(ValueError, match="closed"):
        client.infer("echo", {"x": np.zeros(1)}, outputs=["x"])
