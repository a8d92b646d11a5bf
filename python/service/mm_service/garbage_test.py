"""What becomes of circles."""

from __future__ import annotations

import gc
import weakref

from mm_service.garbage import Collector
from service_testing.waiting import until


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_a_circle_goes_without_another_object_being_made() -> None:
    collector = Collector(0.01)
    try:
        circle = weakref.ref(Circle())
        until(lambda: circle() is None)
    finally:
        collector.close()


def test_objects_by_the_hundred_are_no_reason_to_look() -> None:
    collector = Collector(3600)
    try:
        circle = weakref.ref(Circle())
        kept: list[list[int]] = [[] for _ in range(50_000)]
        assert circle() is not None
        kept += [[] for _ in range(100_000)]
        assert circle() is None
    finally:
        collector.close()


def test_afterwards_it_is_as_it_was() -> None:
    before = gc.get_threshold(), gc.get_freeze_count()
    Collector(3600).close()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
