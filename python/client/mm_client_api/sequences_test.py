"""Requests of stateful models, and the marks on answers; both clients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from client_testing import echo
from client_testing.echo import EchoServer
from client_testing.streaming import Stream, numbered

from mm_client_api import ApiKey, InferenceRequest, InvalidRequest
from multimodal_contract import pb

ALICE = ApiKey(echo.API_KEY)


def sequence() -> Iterator[InferenceRequest]:
    first, middle, last = numbered(3)
    yield replace(first, sequence_start=True)
    yield middle
    yield replace(last, sequence_end=True)


def test_the_ends_of_a_sequence_are_sent(stream: Stream, server: EchoServer) -> None:
    streamed = stream(server.addr, sequence(), ALICE)
    assert (streamed.error, streamed.ids) == (None, ["0", "1", "2"])
    assert [seen.event for seen in server.seen] == [pb.SEV_START, pb.SEV_DATA, pb.SEV_END]


def test_a_sequence_of_one_request_is_refused(stream: Stream, server: EchoServer) -> None:
    requests = [*numbered(1), *(replace(one, sequence_start=True, sequence_end=True) for one in numbered(1))]
    streamed = stream(server.addr, iter(requests), ALICE)
    assert streamed.ids == ["0"]
    assert isinstance(streamed.error, InvalidRequest)
    assert "expected a sequence of two requests or more" in str(streamed.error)


@pytest.mark.parametrize("name", ["connections", "batch_size"])
@pytest.mark.parametrize("end", [0, 2])
def test_a_sequence_needs_a_connection_and_packets_of_its_own(
    stream: Stream, server: EchoServer, name: str, end: int
) -> None:
    how: dict[str, Any] = {name: 2}
    streamed = stream(server.addr, iter(list(sequence())[end:]), ALICE, **how)
    assert isinstance(streamed.error, InvalidRequest)
    assert f"a sequence needs {name}=1, and this stream has {name}=2" in str(streamed.error)
    assert server.received == 0


@pytest.mark.parametrize("published", [False, True])
def test_a_proxy_that_marks_the_last_answer_is_believed(stream: Stream, published: bool) -> None:
    # Base64 answers of a decoupled model differ from those of a published proxy by what the call began with.
    with EchoServer(published=published) as server:
        requests = (replace(one, raw_outputs=False) for one in numbered(4, "echo" if published else echo.DECOUPLED))
        streamed = stream(server.addr, requests, ALICE)
    assert streamed.error is None
    assert [result.final for result in streamed.results] == ([True] if published else [False, False, True]) * 4
