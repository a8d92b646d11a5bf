"""What went wrong, in three parts: what was wrong, what was expected, what to do."""

from __future__ import annotations

import os
import re

from mm_client.addresses import masked
from mm_client_api import InvalidRequest, ModelNotFound, TritonClientError

_SECRETS = ("DOMINO_USER_TOKEN", "DOMINO_USER_API_KEY", "Authorization")
_SHORTEST_SECRET = 6
_PARTS = re.compile(r"\s*[;.]\s+(?=(?:expected|needed)\b)", re.IGNORECASE)
_ADVICE = re.compile(r"\s*;\s+")
# What to do, where nobody says.
_OTHER = "Correct the input and try again."
_UNSENT = "not sent: "
_REFUSED_STATUS, _MISSING_STATUS, _FAILED_STATUS = 422, 404, 502


# Errors of mm_client and mm_scale, whose texts are for people; by name, since each needs an extra or another wheel.
_SPEAKING = frozenset(
    {
        "ConflictError",
        "DecodeError",
        "DeniedError",
        "MediaError",
        "NotAuthenticatedError",
        "RejectedError",
        "ScaleError",
        "StuckError",
        "UnavailableError",
        "UsageError",
        "WaitTimeoutError",
    }
)


class Problem(Exception):  # noqa: N818 - it is shown as a value as often as it is raised
    """Something that did not work.

    Attributes:
        wrong: what was wrong.
        expected: what would have been right; may be empty.
        advice: what to do.
        status: HTTP's status for it.
    """

    def __init__(self, wrong: str, expected: str, advice: str, status: int = _REFUSED_STATUS) -> None:
        super().__init__(wrong)
        self.wrong = wrong
        self.expected = expected
        self.advice = advice
        self.status = status

    def as_json(self) -> dict[str, str]:
        """The three parts."""
        return {"wrong": self.wrong, "expected": self.expected, "advice": self.advice}


def problem_of(error: Exception) -> Problem:
    """Return what to tell people of an error; no credential of the environment is in it.

    Args:
        error: a `Problem`; of the client library, of `mm_client` or `mm_scale`; or any other, which is a fault of the
            console.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, TritonClientError):
        unsent = error.detail.startswith(_UNSENT)
        mark = f" ({error.status})" if error.status and not unsent else ""
        return _in_parts(_without_secrets(error.detail.removeprefix(_UNSENT)), error, mark)
    if type(error).__name__ in _SPEAKING:
        return _in_parts(_without_secrets(str(error)))
    return Problem(
        f"The console failed: {type(error).__name__}.",
        "No error of this kind.",
        "Try again; if it stays, report it with what the console printed where it runs.",
        500,
    )


def _in_parts(text: str, error: TritonClientError | None = None, mark: str = "") -> Problem:
    """Take a text apart that is written as "what was wrong; expected …; what to do"; the error has what lacks there."""
    wrong, *rest = _PARTS.split(text, maxsplit=1)
    expected, advice = ("", "") if error is None else (error.expected, error.advice)
    if rest:
        expected, *more = _ADVICE.split(rest[0].split(None, 1)[-1], maxsplit=1)
        advice = more[0] if more else advice
    elif not advice:
        wrong, _, advice = wrong.partition("; " if "; " in wrong else ". ")
    status = _REFUSED_STATUS if error is None else _status_of(error)
    return Problem(_sentence(f"{wrong.rstrip('.')}{mark}"), _sentence(expected), _sentence(advice or _OTHER), status)


def _status_of(error: TritonClientError) -> int:
    if isinstance(error, ModelNotFound):
        return _MISSING_STATUS
    return _REFUSED_STATUS if isinstance(error, InvalidRequest) else _FAILED_STATUS


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".;:, ")
    # The name of a file stays as it is.
    first = text.partition(" ")[0]
    return f"{text if '.' in first else text[:1].upper() + text[1:]}." if text else ""


def _without_secrets(text: str) -> str:
    shown = masked(text)
    for name in _SECRETS:
        for secret in os.environ.get(name, "").split():
            if len(secret) >= _SHORTEST_SECRET:
                shown = shown.replace(secret, "***")
    return shown
