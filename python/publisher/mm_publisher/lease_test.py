from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from devstack.object_store import ObjectStore
from mm_publisher.errors import Busy, Unavailable
from mm_publisher.lease import Lease
from mm_publisher.storage import Storage
from mm_publisher.storage.folder import Folder
from mm_publisher.storage.s3 import S3
from publisher_testing.faults import Fault, FaultyStore, Handler


def _lease(storage: Storage, *, model: str = "m", secs: float = 2.0, wait_secs: float = 0.0) -> Lease:
    return Lease(storage, model, secs=secs, wait_secs=wait_secs, say=lambda _: None)


def _numbers(storage: Storage) -> list[str]:
    return [item.path for item in storage.list(".mm-publish.lease.")]


def test_one_holds_it_and_the_other_is_reported_who(storage: Storage) -> None:
    with _lease(storage), pytest.raises(Busy, match=r"m is being published by \S+@\S+, process \d+, .* nothing was"):
        _lease(storage).__enter__()
    with _lease(storage) as third:
        third.check()


def test_models_do_not_wait_for_each_other(storage: Storage) -> None:
    with _lease(storage, model="m"), _lease(storage, model="m.2"), _lease(storage, model="2.m"):
        pass


def test_the_next_waits_and_gets_it(folder: Folder) -> None:
    said: list[str] = []
    second = Lease(folder, "m", secs=2, wait_secs=10, say=said.append)
    entered = threading.Event()

    def wait() -> None:
        with second:
            entered.set()

    with _lease(folder):
        thread = threading.Thread(target=wait)
        thread.start()
        deadline = time.monotonic() + 10
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not entered.is_set()
    assert entered.wait(10)
    thread.join()
    assert "publishes m" in said[0]


def test_it_is_renewed_as_long_as_it_is_held(folder: Folder) -> None:
    with _lease(folder, secs=0.6) as held:
        deadline = time.monotonic() + 1.5
        while time.monotonic() < deadline:
            with pytest.raises(Busy):
                _lease(folder, secs=0.6).__enter__()
        held.check()


def test_a_dead_ones_is_taken_over(storage: Storage) -> None:
    dead = {"owner": "somebody", "token": "t", "secs": 1.0, "released": False}
    storage.write(".mm-publish.lease.00000041.m.json", json.dumps(dead).encode())
    with _lease(storage, wait_secs=20) as held:
        held.check()
        assert _numbers(storage) == [".mm-publish.lease.00000042.m.json"]
    assert json.loads(storage.read(".mm-publish.lease.00000042.m.json") or b"")["released"] is True


def test_who_slept_too_long_is_stopped_and_stays_stopped(folder: Folder) -> None:
    sleeper = _lease(folder, secs=60)
    with sleeper:
        path = f"{folder.url}/.mm-publish.lease.00000001.m.json"
        content = json.loads(Path(path).read_text())
        # As if it had not been renewed for a minute.
        Path(path).write_text(json.dumps({**content, "secs": -1.0}))
        with _lease(folder) as successor:
            with pytest.raises(Busy, match="has taken m over"):
                sleeper.check()
            successor.check()
        with pytest.raises(Busy):
            sleeper.check()
    # Its end does not disturb the successor's.
    assert _numbers(folder) == [".mm-publish.lease.00000002.m.json"]


def test_half_a_lease_counts_as_held(folder: Folder) -> None:
    folder.write(".mm-publish.lease.00000001.m.json", b'{"owner": "so')
    with pytest.raises(Busy, match="published by somebody"):
        _lease(folder).__enter__()


def test_of_many_at_once_one_holds_it_at_a_time(folder: Folder) -> None:
    holders: list[int] = []
    most = []

    def publish(number: int) -> None:
        with _lease(folder, wait_secs=30):
            holders.append(number)
            most.append(len(holders))
            time.sleep(0.01)
            holders.remove(number)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5


class _IgnoresConditions(Fault):
    def apply(self, handler: Handler, body: bytes) -> None:
        # Conditions are no part of the signature of this client's requests if they are taken out before it is checked,
        # so the refusal is turned into consent.
        status, headers, answer = handler.forward(body)
        handler.answer(200 if status == 412 else status, headers, b"" if status == 412 else answer)


@pytest.fixture
def careless(aws: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """A store that takes every write."""
    port = urlsplit(aws.url).port
    assert port is not None
    with FaultyStore(port, lambda method, _: _IgnoresConditions() if method == "PUT" else None) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
        yield S3("models", "careless", "m")


def test_a_store_without_conditional_writes_is_refused(careless: S3) -> None:
    with pytest.raises(Unavailable, match=r"overwrites what it was asked to create only \(If-None-Match\)"):
        _lease(careless).__enter__()


def test_who_slept_while_taking_it_waits_like_everybody(folder: Folder) -> None:
    class _Sleeps(Folder):
        slept = False

        def swap(self, path: str, data: bytes, *, was: bytes | None, newer_than_ns: int = 0) -> bool:
            done = super().swap(path, data, was=was, newer_than_ns=newer_than_ns)
            if done and not self.slept:
                self.slept = True
                # Meanwhile its lease ran out, and the next one has taken it over.
                self.delete(path)
                self.write(path.replace("00000001", "00000002"), b'{"owner": "another", "secs": 60.0}')
            return done

    with pytest.raises(Busy, match="m is being published by another"):
        _lease(_Sleeps(Path(folder.url), "m")).__enter__()
