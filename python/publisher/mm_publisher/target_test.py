from __future__ import annotations

from pathlib import Path

import pytest

from mm_publisher.errors import UsageError
from mm_publisher.storage.folder import Folder
from mm_publisher.storage.s3 import S3
from mm_publisher.target import open_target


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("s3://models", "s3://models"),
        ("s3://models/", "s3://models"),
        ("s3://my.bucket-1/triton/ns/name/models/", "s3://my.bucket-1/triton/ns/name/models"),
    ],
)
def test_an_s3_target_is_a_bucket_and_a_prefix(target: str, url: str) -> None:
    storage = open_target(target)
    assert isinstance(storage, S3)
    assert storage.url == url


@pytest.mark.parametrize(
    "target", ["s3://", "s3:///x", "s3://B/x", "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/x/.."]
)
def test_what_is_no_bucket_and_prefix_is_refused(target: str) -> None:
    with pytest.raises(UsageError, match="expected s3://BUCKET/PREFIX, such as"):
        open_target(target)


def test_a_path_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    storage = open_target("~")
    assert isinstance(storage, Folder)
    assert storage.url == str(tmp_path)


def test_another_scheme_is_refused() -> None:
    with pytest.raises(UsageError, match="expected s3://BUCKET/PREFIX or the path of a folder"):
        open_target("https://bucket/x")
