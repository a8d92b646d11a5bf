"""What OpenAI's clients read: errors, and the writer of a request's answer."""

from __future__ import annotations

from typing import Any

import orjson

from mm_service.status import Code
from triton_proxy.protocols.openai.members import RequestRefused
from triton_proxy.protocols.rest.reply import JSON, Reply, Writer, refusal

DONE = b"data: [DONE]\n\n"
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
_INVALID, _FAILED = "invalid_request_error", "server_error"


def event(value: object) -> bytes:
    """A server-sent event."""
    return b"data: %b\n\n" % orjson.dumps(value)


class OpenAiWriter(Writer):
    """Writes answers, and errors in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

    _param: str | None = None
    _code: str | None = None

    def refused(self, refused: RequestRefused) -> Reply:
        """Says that a request can't be served."""
        self._param = refused.param
        return refusal(refused.code, str(refused))

    def failed(self, text: str, code: Code) -> Reply:
        """Says what went wrong at Triton."""
        if code is Code.NOT_FOUND:
            self._param, self._code = "model", "model_not_found"
        return refusal(code, text)

    def value(self, value: object) -> Reply:
        """An answer of one piece."""
        return self.all_of_it([JSON], [orjson.dumps(value)])

    def error(self, status: int, text: str) -> bytes:
        """The body of a refusal; see `Writer`."""
        return orjson.dumps(self._error(status, text))

    def failure(self, text: str) -> bytes:
        """The event that ends an answer which can't go on."""
        return event(self._error(500, text))

    def _error(self, status: int, text: str) -> dict[str, Any]:
        kind = _TYPES.get(status) or (_INVALID if status < 500 else _FAILED)
        code = self._code or _CODES.get(status)
        return {"error": {"message": text, "type": kind, "param": self._param, "code": code}}
