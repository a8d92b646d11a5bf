"""grpc-js and grpc-java call the contract."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from conformance.callers import CREDENTIAL, MISSING, UNAUTHENTICATED, Place, numbered
from conformance.foreign import Program, call, grpc_java, grpc_js
from conformance.programs import MissingError

KNOWN = dict([CREDENTIAL])


@pytest.fixture(scope="module", params=[grpc_js, grpc_java])
def program(request: pytest.FixtureRequest) -> Program:
    find: Callable[[], Program] = request.param
    try:
        return find()
    except MissingError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("gzip", [False, True], ids=["as it is", "gzip"])
def test_a_unary_call(place: Place, program: Program, gzip: bool) -> None:
    ended = call(program, place, "SendUnary", numbered(1), KNOWN, gzip=gzip)
    assert (ended.status, ended.details) == (0, "")
    assert [ack.correlation_id for ack in ended.acks] == ["0"]
    assert json.loads(ended.acks[0].message)["backend"] == "triton"


@pytest.mark.parametrize("gzip", [False, True], ids=["as it is", "gzip"])
def test_a_stream(place: Place, program: Program, gzip: bool) -> None:
    ended = call(program, place, "Chat", numbered(5), KNOWN, gzip=gzip)
    assert (ended.status, ended.details) == (0, "")
    assert [ack.correlation_id for ack in ended.acks] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("method", ["SendUnary", "Chat"])
def test_a_refusal_with_its_trailing_metadata(place: Place, program: Program, method: str) -> None:
    ended = call(program, place, method, numbered(1), {})
    assert (ended.status, ended.details, ended.acks) == (UNAUTHENTICATED, MISSING, [])
    assert ended.trailers["mm-unanswered"] == "not-accepted"
