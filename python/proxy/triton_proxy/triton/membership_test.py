"""Tritons that come, go, and are not ready: which get nothing new, and which are drained."""

from __future__ import annotations

import re

import grpc
import pytest

from proxy_testing.several_tritons import ANY, STUCK, URL, Make, failed
from proxy_testing.triton import triton_stand_in
from service_testing.waiting import TIMEOUT, until
from triton_proxy.inference.query import QueryMethod

pytest_plugins = ["proxy_testing.tritons_fixtures"]


@pytest.mark.usefixtures("size")
def test_one_that_is_gone_gets_nothing_and_is_back_when_it_is_ready(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tritons = make()
    tritons.all_ready()
    gone = tritons.stand_ins[0]
    port = int(gone.url.rpartition(":")[2])
    gone.server.stop(None).wait()
    until(lambda: tritons.statistics(gone).ejected)
    until(lambda: re.search(rf"Triton at {gone.url} is (gone|not ready): it gets nothing new", caplog.text))
    tritons.infer(6)
    assert set(tritons.heard.values()) == {3}
    with triton_stand_in(port=port) as again:
        tritons.count(again)
        until(lambda: not tritons.statistics(gone).ejected)
        tritons.heard.clear()
        tritons.infer(9)
        assert tritons.heard[again.url] == 3


def test_one_that_is_not_ready_gets_nothing(make: Make) -> None:
    tritons = make()
    tritons.all_ready()
    unready = tritons.stand_ins[1]
    unready.ready = False
    until(lambda: tritons.statistics(unready).ejected)
    tritons.infer(6)
    assert tritons.heard[unready.url] == 0
    assert tritons.connection.ready(timeout_secs=TIMEOUT)
    unready.ready = True
    until(lambda: not tritons.statistics(unready).ejected)
    tritons.infer(6)
    assert tritons.heard[unready.url] == 2


def test_where_none_is_ready_none_is_ejected(make: Make) -> None:
    tritons = make(2)
    for stand_in in tritons.stand_ins:
        stand_in.ready = False
    until(lambda: all(each.ready is False for each in tritons.connection.statistics().tritons))
    assert not any(each.ejected for each in tritons.connection.statistics().tritons)
    assert not tritons.connection.ready(timeout_secs=TIMEOUT)
    tritons.infer(4)
    assert set(tritons.heard.values()) == {2}


def test_a_triton_that_comes_is_used_once_it_is_ready(make: Make) -> None:
    tritons = make(3)
    late = tritons.stand_ins[2]
    late.ready = False
    tritons.urls = [stand_in.url for stand_in in tritons.stand_ins[:2]]
    until(lambda: len(tritons.addresses()) == 2)
    tritons.urls = [stand_in.url for stand_in in tritons.stand_ins]
    until(lambda: len(tritons.addresses()) == 3)
    until(lambda: tritons.statistics(late).ejected)
    tritons.infer(4)
    assert tritons.heard[late.url] == 0
    late.ready = True
    tritons.all_ready()
    tritons.infer(3)
    assert tritons.heard[late.url] == 1


@pytest.mark.usefixtures("size")
def test_one_that_leaves_is_drained_first(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tritons = make(2)
    tritons.all_ready()
    calls = [tritons.connection.infer([STUCK], timeout_secs=TIMEOUT) for _ in range(2)]
    leaving, other = tritons.stand_ins
    until(lambda: tritons.heard == {leaving.url: 1, other.url: 1})
    tritons.urls = [other.url]
    until(lambda: tritons.statistics(leaving).leaving)
    tritons.infer(3)
    assert tritons.heard == {leaving.url: 1, other.url: 4}
    assert f"Triton at {leaving.url} is no more among the addresses of {URL}" in caplog.text
    assert f"Triton at {leaving.url} has left" not in caplog.text
    for stand_in in tritons.stand_ins:
        stand_in.finish.set()
    for call in calls:
        assert call.result() is not None
    until(lambda: tritons.addresses() == [other.url])
    until(lambda: f"Triton at {leaving.url} has left" in caplog.text)


def test_a_resolver_that_cannot_say_changes_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    tritons = make(2)
    tritons.urls = OSError(11, "try again")
    until(lambda: f"Triton: {URL} can't be resolved: try again" in caplog.text)
    assert len(tritons.addresses()) == 2
    tritons.infer(2)


def test_a_name_without_an_address_says_so(make: Make) -> None:
    tritons = make(1)
    tritons.urls = []
    until(lambda: tritons.addresses() == [])
    expected = grpc.StatusCode.UNAVAILABLE, f"failed to connect to Triton: {URL} has no address"
    assert failed(tritons.infer) == expected
    assert failed(lambda: list(tritons.connection.infer_stream(ANY, timeout_secs=TIMEOUT))) == expected
    assert failed(lambda: tritons.connection.describe("m", "", timeout_secs=TIMEOUT)) == expected
    assert failed(tritons.connection.ask(QueryMethod.SERVER_READY, b"", timeout_secs=TIMEOUT).result) == expected
    assert not tritons.connection.ready(timeout_secs=TIMEOUT)
    tritons.urls = [tritons.stand_ins[0].url]
    until(lambda: tritons.addresses() == tritons.urls)
    tritons.infer()
