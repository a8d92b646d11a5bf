"""Three real Tritons behind one name, and the proxy in front: which do the work, and what a lost one costs."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from multimodal_contract import pb
from service_testing.waiting import until
from serving import TIMEOUT, Proxy, add, error_of, number_in, open_stream, packet, proxy, several

URL = "tritons.test:8001"
MODEL = models.identity_name("FP32")
# Of 4 bytes each, and so large that they have connections of their own.
SMALL, LARGE = bytes(4), bytes(512 * 1024)
CALLERS = 8


@pytest.fixture(scope="module")
def tritons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Triton]]:
    folder = tmp_path_factory.mktemp("tritons")
    models.write_repository(folder / "models", [MODEL, models.SLOW, models.SEQUENCE])
    made = [Triton(folder / "models", triton_wheels(), log=folder / f"{number}.log") for number in range(3)]
    with ThreadPoolExecutor() as pool:
        try:
            list(pool.map(Triton.start, made))
            for triton in made:
                triton.wait_ready()
            yield made
        finally:
            list(pool.map(Triton.stop, made))


@pytest.fixture
def serving(tritons: list[Triton], domino: DominoStandIn) -> Iterator[Proxy]:
    urls = [triton.grpc_url for triton in tritons]
    with proxy(URL, domino.url, lambda _: urls) as served:
        until(lambda: all(each.ready for each in served.server.statistics().triton.tritons))
        yield served


def ask(serving: Proxy, data: bytes) -> pb.Ack:
    return serving.ask(packet(MODEL, data))


def ask_slow(serving: Proxy, data: bytes) -> pb.Ack:
    """Takes longer than any machine that is busy with something else holds one Triton up."""
    inputs = {"INPUT0": ("FP32", [len(data) // 4], data), "DELAY": ("FP32", [1], struct.pack("<f", 0.03))}
    return serving.ask(several(models.SLOW, inputs))


class Traffic:
    """Callers that ask again and again; they begin with the block and end with it.

    Attributes:
        answered: how many packets have their answer.
        lost: the errors of the others.
    """

    def __init__(self, serving: Proxy) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._serving = serving
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._callers = [threading.Thread(target=self._ask, args=(number,)) for number in range(CALLERS)]

    def _ask(self, number: int) -> None:
        while not self._over.is_set():
            ack = ask(self._serving, LARGE if number == 0 else SMALL)
            with self._lock:
                if ack.status == pb.OK:
                    self.answered += 1
                else:
                    self.lost.append(error_of(ack))

    def more(self, count: int = 100) -> None:
        """Waits until so many more have their answer."""
        wanted = self.answered + count
        until(lambda: self.answered >= wanted)

    def __enter__(self) -> Traffic:
        for caller in self._callers:
            caller.start()
        self.more()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for caller in self._callers:
            caller.join(TIMEOUT)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_each_does_its_third(serving: Proxy, tritons: list[Triton], data: bytes) -> None:
    before = [triton.request_count(models.SLOW) for triton in tritons]
    with ThreadPoolExecutor(CALLERS) as callers:
        assert {ack.status for ack in callers.map(lambda _: ask_slow(serving, data), range(120))} == {pb.OK}

    def done() -> list[int]:
        return [triton.request_count(models.SLOW) - since for triton, since in zip(tritons, before, strict=True)]

    until(lambda: sum(done()) == 120)
    assert all(30 <= each <= 49 for each in done()), done()  # 33 % ± 8 of them


def test_kill_9_costs_what_it_had_begun_and_it_is_back_in_time(serving: Proxy, tritons: list[Triton]) -> None:
    killed, *_ = tritons

    def ejected() -> bool:
        tritons_now = serving.server.statistics().triton.tritons
        return next(each.ejected for each in tritons_now if each.address == killed.grpc_url)

    with Traffic(serving) as traffic:
        killed.kill()
        until(ejected, within=2)
        lost = len(traffic.lost)
        traffic.more(300)
        # From then on nothing is lost: nothing more goes there.
        assert len(traffic.lost) == lost
        # What it had begun: no more than there were callers, each with its address.
        assert lost <= CALLERS
        for text in traffic.lost:
            assert killed.grpc_url in text, text
        killed.restart()
        killed.wait_ready()
        until(lambda: not ejected(), within=5)
        before = killed.request_count(MODEL)
        traffic.more(300)
        until(lambda: killed.request_count(MODEL) > before)
    assert len(traffic.lost) == lost


def test_a_sequence_stays_and_hears_when_its_triton_is_gone(serving: Proxy, tritons: list[Triton]) -> None:
    streams = [open_stream(serving) for _ in range(6)]
    before = [triton.request_count(models.SEQUENCE) for triton in tritons]
    for number, stream in enumerate(streams):
        assert number_in(stream.ask(add(number, pb.SEV_START))) == number
    for number, stream in enumerate(streams):
        assert number_in(stream.ask(add(1))) == number + 1
    until(lambda: [triton.request_count(models.SEQUENCE) for triton in tritons] == [since + 4 for since in before])
    killed = tritons[2]
    killed.kill()
    until(lambda: any(each.ejected for each in serving.server.statistics().triton.tritons))
    gone = (
        f"the sequence's Triton at {killed.grpc_url} is gone, and the sequence's state with it: begin the sequence anew"
    )
    sums: list[int] = []
    for number, stream in enumerate(streams):
        ack = stream.ask(add(1))
        if ack.status == pb.OK:
            sums.append(number_in(ack) - number)
            continue
        assert (ack.status, json.loads(ack.message)["backend"], error_of(ack)) == (pb.INTERNAL, "triton", gone)
        assert number_in(stream.ask(add(number, pb.SEV_START))) == number
        assert number_in(stream.ask(add(5))) == number + 5
    assert sums == [2] * 4
    for stream in streams:
        stream.end()
    killed.restart()
