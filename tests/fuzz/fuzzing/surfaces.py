"""What is fuzzed: for each surface the inputs to begin with, and how one becomes another.

A surface is grown by outcomes: an input whose answer was not seen before is kept, and mutated in its turn.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fuzzing.http2_frames import SEEDS as HTTP2_SEEDS
from fuzzing.http2_frames import mutated_frames
from fuzzing.inputs import Input
from fuzzing.peer import PATIENCE_SECS
from fuzzing.subject import MODEL
from triton_proxy.protocols.rest.routes import ROUTES

_WAITS_SECS = 0.5
_KEY = "X-Domino-Api-Key: ann"
_HEADER_LENGTH = "Inference-Header-Content-Length"
_NUMBERS = (b"0", b"-1", b"1", b"2", b"255", b"4294967295", b"9223372036854775808", b"1e999", b"-0.0", b"NaN", b"1.5")
_WORDS = (
    *(b'""', b"null", b"true", b"[]", b"{}", b"[[]]", b'"\\ud800"', b'"\\u0000"', b'"\xff"', b'"' + b"x" * 300 + b'"'),
    *(b"binary_data_size", b"shape", b"data", b"parameters", b"sequence_id", b"stop", b"stream", b"tools"),
    *(b"FP16", b"BYTES", b"UINT64", b"shared_memory_region", b"classification", b"<tool_call>", b"text_input"),
    *(b"response_format", MODEL.encode()),
)
_HTTP = (
    *(b"\r\n", b"\n", b"\r", b" ", b":", b"\t", b"\x00", b"\xff", b"HTTP/1.0", b"HTTP/2.0", b"GET "),
    *(b"PRI * HTTP/2.0\r\n\r\n", b"HEAD "),
    *(b"Content-Length: 5\r\n", b"Content-Length: 99999999999999999999\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Host: x\r\n"),
    *(b"Content-Encoding: gzip\r\n", b"Upgrade: h2c\r\n", b"%2e%2e", b"%00", b"%", b"?", b"//", b"#", b";ext=1\r\n"),
    *(b"ffffffffffffffff\r\n", b"0\r\n\r\n", b"5\r\nabcde\r\n", b"-1\r\n", b"X-" + b"y" * 200 + b": z\r\n"),
)


@dataclass(frozen=True)
class Surface:
    """One surface.

    Attributes:
        name: by which it is chosen, and its corpus' file.
        port: the subject's port that it goes to, "rest" or "grpc".
        seeds: inputs to begin with.
        mutate: makes another input of one.
        waits_secs: after so long without a byte of an answer the peer says that it sends no more: what it sent may be
            no whole request.
    """

    name: str
    port: str
    seeds: Sequence[Input]
    mutate: Callable[[random.Random, Input], Input]
    waits_secs: float


def request(method: str, path: str, body: bytes = b"", *fields: str) -> bytes:
    """A request of HTTP/1.1 with a credential."""
    lines = [f"{method} {path} HTTP/1.1", "Host: proxy", _KEY, f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def mutated_bytes(chance: random.Random, raw: bytes, words: Sequence[bytes]) -> bytes:
    """Bytes with one to four changes: one flipped, a piece left out, doubled or moved, a word put in."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(raw) + 1)
        end = min(len(raw), at + chance.randint(1, 16))
        kind = chance.randrange(5)
        if kind == 0 and at < len(raw):
            raw = raw[:at] + bytes((raw[at] ^ 1 << chance.randrange(8),)) + raw[at + 1 :]
        elif kind == 1:
            raw = raw[:at] + raw[end:]
        elif kind == 2:
            raw = raw[:end] + raw[at:end] * chance.choice((1, 2, 50)) + raw[end:]
        elif kind == 3:
            to = chance.randrange(len(raw) + 1)
            raw = raw[:to] + raw[at:end] + raw[to:]
        else:
            raw = raw[:at] + chance.choice(words) + raw[chance.choice((at, end)) :]
    return raw[:100_000]


