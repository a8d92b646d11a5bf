from __future__ import annotations

import gc
import string
import threading

import pytest

from triton_proxy.models.sequence_ids import SequenceIds


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
