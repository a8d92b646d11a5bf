"""The cache under a clock that the test turns, with a Triton that answers when and what the test says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from mm_service.bounded_cache import BoundedCacheStatistics
from proxy_testing.describing import cached
from proxy_testing.triton import SLOW_TO_DESCRIBE, UNKNOWN, triton_stand_in
from service_testing.waiting import until
from triton_proxy.models import model_cache
from triton_proxy.models.model_cache import Entry, Models
from triton_proxy.triton.client import Triton
from triton_proxy.triton.connection import TritonConnection
from triton_proxy.triton.description import NotDescribed

TIMEOUT = 30
AWAY, GONE = (NotDescribed("a test says so", gone=gone) for gone in (False, True))


def get(models: Models, model: str = "m", version: str = "1") -> Entry | None:
    return models.get(model, version, timeout_secs=TIMEOUT)


def known(models: Models, model: str = "m") -> Entry:
    entry = get(models, model)
    assert entry is not None
    return entry


def test_a_model_is_asked_for_once_and_then_known() -> None:
    with cached() as (models, asked):
        entry = known(models)
        assert (entry.model, entry.model_version, entry.signature.outputs) == ("m", "1", ("y0",))
        asked.now += 9
        assert get(models) is entry
        assert get(models, version="") is not entry
        assert asked.keys == [("m", "1"), ("m", "")]


def test_a_version_is_described_in_tritons_spelling_only_and_nobody_is_asked() -> None:
    with cached() as (models, asked):
        assert not models.describes("m", "1")
        assert asked.keys == []
        for version in ("1", "", "01"):
            get(models, version=version)
        described = {version: models.describes("m", version) for version in ("1", "", "01", "2")}
        assert described == {"1": True, "": True, "01": False, "2": False}


def test_what_is_known_is_recalled_and_what_is_not_is_not_asked_for() -> None:
    with cached() as (models, asked):
        assert models.recall("m", "1") is None
        assert asked.keys == []
        entry = known(models)
        asked.may_answer.clear()
        for later in (0, 9, 2):
            asked.now += later
            assert models.recall("m", "1") is entry
        # It is old by now: it is asked for anew, and nobody waits for that.
        until(lambda: len(asked.keys) == 2)
        asked.reloads += 1
        asked.may_answer.set()
        until(lambda: models.recall("m", "1") is not entry)


def test_many_who_ask_at_once_are_one_question() -> None:
    with cached() as (models, asked), ThreadPoolExecutor(16) as callers:
        asked.may_answer.clear()
        answers = [callers.submit(get, models) for _ in range(16)]
        until(lambda: len(asked.keys) == 1)
        asked.may_answer.set()
        assert len({id(answer.result(TIMEOUT)) for answer in answers}) == 1
        assert len(asked.keys) == 1


def test_after_a_while_it_is_asked_again_and_nobody_waits() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.reloads += 1
        asked.now += 11
        asked.may_answer.clear()
        for _ in range(3):
            assert get(models) is before
        asked.may_answer.set()
        until(lambda: get(models) is not before)
        assert known(models).signature.outputs == ("y1",)
        assert len(asked.keys) == 2


def test_a_triton_that_is_away_does_not_make_a_model_unknown() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.fails = AWAY
        for times in range(3):
            asked.now += 11
            assert get(models) is before
            until(lambda: not models.statistics().asking)
            asked.may_answer.clear()
            assert get(models) is before
            assert not models.statistics().asking
            asked.may_answer.set()
            assert len(asked.keys) == 2 + times
        asked.fails = None
        asked.now += 1.1
        until(lambda: get(models) is not before)


def test_a_model_that_is_gone_is_forgotten() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.fails = GONE
        asked.now += 11
        assert get(models) is before
        until(lambda: get(models) is None)


@pytest.mark.parametrize("fails", [GONE, AWAY, OSError()])
def test_no_answer_is_remembered_for_a_second(fails: Exception) -> None:
    with cached() as (models, asked):
        asked.fails = fails
        assert [get(models) for _ in range(3)] == [None] * 3
        assert len(asked.keys) == 1
        asked.fails = None
        asked.now += 1.1
        assert known(models).signature.outputs == ("y0",)


def test_a_mistake_in_the_cache_is_logged_and_nobody_waits_for_it(caplog: pytest.LogCaptureFixture) -> None:
    with cached() as (models, asked):
        asked.fails = OSError("no such luck")
        assert get(models) is None
        assert "asking Triton for a model failed" in caplog.text
        assert "no such luck" in caplog.text


def test_nobody_waits_longer_than_the_packet_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_ASK_SECS", TIMEOUT)
    with cached() as (models, asked):
        asked.may_answer.clear()
        assert models.get("m", "1", timeout_secs=0.01) is None
        assert models.get("m", "1", timeout_secs=-1) is None
        assert models.statistics().asking == 1
        asked.now += 0.5
        asked.may_answer.set()
        until(lambda: models.get("m", "1", timeout_secs=0) is not None)
        # Since then it may have been loaded anew.
        assert known(models).asked_at == asked.now - 0.5
        assert len(asked.keys) == 1


def test_nobody_waits_longer_than_the_caches_own_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_cache, "_ASK_SECS", 0.01)
    with cached() as (models, asked):
        asked.may_answer.clear()
        assert get(models) is None
        assert models.statistics().asking == 1


def test_before_a_refusal_what_is_older_than_a_second_is_asked_anew() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.reloads += 1
        assert models.confirm(before, timeout_secs=TIMEOUT) is before
        asked.now += 1.1
        after = models.confirm(before, timeout_secs=TIMEOUT)
        assert after is not None
        assert after.signature.outputs == ("y1",)
        # Who still holds the old one gets the new one without another question.
        assert models.confirm(before, timeout_secs=TIMEOUT) is after
        assert get(models) is after
        assert len(asked.keys) == 2


def test_nothing_is_confirmed_by_what_was_asked_before() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.now += 11
        asked.may_answer.clear()
        assert get(models) is before
        until(lambda: len(asked.keys) == 2)
        asked.reloads += 1
        asked.now += 1.1
        with ThreadPoolExecutor(1) as caller:
            confirmed = caller.submit(models.confirm, before, timeout_secs=TIMEOUT)
            until(lambda: len(asked.keys) == 3)
            asked.may_answer.set()
            after = confirmed.result(TIMEOUT)
        assert after is not None
        assert after.signature.outputs == ("y1",)
        assert get(models) is after


def test_nothing_is_confirmed_by_a_triton_that_is_away() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.fails = AWAY
        asked.now += 1.1
        assert [models.confirm(before, timeout_secs=TIMEOUT) for _ in range(3)] == [None] * 3
        assert len(asked.keys) == 2


def test_a_contradicted_entry_is_asked_for_anew() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.reloads += 1
        asked.now += 1.1
        models.drop(before)
        after = known(models)
        assert after.signature.outputs == ("y1",)
        asked.now += 1.1
        # An inference that began before, and ends now, says nothing of the newer one.
        models.drop(before)
        assert get(models) is after
        assert len(asked.keys) == 2


def test_contradictions_without_end_are_a_question_a_second() -> None:
    with cached() as (models, asked):
        for _ in range(50):
            models.drop(known(models))
            asked.now += 0.1
        assert 4 <= len(asked.keys) <= 6


def test_what_was_asked_before_a_contradiction_is_not_kept() -> None:
    with cached() as (models, asked):
        before = known(models)
        asked.now += 11
        first = asked.may_answer
        first.clear()
        assert get(models) is before
        until(lambda: len(asked.keys) == 2)
        asked.reloads += 1
        models.drop(before)
        asked.may_answer = threading.Event()
        asked.may_answer.set()
        after = known(models)
        assert after.signature.outputs == ("y1",)
        first.set()
        until(lambda: models.statistics().settled == 3)
        assert get(models) is after


def test_names_that_callers_make_up_take_little_memory_and_push_no_model_out() -> None:
    with cached() as (models, asked):
        entry = known(models)
        asked.fails = GONE
        for index in range(1500):
            assert get(models, f"made up {index}") is None
        assert models.statistics().unanswered == BoundedCacheStatistics(entries=1024, most=1024, evicted=476)
        assert get(models) is entry
        asked.fails = None
        for index in range(1500):
            known(models, f"alias {index}")
            assert get(models) is entry
        assert models.statistics().known == BoundedCacheStatistics(entries=1024, most=1024, evicted=477)
        assert models.statistics().asking == 0


@pytest.mark.parametrize(("model", "version"), [("m" * 256, "1"), ("m", "0" * 20 + "1")])
def test_what_no_folder_can_be_named_is_not_asked_for(model: str, version: str) -> None:
    with cached() as (models, asked):
        assert get(models, model, version) is None
        assert not asked.keys


def test_a_question_that_stood_behind_others_for_too_long_is_not_asked() -> None:
    with cached() as (models, asked):
        asked.may_answer.clear()
        for index in range(5):
            assert models.get(f"m{index}", "1", timeout_secs=0) is None
        until(lambda: len(asked.keys) == 4)
        asked.now += 2.1
        asked.may_answer.set()
        until(lambda: not models.statistics().asking)
        assert ("m4", "1") not in asked.keys


@given(st.lists(st.sampled_from(["get", "confirm", "drop", "reload", "wait", "away"]), max_size=40), st.data())
def test_what_a_refusal_rests_on_is_never_older_than_a_second(steps: list[str], data: st.DataObject) -> None:
    with cached() as (models, asked):
        loaded_at = asked.now
        entry: Entry | None = None
        for step in steps:
            if step == "get":
                entry = get(models)
            elif step == "reload":
                asked.reloads += 1
                loaded_at = asked.now
            elif step == "wait":
                asked.now += data.draw(st.floats(0, 12))
            elif step == "away":
                asked.fails = None if asked.fails else AWAY
            elif entry is not None and step == "drop":
                models.drop(entry)
            elif entry is not None:
                confirmed = models.confirm(entry, timeout_secs=TIMEOUT)
                assert confirmed is None or asked.now - confirmed.asked_at <= 1
                if confirmed is not None and asked.now - loaded_at > 1:
                    assert confirmed.signature.outputs == (f"y{asked.reloads}",)


def test_a_real_connection_describes_what_the_cache_asks_for() -> None:
    with triton_stand_in() as stand_in:
        stand_in.metadata = service_pb2.ModelMetadataResponse(name="m", versions=["1", "2"])
        triton = Triton(TritonConnection(stand_in.url, max_message_bytes=1000))
        models = Models(triton.describe)
        try:
            assert known(models).signature.versions == ("1", "2")
            assert get(models, UNKNOWN) is None
            assert models.get(SLOW_TO_DESCRIBE, "1", timeout_secs=0.1) is None
            assert get(models) is known(models)
            assert stand_in.described.count(("m", "1")) == 2  # Its metadata and its configuration.
        finally:
            models.close()
            triton.close()
