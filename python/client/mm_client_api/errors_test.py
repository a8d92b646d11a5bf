from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from mm_client_api import errors
from mm_client_api.errors import ERROR_TABLE, error_of_ack, error_of_call
from multimodal_contract import pb


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_grpc_code_has_an_exception(code: grpc.StatusCode) -> None:
    error = error_of_call(code, "the server's words", "cid-1")
    assert isinstance(error, grpc.RpcError)
    assert isinstance(error, errors.TritonClientError)
    assert (error.code(), error.details(), error.status) == (code, "the server's words", code.name)
    named = {row.code: row.exception for row in ERROR_TABLE if row.source == "gRPC"}
    assert type(error) is named.get(code.name, errors.CallError)
    for part in ("the server's words", code.name, "cid-1"):
        assert part in str(error)


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ("Received message larger than max (9 vs. 4)", errors.MessageTooLarge),
        (
            "a packet of 9 bytes is over the limit of 1 MiB; the operator sets it with MAX_MESSAGE_MB=1",
            errors.MessageTooLarge,
        ),
        (
            "256 calls are being served already, as many as MAX_STREAMS=256 allows; try again later",
            errors.LimitExceeded,
        ),
    ],
)
def test_a_large_message_differs_from_a_full_proxy(details: str, kind: type[errors.CallError]) -> None:
    assert type(error_of_call(grpc.StatusCode.RESOURCE_EXHAUSTED, details)) is kind
    assert type(error_of_call(grpc.StatusCode.UNAVAILABLE, details)) is errors.ProxyUnavailable


def test_a_triton_that_starts_has_an_exception_of_its_own() -> None:
    error = error_of_call(grpc.StatusCode.UNAVAILABLE, "Triton is starting", starting=True)
    assert type(error) is errors.TritonStarting
    assert isinstance(error, errors.ProxyUnavailable)


@pytest.mark.parametrize("status", [*(name for name in pb.StatusCode.keys() if name != "OK"), "17"])  # noqa: SIM118
def test_every_ack_status_has_an_exception(status: str) -> None:
    error = error_of_ack(status, {"error": "why"}, "cid-1")
    named = {row.code: row.exception for row in ERROR_TABLE if row.source == "Ack"}
    assert type(error) is named.get(status, errors.AckError)
    assert str(error).startswith(f"why ({status}, correlation id cid-1).")


def test_every_row_says_what_to_do() -> None:
    for row in ERROR_TABLE:
        assert row.exception.advice
        assert row.exception.__doc__


def test_an_ack_without_a_reason_has_a_text() -> None:
    assert "no reason given" in str(error_of_ack("INTERNAL", {}, ""))


def test_the_readme_has_the_table() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in readme.splitlines() if line.startswith(("| gRPC |", "| Ack |"))]
    assert rows == [[row.source, row.code, row.exception.__name__] for row in ERROR_TABLE]
