"""JSON, and what Triton's clients and Triton write beside it: NaN and Infinity, which JSON lacks."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

import orjson

from multimodal_contract.wire import Buffer
from triton_proxy.protocols.rest.refused import BodyRefused

_NOT_JSON = re.compile(rb"NaN|Infinity")
# A list of numbers takes eight times its text, and one of empty objects twenty times and more.
MOST_BYTES = 8 << 20


def check_size(size: int) -> None:
    """Returns where so much JSON is read at all: parsed, it takes many times its size.

    Args:
        size: of the text.

    Raises:
        BodyRefused: it is more.
    """
    if size > MOST_BYTES:
        raise BodyRefused(
            f"the request has {size} bytes of JSON; expected at most {MOST_BYTES}: send tensors as binary data"
        )


def read_object(raw: Buffer) -> dict[str, Any]:
    """A request's JSON.

    Args:
        raw: its text.

    Raises:
        BodyRefused: it is none, or no object.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        value = _with_words(bytes(raw), str(error))
    if not isinstance(value, dict):
        raise BodyRefused(f"the request's JSON is a {type(value).__name__}; expected an object, such as {{…}}")
    return value


def _with_words(raw: bytes, error: str) -> Any:
    # All but these words has to be JSON: Python reads more, such as half a character, which can't be written again.
    without, found = _NOT_JSON.subn(b"0", raw)
    if found:
        with contextlib.suppress(ValueError, RecursionError):
            orjson.loads(without)
            return json.loads(raw)
    raise BodyRefused(f"failed to parse the request JSON: {error}; expected one object in UTF-8")


def written(value: Any) -> bytes:
    """JSON as Triton writes it, compact, with NaN and Infinity as words where a value is one of them."""
    text = orjson.dumps(value)
    # orjson writes null for them, and nothing else here is null.
    if b"null" in text and b"null" in _without_texts(value):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return text


def _without_texts(value: Any) -> bytes:
    """The JSON of all but the texts, among which that word may stand."""
    if isinstance(value, dict):
        return b"".join(_without_texts(each) for each in value.values())
    if isinstance(value, list):
        return b"" if value and isinstance(value[0], str) else orjson.dumps(value)
    return b"" if isinstance(value, str) else orjson.dumps(value)
