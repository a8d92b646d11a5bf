from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from devstack.object_store import ObjectStore
from mm_publisher.errors import Unavailable
from mm_publisher.storage import s3 as module
from mm_publisher.storage.s3 import S3
from publisher_testing.faults import Fail, Fault, FaultyStore, Late, LoseAnswer, wait_until


class _Faults:
    """Which fault the next PUT of a path meets."""

    def __init__(self) -> None:
        self.put: dict[str, list[Fault]] = {}

    def choose(self, method: str, path: str) -> Fault | None:
        waiting = self.put.get(path.partition("?")[0].rpartition("/")[2], []) if method == "PUT" else []
        return waiting.pop(0) if waiting else None


@pytest.fixture
def faults() -> _Faults:
    return _Faults()


@pytest.fixture
def faulty(aws: ObjectStore, faults: _Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The real store behind a proxy that does as `faults` says, with a client that soon gives up."""
    port = urlsplit(aws.url).port
    assert port is not None
    monkeypatch.setattr(module, "_CONFIG", module._CONFIG.merge(Config(read_timeout=1)))
    with FaultyStore(port, faults.choose) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        yield S3("models", f"faulty/{id(faults)}", "adder")


def test_a_store_that_fails_for_a_moment_is_asked_again(faulty: S3, faults: _Faults) -> None:
    faults.put["c"] = [Fail(), Fail()]
    assert faulty.swap("c", b"1", was=None)
    assert faulty.read("c") == b"1"


def test_a_store_that_stays_broken_is_reported(faulty: S3, faults: _Faults) -> None:
    faults.put["c"] = [Fail()] * 9
    with pytest.raises(Unavailable, match=r"could not write c in s3://models/faulty/\d+: .*InternalError"):
        faulty.swap("c", b"1", was=None)
    faults.put["c"] = []
    assert faulty.read("c") is None


def test_a_lost_answer_is_no_lost_race(faulty: S3, faults: _Faults) -> None:
    faults.put["c"] = [LoseAnswer()]
    assert faulty.swap("c", b"1", was=None)
    faults.put["c"] = [LoseAnswer()]
    assert faulty.swap("c", b"2", was=b"1")


def test_a_late_write_does_not_replace_what_came_since(faulty: S3, faults: _Faults) -> None:
    faulty.write("c", b"old")
    late = Late(threading.Event())
    faults.put["c"] = [late, *[Fail()] * 9]
    with pytest.raises(Unavailable):
        faulty.swap("c", b"new", was=b"old")
    faults.put["c"] = []
    assert faulty.swap("c", b"old again", was=b"old")
    late.go.set()
    wait_until(lambda: late.done)
    assert faulty.read("c") == b"old again"


def test_large_files_go_in_parts(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = 5 << 20
    monkeypatch.setattr(module, "_PART_BYTES", part)
    source = tmp_path / "weights"
    source.write_bytes(os.urandom(2 * part + 1))
    sizes: list[int] = []
    assert s3.create("m/1/weights", source, sizes.append, lambda: None)
    assert sum(sizes) == source.stat().st_size
    assert b"".join(s3.chunks("m/1/weights")) == source.read_bytes()


def test_placeholders_for_folders_are_not_files(s3: S3) -> None:
    prefix = s3.url.removeprefix("s3://models/")
    boto3.client("s3").put_object(Bucket="models", Key=f"{prefix}/m/1/")
    s3.write("m/config.pbtxt", b"x")
    assert [item.path for item in s3.list("")] == ["m/config.pbtxt"]


def test_the_bucket_itself_can_be_the_root(aws: ObjectStore) -> None:
    aws.make_bucket("bare")
    bare = S3("bare", "", "adder")
    bare.write("m/config.pbtxt", b"x")
    assert bare.url == "s3://bare"
    assert [item.path for item in bare.list("")] == ["m/config.pbtxt"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("AWS_SECRET_ACCESS_KEY", "s3cret-wrong", "check AWS_SECRET_ACCESS_KEY"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9", "check the network, AWS_REGION and AWS_ENDPOINT_URL_S3"),
    ],
    ids=["credentials", "address"],
)
@pytest.mark.usefixtures("aws")
def test_wrong_credentials_and_addresses_have_texts_of_their_own(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable) as caught:
        S3("models", "x", "adder").list("")
    assert expected in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.usefixtures("aws")
def test_missing_credentials_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Unavailable, match="no AWS credentials; expected AWS_ACCESS_KEY_ID, AWS_PROFILE, or a role"):
        S3("models", "x", "adder").list("")


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_is_not_there_is_reported() -> None:
    with pytest.raises(Unavailable, match="there is no such bucket; check the target's spelling"):
        S3("nobodys", "x", "adder").list("")
