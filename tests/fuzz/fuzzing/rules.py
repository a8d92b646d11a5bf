"""What holds for every answer, whatever was sent."""

from __future__ import annotations

import json
import re

from fuzzing.inputs import LEFT, SILENT, Input
from fuzzing.peer import outcome_of
from triton_proxy.protocols.rest import openapi

_CONTINUE, _FAILED = "100", "500"
# Of a request that no route is found for, or none can be read of.
_BEFORE_ROUTES = {_CONTINUE, "405", "431", "505"}
_PAGES = ("text/html", "text/event-stream", "application/octet-stream")


def documented() -> frozenset[str]:
    """The statuses of the REST server's document, and those that come before a route; without 500.

    The stand-in's model never fails, so that 500 would be the proxy's own mistake.
    """
    operations = [each for path in openapi.document()["paths"].values() for each in path.values()]
    statuses = {status for operation in operations for status in operation["responses"]}
    return frozenset((statuses | _BEFORE_ROUTES) - {_FAILED})


_DOCUMENTED = documented()


def problem(sent: Input, received: bytes) -> str | None:
    """What is wrong with an answer; None where nothing is."""
    outcome = outcome_of(sent, received)
    if outcome in {SILENT, LEFT, "frames", _CONTINUE}:
        return None
    if outcome not in _DOCUMENTED:
        return f"status {outcome} is in no document"
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return "the answer's head has no end"
    kind = re.search(rb"(?i)\r\ncontent-type: ([^\r;]+)", head)
    if outcome == "200" or sent.raw.startswith(b"HEAD ") or kind is None or kind.group(1).decode() in _PAGES:
        return None
    return _error_problem(body)


def _error_problem(body: bytes) -> str | None:
    try:
        # Another answer may follow.
        error = json.JSONDecoder().raw_decode(body.decode())[0]["error"]
        text = error if isinstance(error, str) else error["message"]
    except (ValueError, KeyError, TypeError):
        return f"an error without its text: {body[:200]!r}"
    return None if isinstance(text, str) and text else "an error without words"


def signature(sent: Input, received: bytes) -> str:
    """What two answers of one kind have in common: an input with another one is worth keeping."""
    outcome = outcome_of(sent, received)
    if outcome == "frames":
        return "frames " + " ".join(_kinds(received))
    head, _, body = received.partition(b"\r\n\r\n")
    if sent.leaves_after is not None:
        path = sent.raw[:60].partition(b" HTTP")[0].decode("latin-1")
        return f"left {path} {sent.leaves_after.bit_length()} {len(received).bit_length()} {len(sent.raw) // 64}"
    # Of an error its words without names and numbers, of any other answer its fields and how it begins.
    said = re.sub(rb"^\{\"error\":(\{\"message\":)?\"", b"", body[:400])
    said = re.sub(rb"'[^']*'|\\\\.|[0-9a-f]{8,}|\d+|[^ -~]+", b"_", said) if said != body[:400] else said[:20]
    line = sent.raw.partition(b"\r\n")[0]
    of = b" ".join(re.sub(rb"[^A-Za-z/_]", b"", line).split(b"/")[:5])[:40]
    return f"{outcome} {of.decode('latin-1')} {len(head.splitlines())} {said[:70].decode('latin-1')}"


def _kinds(received: bytes) -> list[str]:
    """Frames by kind and flags, with the code of those that say one; each once, in the order of their first coming."""
    found: dict[str, None] = {}
    at = 0
    while at + 9 <= len(received):
        end = at + 9 + int.from_bytes(received[at : at + 3], "big")
        kind, flags = received[at + 3], received[at + 4]
        code = received[end - 4 : end].hex() if kind == 3 else received[at + 13 : at + 17].hex() if kind == 7 else ""
        found[f"{kind}.{flags}.{code}"] = None
        at = end
    return list(found)