def _split(raw: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


def _framed(lines: Sequence[bytes], body: bytes) -> bytes:
    """A request whose Content-Length is true: it is what is within that is fuzzed."""
    kept = [line for line in lines if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*kept, b"Content-Length: %d" % len(body), b"", b""]) + body


def _mutated_json(chance: random.Random, sent: Input) -> Input:
    lines, body = _split(sent.raw)
    if chance.random() < 0.4 and (places := [*re.finditer(rb'-?\d+(?:\.\d+)?|"[^"]*"|true|false|null', body)]):
        place = chance.choice(places)
        body = body[: place.start()] + chance.choice((*_WORDS, *_NUMBERS)) + body[place.end() :]
    else:
        body = mutated_bytes(chance, body, (*_WORDS, *_NUMBERS, b",", b"]", b"}", b"[" * 200, b'{"a":' * 200))
    return Input(_framed(lines, body))


def _mutated_binary(chance: random.Random, sent: Input) -> Input:
    """Mostly lengths: of the JSON, of each tensor, and of what there is."""
    lines, body = _split(sent.raw)
    said = [line for line in lines if line.startswith(_HEADER_LENGTH.encode())]
    others = [line for line in lines if line not in said]
    length = said[0].partition(b": ")[2] if said else b"0"
    kind = chance.randrange(6)
    if kind == 0:
        near = int(length) + chance.randint(-3, 3) if length.isdigit() and len(length) < 9 else 0
        length = chance.choice((*_NUMBERS, b"", b"+1", b" 1", b"0x10", b"%d" % near, b"%d" % len(body), b"1, 2"))
        said = [b"%b: %b" % (_HEADER_LENGTH.encode(), length)] * chance.choice((1, 1, 1, 2))
    elif kind == 1:
        said = []
    elif kind == 2:
        body = re.sub(rb'(binary_data_size": ?)-?\d+', lambda found: found[1] + chance.choice(_NUMBERS), body)
    elif kind == 3:
        body = body[: chance.randrange(len(body) + 1)] if chance.random() < 0.5 else body + chance.randbytes(9)
    elif kind == 4:
        body = mutated_bytes(chance, body, (*_WORDS, *_NUMBERS))
    else:
        field = chance.choice((b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Accept-Encoding: gzip"))
        others = [*others, field]
    return Input(_framed([*others, *said], body))


def _mutated_head(chance: random.Random, sent: Input) -> Input:
    return Input(mutated_bytes(chance, sent.raw, _HTTP))


def _leaves(chance: random.Random, sent: Input) -> Input:
    """A reader that hangs up before, within or after its events, or before its request was complete."""
    raw = sent.raw if chance.random() < 0.8 else sent.raw[: chance.randrange(len(sent.raw) + 1)]
    return replace(sent, raw=raw, leaves_after=chance.choice((0, 0, 1, 100, chance.randrange(3000), 100_000)))


def _json(path: str, body: object) -> Input:
    return Input(request("POST", path, json.dumps(body).encode()))


_HELLO = [{"role": "system", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "ä"}]}]
_CALLED = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}]
_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
_CHAT = {
    "model": MODEL,
    "messages": [*_HELLO, {"role": "assistant", "tool_calls": _CALLED}, {"role": "tool", "content": "1"}],
    "temperature": 0.5,
    "stop": ["x", "piece 3"],
    "tools": _TOOLS,
    "logprobs": True,
    "top_logprobs": 2,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    "max_tokens": 5,
    "seed": 1,
    "logit_bias": {"1": 2},
}
_STREAMED = {"model": MODEL, "messages": _HELLO, "stream": True}
_TENSOR = {"name": "INPUT0", "shape": [2], "datatype": "FP32", "data": [1.5, 2]}
_INFER = {"id": "7", "parameters": {"priority": 1}, "inputs": [_TENSOR], "outputs": [{"name": "OUTPUT0"}]}
_JSON_SEEDS = (
    _json(f"/v2/models/{MODEL}/infer", _INFER),
    _json(f"/v2/models/{MODEL}/versions/3/infer", {"inputs": [{**_TENSOR, "data": [[1], [2]]}]}),
    _json(f"/v2/models/{MODEL}/generate", {"INPUT0": [1, 2], "priority": 1}),
    _json(f"/v2/models/{MODEL}/generate_stream", {"text_input": "x", "stream": True}),
    _json("/v1/chat/completions", _CHAT),
    _json("/v1/chat/completions", {**_STREAMED, "stream_options": {"include_usage": True}}),
    _json("/v1/completions", {"model": MODEL, "prompt": "x", "echo": True, "logprobs": 1}),
    _json("/v1/embeddings", {"model": MODEL, "input": ["x"], "encoding_format": "base64", "dimensions": 2}),
    _json("/v2/repository/index", {"ready": True}),
)


