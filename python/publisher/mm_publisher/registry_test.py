"""What can be seen without a registry; with a real one: tests/integration/publish_registry_test.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from mm_publisher.errors import Unavailable, UsageError
from mm_publisher.registry import fetch


@pytest.mark.parametrize(
    "uri",
    [
        "models:/",
        "models:/churn",
        "models:/churn/Production",
        "models:/churn/3/x",
        "models:/churn@a@b",
        "models:/a/b/3",
    ],
)
def test_what_names_no_version_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected models:/NAME/VERSION or models:/NAME@ALIAS, such as"):
        fetch(uri, tmp_path)


def test_a_registry_must_be_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected MLFLOW_TRACKING_URI, which Domino sets in workspaces and jobs"):
        fetch("models:/churn/3", tmp_path)


def test_one_that_does_not_answer_is_reported_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unavailable, match=r"check MLFLOW_TRACKING_URI and the credentials for it") as caught:
        fetch("models:/churn/3", tmp_path)
    assert "s3cret" not in str(caught.value)
