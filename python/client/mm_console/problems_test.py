"""What people read of an error."""

from __future__ import annotations

import pytest

from mm_client.options import UsageError
from mm_client_api import AccessDenied, CredentialsError, ModelNotReady
from mm_console.problems import Problem, problem_of

PARTS = [
    (
        UsageError("x.wav has 3 channels; expected 1 or 2; convert it"),
        ("x.wav has 3 channels.", "1 or 2.", "Convert it."),
    ),
    (
        UsageError("ann may not scale it; needed: a rule with the verb scale; this credential brings no groups"),
        ("Ann may not scale it.", "A rule with the verb scale.", "This credential brings no groups."),
    ),
    (
        UsageError("ann may not scale it to 9; ask for fewer"),
        ("Ann may not scale it to 9.", "", "Ask for fewer."),
    ),
    (UsageError("the text is empty"), ("The text is empty.", "", "Correct the input and try again.")),
    (
        CredentialsError("no credentials found. Set one of them, or pass credentials"),
        ("No credentials found.", "", "Set one of them, or pass credentials."),
    ),
    (
        AccessDenied("you may not use model m"),
        (
            "You may not use model m (UNKNOWN).",
            "A caller with access to this model.",
            "Ask the operator of the inference server for access.",
        ),
    ),
    (
        ModelNotReady("model 'm' is not ready: version 1 is UNAVAILABLE (no file)"),
        (
            "Model 'm' is not ready: version 1 is UNAVAILABLE (no file).",
            "A model that Triton has loaded.",
            "Correct what the reason names and publish the model again; a model that is loading will be ready soon.",
        ),
    ),
]


@pytest.mark.parametrize(("error", "parts"), PARTS)
def test_an_error_has_three_parts(error: Exception, parts: tuple[str, str, str]) -> None:
    found = problem_of(error)
    assert (found.wrong, found.expected, found.advice) == parts


def test_a_fault_of_the_console_shows_none_of_its_words() -> None:
    found = problem_of(RuntimeError("s3cret-key"))
    assert found.status == 500
    assert found.wrong == "The console failed: RuntimeError."
    assert "s3cret" not in "".join(found.as_json().values())


def test_a_problem_is_itself() -> None:
    problem = Problem("a", "b", "c")
    assert problem_of(problem) is problem
