"""The proxy as a real server, with a Triton that is away: who gets in, what is refused, how it ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager

import grpc
import pytest
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from domino_identity import Credential, IdentityUnavailable, NotAuthenticated, Principal
from mm_service.status import Code
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, pb, pb_grpc
from proxy_testing.in_process import Proxy, in_process
from proxy_testing.open_stream import OpenStream
from proxy_testing.relay import Relay
from service_testing.waiting import until
from triton_proxy.app import Server
from triton_proxy.protocols.kserve.methods import MODEL_INFER_METHOD, MODEL_STREAM_INFER_METHOD
from triton_proxy.transports.http2.health import CHECK_METHOD, LIVENESS_SERVICE

SECRET = "s3cret-of-nobody-else"  # noqa: S105
UNLIMITED = [("grpc.max_send_message_length", -1)]
GOOD = (("x-domino-api-key", "good"),)


class ByKey:
    """Knows one key; two others bring trouble of two kinds."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        key = credential.secret
        if key == "good":
            return Principal("ann", admin=False)
        if key == "later":
            raise IdentityUnavailable("Domino can't say")
        if key == SECRET:
            raise RuntimeError(f"bug that quotes {credential.secret}")
        raise NotAuthenticated("not known")


def proxy(**environment: object) -> AbstractContextManager[Proxy]:
    """With small messages, and a Triton that is away."""
    return in_process({"MAX_MESSAGE_MB": 1, **environment}, ByKey(), UNLIMITED)


