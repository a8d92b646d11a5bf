"""What people put beside Envoy's ext_authz: `authorizer PORT`, with DOMINO_HOST in the environment.

An asyncio server for envoy.service.auth.v3.Authorization that answers from a cache of API keys. Of Envoy's messages it
declares what it needs; protobuf skips the rest.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmark.identity import Identities
from benchmark.triton_ways import API_KEY_HEADER

_PACKAGE = "envoy.service.auth.v3"
_OK, _UNAUTHENTICATED = 0, 16
_Field = descriptor_pb2.FieldDescriptorProto


def _field(name: str, number: int, kind: str = "", *, repeated: bool = False) -> descriptor_pb2.FieldDescriptorProto:
    return _Field(
        name=name,
        number=number,
        label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
        type=_Field.TYPE_MESSAGE if kind else _Field.TYPE_STRING,
        type_name=f".{_PACKAGE}.{kind}" if kind else None,
    )


def _messages() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="ext_authz_excerpt.proto", package=_PACKAGE, syntax="proto3")
    entry = descriptor_pb2.DescriptorProto(name="HeadersEntry", field=[_field("key", 1), _field("value", 2)])
    entry.options.map_entry = True
    headers = _field("headers", 3, "HttpRequest.HeadersEntry", repeated=True)
    code = _Field(name="code", number=1, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_INT32)
    for name, field, nested in (
        ("HttpRequest", headers, [entry]),
        ("Request", _field("http", 2, "HttpRequest"), []),
        ("AttributeContext", _field("request", 4, "Request"), []),
        ("CheckRequest", _field("attributes", 1, "AttributeContext"), []),
        ("Status", code, []),
        ("CheckResponse", _field("status", 1, "Status"), []),
    ):
        file.message_type.add(name=name, field=[field], nested_type=nested)
    return message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())


_MESSAGES = _messages()
CheckRequest = _MESSAGES[f"{_PACKAGE}.CheckRequest"]
CheckResponse = _MESSAGES[f"{_PACKAGE}.CheckResponse"]


class Authorization:
    """The service."""

    def __init__(self, domino_host: str) -> None:
        self._identities = Identities(domino_host)

    async def check(self, request: Any, _: object) -> Any:
        """Lets in the principals that Domino knows."""
        key = request.attributes.request.http.headers.get(API_KEY_HEADER, "")
        name = self._identities.remembered(key) or await asyncio.to_thread(self._identities.ask, key)
        response = CheckResponse()
        response.status.code = _OK if name else _UNAUTHENTICATED
        return response


async def serve(port: int, domino_host: str) -> None:
    """Serves until it is killed."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        Authorization(domino_host).check,
        request_deserializer=CheckRequest.FromString,
        response_serializer=CheckResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(f"{_PACKAGE}.Authorization", {"Check": handler}),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), os.environ["DOMINO_HOST"]))
