"""Sequences stay where their state is, and hear of it when that is gone."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from proxy_testing.several_tritons import ANY, Make, failed
from proxy_testing.triton import triton_stand_in
from service_testing.waiting import TIMEOUT, until
from triton_proxy.triton.pins import Place

pytest_plugins = ["proxy_testing.tritons_fixtures"]


@pytest.mark.usefixtures("size")
def test_a_sequence_stays_where_its_state_is(make: Make) -> None:
    tritons = make()
    tritons.all_ready()
    places = [Place("m", number, start=step == 0, end=step == 4) for number in range(1, 7) for step in range(5)]
    asked: dict[int, set[str]] = {}
    for stand_in in tritons.stand_ins:

        def infer(request: Any, _: grpc.ServicerContext, url: str = stand_in.url) -> bytes:
            asked.setdefault(request.parameters["sequence_id"].int64_param, set()).add(url)
            return b""

        stand_in.infer = infer
    for step in range(5):
        for place in places[step::5]:
            request = service_pb2.ModelInferRequest(model_name="m")
            request.parameters["sequence_id"].int64_param = int(place.sequence_id)
            tritons.connection.infer([request.SerializeToString()], timeout_secs=TIMEOUT, place=place).result()
        assert tritons.connection.statistics().sequences == (6 if step < 4 else 0)
    assert [len(urls) for urls in asked.values()] == [1] * 6
    assert {url for urls in asked.values() for url in urls} == {stand_in.url for stand_in in tritons.stand_ins}


def test_a_sequence_goes_on_at_a_triton_that_leaves_or_is_not_ready(make: Make) -> None:
    tritons = make(2)
    tritons.all_ready()
    begin, go_on, end = (Place("m", 1, start=step == 0, end=step == 2) for step in range(3))
    tritons.infer(place=begin)
    (url,) = tritons.heard
    (there,) = [stand_in for stand_in in tritons.stand_ins if stand_in.url == url]
    there.ready = False
    until(lambda: tritons.statistics(there).ejected)
    tritons.infer(place=go_on)
    there.ready = True
    until(lambda: bool(tritons.statistics(there).ready))
    tritons.urls = [stand_in.url for stand_in in tritons.stand_ins if stand_in is not there]
    until(lambda: tritons.statistics(there).leaving)
    tritons.infer(place=end)
    assert tritons.heard == {url: 3}
    until(lambda: url not in tritons.addresses())


def test_a_sequence_hears_that_its_triton_is_gone_and_its_id_is_free_again(make: Make) -> None:
    tritons = make(2)
    tritons.all_ready()
    begin, go_on = Place("m", 1, start=True, end=False), Place("m", 1, start=False, end=False)
    tritons.infer(place=begin)
    (url,) = tritons.heard
    (there,) = [stand_in for stand_in in tritons.stand_ins if stand_in.url == url]
    there.server.stop(None).wait()
    until(lambda: failed(lambda: tritons.infer(place=go_on))[0] is grpc.StatusCode.ABORTED)
    text = f"the sequence's Triton at {url} is gone, and the sequence's state with it: begin the sequence anew"
    for _ in range(2):
        assert failed(lambda: tritons.infer(place=go_on)) == (grpc.StatusCode.ABORTED, text)
        stream = tritons.connection.infer_stream(ANY, timeout_secs=TIMEOUT, place=go_on)
        assert failed(lambda stream=stream: list(stream)) == (grpc.StatusCode.ABORTED, text)  # type: ignore[misc]
    tritons.heard.clear()
    tritons.infer(place=begin)
    tritons.infer(place=go_on)
    assert sum(tritons.heard.values()) == 2
    assert tritons.heard[url] == 0
    # What it knew is gone also where it is back at the same address.
    (other,) = [stand_in for stand_in in tritons.stand_ins if stand_in is not there]
    with triton_stand_in(port=int(url.rpartition(":")[2])):
        tritons.all_ready()
        other.server.stop(None).wait()
        until(lambda: failed(lambda: tritons.infer(place=go_on))[0] is grpc.StatusCode.ABORTED)
