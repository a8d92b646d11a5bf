"""An object store that fails, cuts off, delays or loses writes never makes Triton serve what is not complete."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from devstack.object_store import ObjectStore
from mm_publisher import config_file, lease
from mm_publisher.api import publish
from mm_publisher.config import ModelConfig
from mm_publisher.errors import PublisherError
from mm_publisher.inspecting import verify
from mm_publisher.progress import Silent
from mm_publisher.state import Records
from mm_publisher.storage import s3
from mm_publisher.target import open_target
from publisher_testing.faults import Fail, Fault, FaultyStore, Late, LoseAnswer, Truncate, wait_until
from publisher_testing.models import CONFIG, NAME
from publisher_testing.reader import Reader, files, served

# What is met how often: with HYPOTHESIS_PROFILE=thorough all of it, which takes three minutes.
_BEGIN, _PART, _COMPLETE = "/graph.bin?uploads", "/graph.bin?partNumber", "/graph.bin?uploadId"
_PATHS = (_BEGIN, _PART, _COMPLETE, "/weights.bin", "/config.pbtxt", ".journal.", ".manifest.", ".lease.")
_MOST = [(_PART, 1), (_COMPLETE, 1), ("/config.pbtxt", 1), ("/config.pbtxt", 99), (".journal.", 1)]
_ALL = [(part, times) for part in _PATHS for times in (1, 99)]
_CASES = _ALL if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else _MOST


class _Store:
    """The real store behind a proxy; `meets` says what fault a write meets."""

    def __init__(self, root: Path, target: str, client: Any) -> None:
        self.root = root
        self.target = target
        self.client = client
        self.part = ""
        self.fault: Fault | None = None
        self.times = 0

    def meets(self, part: str, fault: Fault, times: int) -> None:
        self.part, self.fault, self.times = part, fault, times

    def choose(self, method: str, path: str) -> Fault | None:
        if method not in ("PUT", "POST") or self.part not in path or not self.times:
            return None
        self.times -= 1
        return self.fault

    def publish(self, source: Path, version: int) -> None:
        publish(str(source), self.target, server=Reader(self.root), name=NAME, version=version, progress=Silent(),
                lease_secs=1, lease_wait_secs=20)  # fmt: skip


@pytest.fixture
def store(
    aws: ObjectStore, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[_Store]:
    bucket = f"b{abs(hash(request.node.name)):x}"
    root = aws.make_bucket(bucket) / "triton/models"
    store = _Store(root, f"s3://{bucket}/triton/models", boto3.client("s3"))
    port = urlsplit(aws.url).port
    assert port is not None
    quick = Config(read_timeout=1, retries={"mode": "standard", "total_max_attempts": 2})
    monkeypatch.setattr(s3, "_CONFIG", s3._CONFIG.merge(quick))
    monkeypatch.setattr(lease, "DEFAULT_SECS", 1.0)
    monkeypatch.setattr(config_file, "_READ_AGAIN_SECS", (0.0, 0.1))
    with FaultyStore(port, store.choose) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield store


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name in ("1", "2", "3"):
        (folder / name).mkdir()
        (folder / name / "config.pbtxt").write_text(CONFIG.replace("onnxruntime", "ours"))
        for part in ("graph.bin", "weights.bin"):
            (folder / name / part).write_text(f"{part} of {name}")
    return folder


def _serves(store: _Store, sources: Path) -> list[int]:
    """The versions that serve, all of which are complete."""
    found = served(store.root, NAME)
    for version, there in found.items():
        assert there == {path: data for path, data in files(sources / str(version)).items() if path != "config.pbtxt"}
    return sorted(found)


@pytest.mark.parametrize(("part", "times"), _CASES)
@pytest.mark.parametrize(
    "make",
    [lambda _: Fail(), lambda _: LoseAnswer(), Truncate, lambda _: Late(threading.Event())],
    ids=["fails", "loses the answer", "truncates", "delays"],
)
def test_no_fault_makes_half_a_model_serve(
    store: _Store, sources: Path, make: Callable[[Any], Fault], part: str, times: int
) -> None:
    store.publish(sources / "1", 1)
    fault = make(store.client)
    store.meets(part, fault, times)
    try:
        store.publish(sources / "2", 2)
    except PublisherError:
        _no_switch(store, sources, part)
    else:
        assert _serves(store, sources) == [1, 2]
    finally:
        store.times = 0
    if isinstance(fault, Late):
        before = _serves(store, sources)
        fault.go.set()
        wait_until(lambda: bool(fault.done))
        # Carried out after all, it changes nothing of what serves. Where all writes of config.pbtxt were late, it may,
        # and what serves then is still complete.
        assert _serves(store, sources) == before or (part, times) == ("/config.pbtxt", 99)
    store.publish(sources / "3", 3)
    assert _serves(store, sources)[-1] == 3
    # What a store carried out when its writer had given up and cleaned up lies where nothing serves it.
    left = verify(store.target, progress=Silent())
    assert left == [] or (isinstance(fault, Late) and all(text.startswith(f"{NAME}/2") for text in left))
    assert Records(open_target(store.target)).journal(NAME).pending is None


def _no_switch(store: _Store, sources: Path, part: str) -> None:
    text = (store.root / NAME / "config.pbtxt").read_text()
    if "backend" not in text:
        # Cut off, and so was what was to put the old one back: Triton keeps what it has. See publish_test.
        assert part == "/config.pbtxt"
        return
    if part == "/config.pbtxt" and ModelConfig.parse(text).pinned == (1, 2):
        # Written, and what became of it is not known: it is complete, and the next one finishes it.
        assert _serves(store, sources) == [1, 2]
    else:
        assert _serves(store, sources) == [1]