@pytest.fixture(params=["http2", "grpcio"])
def three_calls(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    with proxy(GRPC_SERVER=request.param, TRITON_CALLS=request.param, STREAM_WINDOW=4, MAX_CALLS=3) as served:
        yield served


@pytest.fixture
def server(three_calls: Proxy) -> Server:
    return three_calls.server


@pytest.fixture
def channel(three_calls: Proxy) -> grpc.Channel:
    return three_calls.channel


def packet(cid: str = "c", size: int = 4) -> pb.DataPacket:
    shape = pb.Shape(dims=[size])
    return pb.DataPacket(
        meta=pb.Meta(correlation_id=cid),
        control=pb.Control(
            model="m",
            model_version="1",
            inputs=[pb.InputSpec(name="x", shape=shape, dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name="y")],
        ),
        tensor=pb.Tensor(dtype=pb.DT_UINT8, shape=shape, data=bytes(size)),
    )


@pytest.mark.parametrize(
    "method",
    [
        CHAT_METHOD,
        SEND_UNARY_METHOD,
        "/multimodal.MultimodalService/chat",
        "/inference.GRPCInferenceService/ModelInfer",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/triton_proxy.Own/",
        "/",
        "//",
    ],
)
@pytest.mark.parametrize(
    ("metadata", "code", "text"),
    [
        ((), grpc.StatusCode.UNAUTHENTICATED, "missing credentials: send metadata x-domino-api-key"),
        ((("x-domino-api-key", "bad"),), grpc.StatusCode.UNAUTHENTICATED, "not known"),
        ((("authorization", "Basic x"),), grpc.StatusCode.UNAUTHENTICATED, "not of the form 'Bearer <token>'"),
        ((("x-domino-api-key", "later"),), grpc.StatusCode.UNAVAILABLE, "Domino can't say"),
        ((("x-domino-api-key", SECRET),), grpc.StatusCode.UNAVAILABLE, "can't say who is calling just now"),
    ],
)
def test_nobody_gets_in_unknown(
    channel: grpc.Channel,
    method: str,
    metadata: tuple[tuple[str, str], ...],
    code: grpc.StatusCode,
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Far over every limit: were a byte of it read before the caller is known, the answer would be another one.
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method, request_serializer=bytes)(b"\xff" * 5_000_000, metadata=metadata, timeout=30)
    assert caught.value.code() is code
    assert text in (caught.value.details() or "")
    assert SECRET not in (caught.value.details() or "") + caplog.text


def test_every_method_the_server_has_refuses(server: Server, channel: grpc.Channel) -> None:
    assert {CHAT_METHOD, SEND_UNARY_METHOD, MODEL_INFER_METHOD, MODEL_STREAM_INFER_METHOD} <= server.methods
    for method in server.methods | {CHECK_METHOD}:
        with pytest.raises(grpc.RpcError) as caught:
            # Bytes that no method can parse: a caller that is let in reads so, or that there is nothing of that name.
            channel.unary_unary(method, request_serializer=bytes)(b"\xff", timeout=30)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_what_changes_triton_is_forbidden_to_known_callers(channel: grpc.Channel) -> None:
    method = "/inference.GRPCInferenceService/RepositoryModelLoad"
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(method, request_serializer=bytes)(b"", metadata=GOOD, timeout=30)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert (caught.value.details() or "").startswith("this proxy passes on, of inference.GRPCInferenceService, ")


def test_an_unknown_method_is_named_to_known_callers(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/a.B/C", request_serializer=bytes)(b"", metadata=GOOD, timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert caught.value.details() == "this proxy does not serve /a.B/C"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_known_callers_are_told_what_there_is_to_call(server: Server, channel: grpc.Channel, version: str) -> None:
    method = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    assert method in server.methods
    reflect = channel.stream_stream(
        method,
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    asked = [ServerReflectionRequest(list_services=""), ServerReflectionRequest(file_by_filename="none.proto")]
    listed, unknown = reflect(iter(asked), metadata=GOOD, timeout=30)
    services = {service.name for service in listed.list_services_response.service}
    assert services == {name.split("/")[1] for name in server.methods if "reflection" not in name}
    assert unknown.error_response.error_code == Code.NOT_FOUND.value


def test_a_packet_alone(channel: grpc.Channel) -> None:
    ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(packet("u"), metadata=GOOD, timeout=30)
    assert (ack.correlation_id, ack.status, ack.final) == ("u", pb.INTERNAL, True)
    message = json.loads(ack.message)
    assert (message["backend"], message["cid"], message["model"]) == ("triton", "u", "m")
    assert "failed to connect" in message["error"]
    assert ack.bytes_seen == packet("u").ByteSize()
    assert ack.timing.total_ms >= ack.timing.recv_to_decode_ms > 0
    assert ack.resolved_control == packet().control


def test_a_bad_packet_disturbs_no_other(channel: grpc.Channel) -> None:
    raw = [packet("a").SerializeToString(), b"\xff\xff", b"", packet("d").SerializeToString()]
    chat = channel.stream_stream(CHAT_METHOD, request_serializer=bytes, response_deserializer=pb.Ack.FromString)
    acks = list(chat(iter(raw), metadata=GOOD, timeout=30))
    assert [(ack.correlation_id, ack.status) for ack in acks] == [
        ("a", pb.INTERNAL),
        ("", pb.BAD_REQUEST),
        ("", pb.BAD_REQUEST),
        ("d", pb.INTERNAL),
    ]
    assert json.loads(acks[2].message)["error"].startswith("missing control")


def test_events_are_noted(channel: grpc.Channel) -> None:
    start = pb.DataPacket(event=pb.SEV_START, meta=pb.Meta(correlation_id="s"))
    ack = pb_grpc.MultimodalServiceStub(channel).SendUnary(start, metadata=GOOD, timeout=30)
    assert (ack.correlation_id, ack.status) == ("s", pb.OK)
    assert json.loads(ack.message) == {"cid": "s", "model": ""}


def test_a_stream_without_packets_ends_well(channel: grpc.Channel) -> None:
    call = pb_grpc.MultimodalServiceStub(channel).Chat(iter([]), metadata=GOOD, timeout=30)
    assert list(call) == []
    assert call.code() is grpc.StatusCode.OK


def test_too_large_names_limit_and_setting_after_the_other_acks(channel: grpc.Channel) -> None:
    call = pb_grpc.MultimodalServiceStub(channel).Chat(iter([packet("a"), packet("b", 3 << 19)]), metadata=GOOD)
    assert next(call).correlation_id == "a"
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    size = packet("b", 3 << 19).ByteSize()
    assert caught.value.details() == (
        f"packet of {size} bytes is over the limit of 1 MiB; "
        "the operator sets it with MAX_MESSAGE_MB=1, on the proxy and for clients alike"
    )


def test_far_too_large_is_refused_unread(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        pb_grpc.MultimodalServiceStub(channel).SendUnary(packet("b", 5 << 20), metadata=GOOD, timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "Received message larger than max" in (caught.value.details() or "")


def test_the_largest_limit_that_may_be_set_can_be_served() -> None:
    with proxy(MAX_MESSAGE_MB=1024, MAX_MB_IN_FLIGHT=2048) as largest:
        assert pb_grpc.MultimodalServiceStub(largest.channel).SendUnary(packet("u"), metadata=GOOD, timeout=30).final


def test_one_stream_too_many_is_refused_with_the_setting_that_says_so(channel: grpc.Channel) -> None:
    streams = [OpenStream(channel, GOOD, 30) for _ in range(3)]
    for stream in streams:
        stream.ask(packet())
    with pytest.raises(grpc.RpcError) as caught:
        pb_grpc.MultimodalServiceStub(channel).SendUnary(packet(), metadata=GOOD, timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "MAX_CALLS=3" in (caught.value.details() or "")
    streams[0].end()
    assert list(streams[0].call) == []
    assert streams[1].ask(packet("again")).correlation_id == "again"
    pb_grpc.MultimodalServiceStub(channel).SendUnary(packet(), metadata=GOOD, timeout=30)


def test_drain_answers_and_says_why_it_ends() -> None:
    with proxy() as served:
        stream = OpenStream(served.channel, GOOD, 30)
        stream.ask(packet())
        served.server.drain()
        with pytest.raises(grpc.RpcError) as caught:
            next(stream.call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "packets without an Ack were not accepted, send them again" in (caught.value.details() or "")


def test_a_drain_leaves_a_busy_caller_time_to_read_its_last_ack() -> None:
    with (
        proxy() as served,
        Relay(served.server.port) as relay,
        grpc.insecure_channel(f"127.0.0.1:{relay.port}") as channel,
    ):
        stream = OpenStream(channel, GOOD, 30)
        stream.ask(packet())
        relay.hold()
        stream.send(packet("the last"))
        relay.wait_for(b"the last")
        draining = threading.Thread(target=served.server.drain)
        draining.start()
        # It goes on sending meanwhile, for longer than a quick drain takes.
        enough = time.monotonic() + 1.5
        while time.monotonic() < enough:
            stream.send(packet("too late"))
            draining.join(0.01)
        relay.release()
        answered: list[str] = []
        with pytest.raises(grpc.RpcError, match="packets without an Ack were not accepted"):
            answered.extend(ack.correlation_id for ack in stream.call)
        draining.join()
    # The thread that drains may begin after the first of those "too late".
    assert answered[0] == "the last"
    assert set(answered[1:]) <= {"too late"}


def test_what_is_at_work_can_be_asked(three_calls: Proxy) -> None:
    before = three_calls.server.statistics()
    stream = OpenStream(three_calls.channel, GOOD, 30)
    stream.ask(packet())
    now = three_calls.server.statistics()
    engine = now.listener is not None
    assert (now.calls.open, now.quotas.calls, now.decisions.remembered_yes) == (1, {"ann": 1}, 1)
    assert (now.models.unanswered.entries, now.triton.large is None, now.triton.small is None) == (1, False, not engine)
    # REST is on the loop, whatever serves gRPC's callers.
    assert (now.loop is None, now.probes, now.certificates, now.access.policy) == (False, None, None, None)
    assert now.rest is not None
    assert now.rest.connections == 0
    assert now.health.serving >= {LIVENESS_SERVICE}
    if now.listener is not None and before.listener is not None:
        assert (now.listener.streams, now.listener.opened - before.listener.opened) == (1, 1)
    stream.end()
    until(lambda: three_calls.server.statistics().audit.written == 1)


def test_a_taken_port_is_named(server: Server) -> None:
    taken = proxy(LISTEN_ADDR=f"127.0.0.1:{server.port}")
    with pytest.raises(RuntimeError, match=rf"cannot listen on 127.0.0.1:{server.port}; is the port taken\?"):
        taken.__enter__()
