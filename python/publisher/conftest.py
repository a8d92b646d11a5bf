from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.object_store import ObjectStore
from mm_publisher.storage import Storage
from mm_publisher.storage.folder import Folder
from mm_publisher.storage.s3 import S3

OWNER = "adder"


@pytest.fixture(autouse=True)
def _nothing_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MM_ADDR", "MM_TLS", "MM_CA_BUNDLE", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "AWS_PROFILE",
                 "DOMINO_USER_TOKEN", "DOMINO_API_PROXY", "DOMINO_USER_API_KEY", "Authorization"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with ObjectStore(tmp_path_factory.mktemp("s3")) as store:
        store.make_bucket("models")
        yield store


@pytest.fixture
def aws(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The real S3 server, found by boto3's usual chain."""
    for name, value in object_store.environment.items():
        monkeypatch.setenv(name, value)
    return object_store


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "models").mkdir()
    return Folder(tmp_path / "models", OWNER)


@pytest.fixture
def s3(aws: ObjectStore, request: pytest.FixtureRequest) -> S3:
    """A prefix of its own for each test."""
    return S3("models", f"triton/{request.node.name.replace('[', '-').replace(']', '')}/models", OWNER)


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    found: Storage = request.getfixturevalue(request.param)
    return found
