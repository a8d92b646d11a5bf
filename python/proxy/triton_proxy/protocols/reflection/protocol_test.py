from __future__ import annotations

from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD, pb
from triton_proxy.protocols.kserve import methods as kserve
from triton_proxy.protocols.reflection.protocol import MAX_REQUEST_BYTES, ReflectionMessage, ReflectionProtocol

KSERVE = {kserve.MODEL_INFER_METHOD, kserve.MODEL_STREAM_INFER_METHOD, *kserve.QUERY_METHODS}
FILES = (pb.DESCRIPTOR, service_pb2.DESCRIPTOR)
PROTOCOL = ReflectionProtocol(FILES, {CHAT_METHOD, SEND_UNARY_METHOD, *KSERVE})
NOT_FOUND, INVALID_ARGUMENT = 5, 3


def read(raw: bytes, protocol: ReflectionProtocol = PROTOCOL) -> tuple[ReflectionMessage, ServerReflectionResponse]:
    message = protocol.read(raw)
    return message, ServerReflectionResponse.FromString(b"".join(message.reply().parts))


def ask(request: ServerReflectionRequest, protocol: ReflectionProtocol = PROTOCOL) -> ServerReflectionResponse:
    message, answer = read(request.SerializeToString(), protocol)
    assert message.reply().ok == (not answer.HasField("error_response"))
    assert answer.original_request == request
    return answer


def files(answer: ServerReflectionResponse) -> dict[str, FileDescriptorProto]:
    found = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    return {file.name: file for file in found}


def test_the_services_are_those_that_are_served() -> None:
    def listed(protocol: ReflectionProtocol) -> list[str]:
        answer = ask(ServerReflectionRequest(list_services=""), protocol)
        return [service.name for service in answer.list_services_response.service]

    assert listed(PROTOCOL) == ["inference.GRPCInferenceService", "multimodal.MultimodalService"]
    assert listed(ReflectionProtocol(FILES, {CHAT_METHOD})) == ["multimodal.MultimodalService"]


def test_a_service_is_described_with_all_that_its_file_imports() -> None:
    found = files(ask(ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService")))
    assert set(found) == {"grpc_service.proto", "model_config.proto"}
    (service,) = found["grpc_service.proto"].service
    assert {f"/inference.{service.name}/{method.name}" for method in service.method} == KSERVE
    for name in found:
        assert name in files(ask(ServerReflectionRequest(file_by_filename=name)))


def test_the_contract_is_described_as_it_is() -> None:
    contract = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(contract)
    for symbol in ("multimodal.MultimodalService", "multimodal.MultimodalService.Chat", "multimodal.Ack"):
        assert files(ask(ServerReflectionRequest(file_containing_symbol=symbol))) == {contract.name: contract}


def test_nothing_else_is_found_though_the_process_has_it() -> None:
    for request in (
        ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService.RepositoryModelLoad"),
        ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
        ServerReflectionRequest(file_by_filename="google/protobuf/descriptor.proto"),
        ServerReflectionRequest(file_by_filename=pb.DESCRIPTOR.name + "x"),
        ServerReflectionRequest(all_extension_numbers_of_type="google.protobuf.MethodOptions"),
        ServerReflectionRequest(
            file_containing_extension=ExtensionRequest(containing_type="multimodal.Ack", extension_number=1)
        ),
    ):
        assert ask(request).error_response.error_code == NOT_FOUND


def test_what_is_wrong_is_said_in_words() -> None:
    _, answer = read(b"\xff")
    assert answer.error_response.error_code == INVALID_ARGUMENT
    assert answer.error_response.error_message == (
        "the request is no serialized ServerReflectionRequest; expected protobuf; generate the client from grpc's proto"
    )
    _, answer = read(ServerReflectionRequest(file_by_filename="x" * MAX_REQUEST_BYTES).SerializeToString())
    assert answer.error_response.error_code == INVALID_ARGUMENT
    assert answer.error_response.error_message == (
        "the request has more than 1024 bytes; expected the name of one file, symbol or type; "
        "ask for the services first"
    )
    assert ask(ServerReflectionRequest()).error_response.error_code == INVALID_ARGUMENT


def of_symbol(name: str) -> bytes:
    return ServerReflectionRequest(file_containing_symbol=name).SerializeToString()


@given(st.binary(max_size=80) | st.text(max_size=40).map(of_symbol))
def test_any_bytes_get_an_answer_whose_memory_is_counted(raw: bytes) -> None:
    message, answer = read(raw)
    assert answer.WhichOneof("message_response")
    assert message.kept_bytes == message.reply().size == answer.ByteSize()
