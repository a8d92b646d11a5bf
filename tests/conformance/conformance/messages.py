"""The messages of grpc.testing.TestService that the interop clients send, as far as the service reads them.

Source: gRPC's page interop-test-descriptions, and the numbers of its messages.proto. They are made from a descriptor
here: the project's own contract is the only .proto that it generates code from.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "grpc.testing"
_TYPE = descriptor_pb2.FieldDescriptorProto
_BOOL, _BYTES, _INT32, _STRING = _TYPE.TYPE_BOOL, _TYPE.TYPE_BYTES, _TYPE.TYPE_INT32, _TYPE.TYPE_STRING
# Message to fields: name, number, and type; a type in words is a message, `*` before it makes it repeated.
_MESSAGES: dict[str, tuple[tuple[str, int, Any], ...]] = {
    "Payload": (("body", 2, _BYTES),),
    "EchoStatus": (("code", 1, _INT32), ("message", 2, _STRING)),
    "SimpleRequest": (
        ("response_size", 2, _INT32),
        ("payload", 3, "Payload"),
        ("response_status", 7, "EchoStatus"),
        ("fill_server_id", 9, _BOOL),
    ),
    "SimpleResponse": (("payload", 1, "Payload"), ("server_id", 4, _STRING)),
    "StreamingInputCallRequest": (("payload", 1, "Payload"),),
    "StreamingInputCallResponse": (("aggregated_payload_size", 1, _INT32),),
    "ResponseParameters": (("size", 1, _INT32), ("interval_us", 2, _INT32)),
    "StreamingOutputCallRequest": (
        ("response_parameters", 2, "*ResponseParameters"),
        ("payload", 3, "Payload"),
        ("response_status", 7, "EchoStatus"),
    ),
    "StreamingOutputCallResponse": (("payload", 1, "Payload"),),
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="conformance.proto", package=_PACKAGE, syntax="proto3")
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, number, kind in fields:
            field = made.field.add(name=name, number=number, label=_TYPE.LABEL_OPTIONAL)
            if not isinstance(kind, str):
                field.type = kind
                continue
            field.type = _TYPE.TYPE_MESSAGE
            field.type_name = f".{_PACKAGE}.{kind.lstrip('*')}"
            if kind.startswith("*"):
                field.label = _TYPE.LABEL_REPEATED
    return file


# A pool of its own: the names are grpc's, and another library may bring the real ones.
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def _made(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


Payload = _made("Payload")
SimpleRequest = _made("SimpleRequest")
SimpleResponse = _made("SimpleResponse")
StreamingInputCallRequest = _made("StreamingInputCallRequest")
StreamingInputCallResponse = _made("StreamingInputCallResponse")
StreamingOutputCallRequest = _made("StreamingOutputCallRequest")
StreamingOutputCallResponse = _made("StreamingOutputCallResponse")
