from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from mm_service.status import Code, Status
from triton_proxy.inference.query import Query, QueryMethod
from triton_proxy.protocols.kserve.queries import QueryMessage, QueryProtocol


def read(method: QueryMethod, raw: bytes) -> QueryMessage:
    return QueryProtocol(method).read(raw)


def mine(name: str, version: str) -> bool:
    return name.startswith("mine") and version != "9"


def heard(method: QueryMethod, body: Any) -> bytes:
    reply = read(method, b"").described(body.SerializeToString(), mine)
    assert (reply.ok, reply.status) == (True, None)
    return b"".join(reply.parts)


@pytest.mark.parametrize("method", QueryMethod)
def test_every_method_has_its_request_and_its_answer(method: QueryMethod) -> None:
    # Of the names in Triton's proto: one that it does not have would fail here.
    assert hasattr(service_pb2, f"{method.value}Request")
    raw = getattr(service_pb2, f"{method.value}Request")().SerializeToString()
    message = read(method, raw)
    assert message.query == Query(method, raw)
    assert not message.inferable
    heard(method, getattr(service_pb2, f"{method.value}Response")())


@pytest.mark.parametrize(
    "method",
    [QueryMethod.MODEL_READY, QueryMethod.MODEL_METADATA, QueryMethod.MODEL_CONFIG, QueryMethod.MODEL_STATISTICS],
)
def test_what_names_a_model_says_which(method: QueryMethod) -> None:
    raw = getattr(service_pb2, f"{method.value}Request")(name="m", version="2").SerializeToString()
    info = read(method, raw).info
    assert (info.size, info.model, info.model_version) == (len(raw), "m", "2")


@given(unknown=st.binary(max_size=20))
def test_nothing_unknown_goes_to_triton(unknown: bytes) -> None:
    raw = service_pb2.ModelReadyRequest(name="m").SerializeToString()
    message = read(QueryMethod.MODEL_READY, raw + b"\xaa\x06" + bytes([len(unknown)]) + unknown)
    assert message.query == Query(QueryMethod.MODEL_READY, raw)


@pytest.mark.parametrize("method", QueryMethod)
def test_what_is_no_request_is_refused(method: QueryMethod) -> None:
    for raw, text in (
        (b"\xff", f"the request is no serialized {method.value}Request; expected protobuf; generate the client from "),
        (b"\x0a" * 70_000, "the request has more than 65536 bytes"),
    ):
        message = read(method, raw)
        assert message.query is None
        status = message.reply().status
        assert status is not None
        assert status.code is Code.INVALID_ARGUMENT
        assert status.text.startswith(text)


def test_the_index_has_what_the_caller_may_use() -> None:
    body = service_pb2.RepositoryIndexResponse()
    for name, version in (("mine", "1"), ("yours", "1"), ("mine", "9"), ("mine-too", "")):
        body.models.add(name=name, version=version, state="READY", reason="r")
    kept = service_pb2.RepositoryIndexResponse.FromString(heard(QueryMethod.REPOSITORY_INDEX, body))
    assert [(model.name, model.version, model.state, model.reason) for model in kept.models] == [
        ("mine", "1", "READY", "r"),
        ("mine-too", "", "READY", "r"),
    ]


def test_statistics_are_of_what_the_caller_may_use() -> None:
    body = service_pb2.ModelStatisticsResponse()
    for name in ("mine", "yours"):
        body.model_stats.add(name=name, version="1", inference_count=3)
    kept = service_pb2.ModelStatisticsResponse.FromString(heard(QueryMethod.MODEL_STATISTICS, body))
    assert [(each.name, each.inference_count) for each in kept.model_stats] == [("mine", 3)]


def test_the_server_is_described_without_what_the_proxy_withholds() -> None:
    kept_ones = ["classification", "sequence", "statistics"]
    withheld = ["model_repository", "model_repository(unload_dependents)", "system_shared_memory", "trace", "logging"]
    body = service_pb2.ServerMetadataResponse(name="triton", version="2.51.0", extensions=[*kept_ones, *withheld])
    kept = service_pb2.ServerMetadataResponse.FromString(heard(QueryMethod.SERVER_METADATA, body))
    assert (kept.name, kept.version) == ("triton", "2.51.0")
    assert list(kept.extensions) == kept_ones


def test_a_failure_is_a_status() -> None:
    message = read(QueryMethod.MODEL_READY, b"")
    failed = message.failed("not here", by_triton=True, code=Code.UNAVAILABLE)
    assert (failed.ok, failed.status) == (False, Status(Code.UNAVAILABLE, "not here"))
    unread = read(QueryMethod.REPOSITORY_INDEX, b"").described(b"\xff", mine)
    assert unread.status == Status(Code.INTERNAL, "Triton's answer does not parse")
