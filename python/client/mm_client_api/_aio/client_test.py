from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import numpy as np
import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.waiting import until_async

from mm_client_api._aio.client import AsyncTritonClient
from mm_client_api.credentials import ApiKey
from mm_client_api.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidRequest,
    MessageTooLarge,
    ModelError,
    ProtocolError,
    ProxyUnavailable,
    UnsupportedPayload,
)
from mm_client_api.request import InferenceRequest

Scenario = Callable[[AsyncTritonClient, EchoServer], Awaitable[None]]


def request(number: int, model: str = "echo") -> InferenceRequest:
    return InferenceRequest(model, {"x": np.array([number], np.int64)}, ["x"])


def play(scenario: Scenario, server: EchoServer, key: str = echo.API_KEY, max_message_mb: int | None = None) -> None:
    async def run() -> None:
        async with AsyncTritonClient(server.addr, credentials=ApiKey(key), max_message_mb=max_message_mb) as client:
            await asyncio.wait_for(scenario(client, server), 30)

    asyncio.run(run())


def test_an_inference_has_its_outputs_and_names_what_is_missing(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        result = await client.infer("echo", {"x": np.arange(3)}, outputs=["x", "nope"])
        assert result.outputs["x"].tolist() == [0, 1, 2]
        assert result.missing == ("nope",)

    play(scenario, server)


def test_a_refused_inference_raises(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        for model, kind in ((echo.REFUSES, InvalidRequest), (echo.BREAKS, ModelError)):
            with pytest.raises(kind):
                await client.infer(model, {"x": np.zeros(1)}, outputs=["x"])

    play(scenario, server)


def test_wrong_credentials_keep_the_servers_words(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        with pytest.raises(AuthenticationError, match=echo.UNAUTHENTICATED_TEXT):
            await client.infer("echo", {"x": np.zeros(1)}, outputs=["x"])
        with pytest.raises(AuthenticationError, match=echo.UNAUTHENTICATED_TEXT):
            async for _ in client.stream(map(request, itertools.count())):
                pass

    play(scenario, server, key="wrong")


def test_a_stream_that_the_server_ends_says_why_and_leaves_no_task(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        before = asyncio.all_tasks()
        for round_ in range(40):
            # Small packets are written before the server's answer arrives, large ones are under way.
            inputs = {"x": np.zeros(1 + round_ % 2 * 50_000)}
            models = itertools.chain(["echo"] * 3, [echo.ABORTS], itertools.repeat("echo"))
            with pytest.raises(ProxyUnavailable, match="shutting down"):
                async for _ in client.stream(InferenceRequest(model, inputs, ["x"]) for model in models):
                    pass
        assert asyncio.all_tasks() == before

    play(scenario, server)


def test_nobody_listening_is_said() -> None:
    async def run() -> None:
        async with AsyncTritonClient("127.0.0.1:1", credentials=ApiKey("k")) as client:
            with pytest.raises(ProxyUnavailable):
                await client.infer("echo", {"x": np.zeros(1)}, outputs=["x"])
            with pytest.raises(ProxyUnavailable):
                await client.stream([request(0)]).__anext__()

    asyncio.run(run())


def test_a_stream_answers_in_order_from_both_kinds_of_iterable(server: EchoServer) -> None:
    async def slowly() -> AsyncIterator[InferenceRequest]:
        for number in range(100):
            await asyncio.sleep(0)
            yield request(number)

    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        for requests in (map(request, range(100)), slowly()):
            got = [result.outputs["x"].item() async for result in client.stream(requests, window=8)]
            assert got == list(range(100))
        assert server.streams == 2
        assert server.most_unanswered <= 8

    play(scenario, server)


def test_the_window_bounds_what_is_pulled_and_stopping_cancels(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        pulled = []

        async def numbers() -> AsyncIterator[InferenceRequest]:
            for number in itertools.count():
                pulled.append(number)
                yield request(number)

        before = asyncio.all_tasks()
        server.answering.clear()
        async with aclosing(client.stream(numbers(), window=4)) as results:
            first = asyncio.ensure_future(results.__anext__())
            await until_async(lambda: server.received == 4)
            server.answering.set()
            assert (await first).outputs["x"].item() == 0
            await until_async(lambda: len(pulled) == 5)
            for taken in range(1, 50):
                assert (await results.__anext__()).outputs["x"].item() == taken
                assert len(pulled) <= 4 + taken + 1
        final = len(pulled)
        assert server.most_unanswered <= 4
        await until_async(server.ended.is_set)
        # No task is left that could take one more.
        await until_async(lambda: asyncio.all_tasks() == before)
        assert len(pulled) == final

    play(scenario, server)


def test_failed_packets_do_not_end_the_stream(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        models = ["echo", echo.REFUSES, echo.UNSUPPORTED, echo.BREAKS, "echo"]
        errors = [type(result.error) async for result in client.stream(map(request, range(5), models))]
        assert errors == [type(None), InvalidRequest, UnsupportedPayload, ModelError, type(None)]

    play(scenario, server)


def test_what_the_iterable_raises_comes_after_the_results_before(server: EchoServer) -> None:
    async def failing() -> AsyncIterator[InferenceRequest]:
        yield request(0)
        raise LookupError("camera unplugged")

    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        results = client.stream(failing())
        assert (await results.__anext__()).status == "OK"
        with pytest.raises(LookupError, match="camera unplugged"):
            await results.__anext__()

    play(scenario, server)


def test_lost_and_broken_streams_are_noticed(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        for model, kind in (
            (echo.FORGETS, ProtocolError),
            (echo.SWAPS, ProtocolError),
            (echo.ABORTS, ProxyUnavailable),
        ):
            results = client.stream([request(0), request(1, model)])
            assert (await results.__anext__()).status == "OK"
            with pytest.raises(kind):
                await results.__anext__()

    play(scenario, server)


def test_an_error_cancels_the_call_while_somebody_holds_it(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        models = itertools.chain([echo.SWAPS], itertools.repeat("echo"))
        with pytest.raises(ProtocolError) as caught:
            await client.stream(map(request, itertools.count(), models)).__anext__()
        await until_async(server.ended.is_set)
        # Its traceback keeps the stream's frame, and with it the call, alive.
        assert caught.value.__traceback__ is not None

    play(scenario, server)


def test_a_message_over_the_limit_is_not_sent(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        big = {"x": np.zeros(1024 * 1024 + 1, np.uint8)}
        with pytest.raises(MessageTooLarge, match="MAX_MESSAGE_MB=1"):
            await client.infer("echo", big, outputs=["x"])
        with pytest.raises(MessageTooLarge, match="MAX_MESSAGE_MB=1"):
            await client.stream([InferenceRequest("echo", big, ["x"])]).__anext__()

    play(scenario, server, max_message_mb=1)


def test_a_deadline_and_a_window_are_checked(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        server.answering.clear()
        with pytest.raises(DeadlineExceeded):
            await client.stream([request(0)], deadline_secs=0.2).__anext__()
        with pytest.raises(ConfigurationError):
            client.stream([], window=0)

    play(scenario, server)


def test_cancelling_the_task_cancels_the_call(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        server.answering.clear()
        task = asyncio.ensure_future(client.stream(map(request, itertools.count())).__anext__())
        await until_async(lambda: server.received == 8)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_async(server.ended.is_set)

    play(scenario, server)


def test_a_decoupled_model_answers_several_times(server: EchoServer) -> None:
    async def scenario(client: AsyncTritonClient, server: EchoServer) -> None:
        requests = [request(0, echo.DECOUPLED), request(1)] * 10
        finals = [result.final async for result in client.stream(requests, window=2)]
        assert finals == [False, False, True, True] * 10

    play(scenario, server)
