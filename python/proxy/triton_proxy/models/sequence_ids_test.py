from __future__ import annotations

import gc
import string
import threading

import pytest

from triton_proxy.models.sequence_ids import SequenceIds, new_key


class Holder:
    pass


@pytest.fixture
def ids() -> SequenceIds[Holder]:
    return SequenceIds()


@pytest.mark.parametrize(("datatype", "bits"), [("INT32", 31), ("UINT32", 32), ("INT64", 63), ("UINT64", 63)])
def test_a_number_has_all_the_bits_that_arrive_and_no_more(ids: SequenceIds[Holder], datatype: str, bits: int) -> None:
    holders = [Holder() for _ in range(2000)]
    drawn = [ids.draw(datatype, holder) for holder in holders]
    numbers = [one for one in drawn if isinstance(one, int)]
    assert len(set(numbers)) == len(numbers) == 2000
    assert min(numbers) > 0
    assert max(numbers).bit_length() == bits
    # Each bit is drawn, and each way.
    assert all(0 < sum(one >> bit & 1 for one in numbers) < 2000 for bit in range(bits))


def test_a_text_has_all_the_characters_that_triton_takes(ids: SequenceIds[Holder]) -> None:
    holders = [Holder() for _ in range(500)]
    drawn = {ids.draw("STRING", holder) for holder in holders}
    assert len(drawn) == 500
    assert all(isinstance(one, str) and len(one) == 128 and set(one) <= set(string.hexdigits) for one in drawn)


def test_no_live_sequence_has_the_id_of_another_and_none_has_0(
    ids: SequenceIds[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([0, 0, 0, 1, 0, 1, 2, 0])
    monkeypatch.setattr("secrets.randbelow", lambda below: next(numbers))
    first, second, third = Holder(), Holder(), Holder()
    assert [ids.draw("UINT32", holder) for holder in (first, second, third)] == [1, 2, 3]
    del first
    gc.collect()
    assert ids.draw("UINT32", Holder()) == 1


def test_many_streams_draw_at_once(ids: SequenceIds[Holder]) -> None:
    holders = [Holder() for _ in range(4000)]
    drawn: list[int | str] = []

    def draw(some: list[Holder]) -> None:
        for holder in some:
            drawn.append(ids.draw("INT32", holder))

    threads = [threading.Thread(target=draw, args=[holders[first::8]]) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 4000


@pytest.mark.parametrize("datatype", ["INT32", "UINT64"])
def test_no_two_workers_draw_the_same(datatype: str) -> None:
    workers: list[SequenceIds[Holder]] = [SequenceIds(worker=worker, workers=3) for worker in range(3)]
    holders = [Holder() for _ in range(200)]
    drawn = [[ids.draw(datatype, holder) for holder in holders] for ids in workers]
    assert [{(int(one) - 1) % 3 for one in some} for some in drawn] == [{0}, {1}, {2}]


def test_workers_with_one_key_know_a_name_by_one_id() -> None:
    key = new_key()
    workers = [SequenceIds[Holder](key), SequenceIds[Holder](key, worker=1, workers=2), SequenceIds[Holder]()]
    names = [ids.named("ann", "model", 7, "UINT64") for ids in workers]
    assert names[0] == names[1] != names[2]
