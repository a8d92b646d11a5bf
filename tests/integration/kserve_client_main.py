"""KServe's own Python client, unmodified: what it is answered over gRPC and REST, as one JSON.

A process of its own, since the client brings a hundred packages along, in versions of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

MODEL = "identity_fp32"
VALUES = [1.5, -2.0, 3.0]


def request(model: str = MODEL, *, binary: bool = True) -> Any:
    tensor = InferInput("INPUT0", [len(VALUES)], "FP32")
    tensor.set_data_from_numpy(np.array(VALUES, np.float32), binary_data=binary)
    return InferRequest(model, [tensor], "one")


def read(answer: Any) -> list[Any]:
    return [answer.id, answer.model_name, answer.model_version, answer.outputs[0].as_numpy().tolist()]


async def failure(call: Callable[[], Awaitable[Any]]) -> str:
    try:
        await call()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    except httpx.HTTPStatusError as error:
        return f"{error.response.status_code}: {error.response.json()['error']}"
    return "it did not fail"


async def by_grpc(address: str, headers: dict[str, str]) -> dict[str, Any]:
    metadata = list(headers.items())
    async with InferenceGRPCClient(address) as client:
        return {
            "live": await client.is_server_live(headers=metadata),
            "ready": await client.is_server_ready(headers=metadata),
            "model ready": await client.is_model_ready(MODEL, headers=metadata),
            "answers": [read(await client.infer(request(binary=binary), headers=metadata)) for binary in (True, False)],
            "unknown model": await failure(lambda: client.infer(request("nope"), headers=metadata)),
            "stranger": await failure(lambda: client.infer(request())),
        }


async def by_rest(address: str, headers: dict[str, str]) -> dict[str, Any]:
    base = f"http://{address}"
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:

        def infer(asked: Any, model: str = MODEL, headers: dict[str, str] = headers) -> Awaitable[Any]:
            # The client writes fields of its own into what it is given.
            answer: Awaitable[Any] = client.infer(base, asked, model_name=model, headers=dict(headers))
            return answer

        return {
            "live": await client.is_server_live(base),
            "ready": await client.is_server_ready(base),
            "model ready": await client.is_model_ready(base, MODEL, headers=headers),
            "answers": [read(await infer(request(binary=binary))) for binary in (True, False)],
            "unknown model": await failure(lambda: infer(request("nope"), "nope")),
            "stranger": await failure(lambda: infer(request(), headers={})),
        }


async def main(grpc_address: str, http_address: str, key: str) -> None:
    headers = {"x-domino-api-key": key}
    answered = {"grpc": await by_grpc(grpc_address, headers), "rest": await by_rest(http_address, headers)}
    print(json.dumps(answered))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