def _binary(*tensors: dict[str, object], data: bytes, **members: object) -> Input:
    text = json.dumps({"inputs": [{**_TENSOR, "data": None, **each} for each in tensors], **members})
    text = text.replace('"data": null, ', "")
    length = f"{_HEADER_LENGTH}: {len(text)}"
    return Input(request("POST", f"/v2/models/{MODEL}/infer", text.encode() + data, length))


def _sized(size: int) -> dict[str, object]:
    return {"parameters": {"binary_data_size": size}}


_BINARY_SEEDS = (
    _binary(_sized(8), data=bytes(8), outputs=[{"name": "OUTPUT0", "parameters": {"binary_data": True}}]),
    _binary(_sized(8), {"name": "text_input", "datatype": "BYTES", **_sized(9), "shape": [1]}, data=bytes(17)),
    _binary(
        {"shape": [1], **_sized(4)}, {"name": "image", "datatype": "BYTES", "shape": [1], **_sized(5)}, data=bytes(9)
    ),
    Input(request("POST", f"/v2/models/{MODEL}/infer", bytes(8), f"{_HEADER_LENGTH}: 0")),
)
_STREAMS = tuple(
    _json(path, body)
    for path, body in (
        (f"/v2/models/{MODEL}/generate_stream", {"text_input": "x"}),
        ("/v1/chat/completions", _STREAMED),
        ("/v1/completions", {"model": MODEL, "prompt": "x", "stream": True}),
    )
)
_CHUNKED = (
    f"POST /v2/models/{MODEL}/generate HTTP/1.1\r\nHost: x\r\n{_KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
    '5\r\n{"INP\r\nb;x=y\r\nUT0": [1.5]}\r\n0\r\nTrailer: x\r\n\r\n'
).encode()
_HTTP_SEEDS = (
    *(
        Input(request(route.method, route.template.format(model=MODEL, version="3"), b"{}" * (route.method == "POST")))
        for route in ROUTES
    ),
    Input(_CHUNKED),
    Input(request("GET", "/v2") + request("GET", "/v2/health/ready")),
    Input(request("POST", "/v2/repository/index", b"{}", "Expect: 100-continue")),
    Input(b"GET /v2/health/live HTTP/1.0\r\n\r\n"),
)
SURFACES = (
    Surface("json", "rest", _JSON_SEEDS, _mutated_json, PATIENCE_SECS),
    Surface("binary", "rest", _BINARY_SEEDS, _mutated_binary, PATIENCE_SECS),
    Surface("sse", "rest", _STREAMS, _leaves, _WAITS_SECS),
    Surface("http1", "rest", _HTTP_SEEDS, _mutated_head, _WAITS_SECS),
    Surface("http2", "grpc", HTTP2_SEEDS, mutated_frames, PATIENCE_SECS),
)


def named(names: Sequence[str]) -> list[Surface]:
    """The surfaces of these names; all of them where no name is given.

    Raises:
        ValueError: there is no surface of a name.
    """
    known = [surface.name for surface in SURFACES]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"no surface {', '.join(unknown)}; expected some of {', '.join(known)}")
    return [surface for surface in SURFACES if not names or surface.name in names]
