from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.accuracy import Accuracy, iou

_CORNERS = st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 50)] * 2)


def _entry(box: list[float], class_id: int = 2, counts: bool = True, score: float = 0.9) -> dict[str, Any]:
    return {"class_id": class_id, "label": str(class_id), "box": box, "counts": counts, "score": score}


@given(_CORNERS, _CORNERS)
def test_iou_is_the_share_of_common_pixels(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (first, second)]
    pixels = [{(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in boxes]

    assert iou(*boxes) == pytest.approx(len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1]))


def test_each_object_is_found_once_and_only_by_its_class() -> None:
    accuracy = Accuracy()
    objects = [_entry([0, 0, 10, 10]), _entry([50, 50, 60, 60])]
    detections = [
        _entry([0, 0, 10, 9], score=0.8),
        _entry([0, 0, 10, 10]),  # the better of two for the same object
        _entry([50, 50, 60, 60], class_id=3),
    ]
    accuracy.add(7, objects, detections)

    assert (accuracy.found, accuracy.ious) == (1, [1.0])
    assert sorted(accuracy.wrong) == [(7, "2"), (7, "3")]
    assert accuracy.missed == [(7, "2")]
    assert (accuracy.precision, accuracy.recall, accuracy.mean_iou) == (1 / 3, 1 / 2, 1.0)


def test_an_object_that_does_not_count_is_neither_right_nor_wrong() -> None:
    accuracy = Accuracy()
    hidden = _entry([0, 0, 10, 10], counts=False)
    accuracy.add(0, [hidden], [])
    accuracy.add(1, [hidden], [_entry([0, 0, 10, 10])])
    accuracy.add(2, [hidden], [_entry([0, 0, 3, 3])])

    assert (accuracy.found, accuracy.wrong, accuracy.missed) == (0, [], [])
    accuracy.add(3, [hidden], [_entry([20, 20, 30, 30])])
    assert accuracy.wrong == [(3, "2")]


def test_empty_frames_are_perfect_until_something_is_found() -> None:
    accuracy = Accuracy()
    accuracy.add(0, [], [])
    assert (accuracy.precision, accuracy.recall) == (1.0, 1.0)
    accuracy.add(1, [], [_entry([0, 0, 1, 1])])
    assert accuracy.precision == 0.0
