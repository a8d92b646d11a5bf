"""The proxy under test, in a process of its own so that its memory is its own; its Triton is a stand-in.

    python -m fuzzing.subject

It prints its ports as JSON, and for each line on standard input what it is at work on. It ends with its input.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any

from proxy_testing.in_process import Served, served
from proxy_testing.text_models import VLLM_INPUTS, VLLM_OUTPUTS, answer, describe, given, streamed
from service_testing.waiting import until

# `describe` gives the first of its models this name.
MODEL = "text0"
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{{ tools | tojson if tools }}assistant:"
_PIECES = 4


def described(proxy: Served) -> None:
    """Has the stand-in describe one model that any request may be for: of texts, of numbers, of embeddings."""
    name = describe(
        proxy.triton,
        {**VLLM_INPUTS, "INPUT0": ("FP32", [-1])},
        {**VLLM_OUTPUTS, "OUTPUT0": "FP32", "embedding": "FP32"},
        required=(),
        decoupled=True,
        chat_template=_TEMPLATE,
        tool_call_format="hermes",
        openai=json.dumps({"response_format": "structured_outputs"}),
    )
    assert name == MODEL
    proxy.triton.infer_stream = _infer


def _infer(request: Any, _context: Any) -> Iterator[bytes]:
    inputs = given(request)
    if "text_input" not in inputs:
        numbers = inputs.get("INPUT0", [])
        made = answer(OUTPUT0=numbers if isinstance(numbers, list) else [numbers], final=True)
        yield streamed(final=True) if not made.outputs else _serialized(made)
        return
    for number in range(_PIECES):
        yield streamed(text_output=f"piece {number} ", num_input_tokens=1, num_output_tokens=1, embedding=[0.5, 1.0])
    yield streamed(final=True)


def _serialized(made: Any) -> bytes:
    raw = made.SerializeToString()
    # ModelStreamInferResponse.infer_response is its field 2.
    return b"\x12" + _varint(len(raw)) + bytes(raw)


def _varint(number: int) -> bytes:
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return struct.pack(f"{len(parts) + 1}B", *parts, number)


def state(proxy: Served) -> dict[str, int]:
    """What must be nothing when nobody asks."""
    found = proxy.server.statistics()
    connections = [each.connections for each in (found.rest, found.listener) if each is not None]
    return {"calls": found.calls.open, "budget": found.budget.in_use, "connections": sum(connections)}


def main() -> None:
    """Serves until its input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # The audit log has a line for each request, which nobody reads.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with served(MAX_MESSAGE_MB="4", TRITON_CANCEL_DELAY_SECS="0.2") as proxy:
        described(proxy)
        until(lambda: "" in proxy.server.statistics().health.serving)
        print(json.dumps({"rest": proxy.server.http_port, "grpc": proxy.server.port}), file=answers)
        for _ in sys.stdin:
            print(json.dumps(state(proxy)), file=answers)


if __name__ == "__main__":
    main()
