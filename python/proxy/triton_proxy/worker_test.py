"""What each of several processes gets of the settings, and which settings can't be shared out."""

from __future__ import annotations

import pytest

from triton_proxy.settings import Settings, load
from triton_proxy.worker import share


def given(**settings: object) -> Settings:
    return load({"TRITON_URL": "triton:8001"} | {name: str(value) for name, value in settings.items()})


def test_one_process_has_all_of_it() -> None:
    assert share(given()) == given()


def test_calls_and_rates_are_shared_out_and_the_rest_is_each_workers() -> None:
    whole = {"WORKERS": 3, "MAX_CALLS": 100, "MAX_REQUESTS_PER_SEC_PER_PRINCIPAL": 30}
    assert share(given(**whole)) == given(**{**whole, "MAX_CALLS": 33, "MAX_REQUESTS_PER_SEC_PER_PRINCIPAL": 10})


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        (
            "GRPC_SERVER",
            "grpcio",
            "expected GRPC_SERVER=http2, since grpcio takes no socket from another process; set that, or WORKERS to 1",
        ),
        (
            "MAX_CALLS",
            "3",
            "expected a call for each worker at least; set MAX_CALLS to 4 or more, or fewer WORKERS",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused(setting: str, value: str, text: str) -> None:
    with pytest.raises(RuntimeError) as refused:
        share(given(WORKERS=4, **{setting: value}))
    assert str(refused.value) == f"WORKERS=4 with {setting}={value}: {text}"
