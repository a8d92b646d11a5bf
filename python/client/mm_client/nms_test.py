from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mm_client.nms import Floats, iou, per_class_nms


def boxes_of(*rows: tuple[float, float, float, float]) -> Floats:
    return np.array(rows, np.float32).reshape(-1, 4)


def test_known_boxes_have_the_iou_of_their_areas() -> None:
    others = boxes_of((0, 0, 10, 10), (5, 0, 15, 10), (20, 20, 30, 30), (0, 0, 0, 0))
    np.testing.assert_allclose(iou(others[0], others), [1, 1 / 3, 0, 0], rtol=1e-6)
    assert iou(others[3], others[3:]).tolist() == [0]


def test_the_better_of_two_overlapping_boxes_stays() -> None:
    boxes = boxes_of((0, 0, 10, 10), (1, 0, 11, 10), (50, 50, 60, 60))
    kept = per_class_nms(boxes, np.array([0.6, 0.9, 0.3], np.float32), np.zeros(3, np.intp))
    assert kept.tolist() == [1, 2]


def test_classes_do_not_suppress_each_other() -> None:
    boxes = boxes_of((0, 0, 10, 10), (0, 0, 10, 10))
    assert per_class_nms(boxes, np.array([0.6, 0.9], np.float32), np.array([0, 1])).tolist() == [1, 0]


def test_an_overlap_of_the_threshold_itself_stays() -> None:
    boxes = boxes_of((0, 0, 10, 10), (5, 0, 15, 10))
    scores, classes = np.array([0.6, 0.9], np.float32), np.zeros(2, np.intp)
    overlap = float(iou(boxes[0], boxes[1:])[0])
    assert len(per_class_nms(boxes, scores, classes, overlap)) == 2
    assert len(per_class_nms(boxes, scores, classes, overlap - 0.01)) == 1


def test_no_boxes_leave_no_boxes() -> None:
    assert per_class_nms(boxes_of(), np.empty(0, np.float32), np.empty(0, np.intp)).tolist() == []


@given(
    st.integers(0, 20).flatmap(
        lambda count: st.tuples(
            npst.arrays(np.float32, (count, 4), elements=st.floats(0, 64, width=32)),
            npst.arrays(np.float32, count, elements=st.floats(0, 1, width=32)),
            npst.arrays(np.intp, count, elements=st.integers(0, 2)),
        )
    )
)
def test_kept_boxes_are_apart_and_dropped_ones_have_a_reason(
    case: tuple[Floats, Floats, np.ndarray[tuple[int], np.dtype[np.intp]]],
) -> None:
    corners, scores, classes = case
    boxes = np.concatenate((np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])), 1)
    kept = per_class_nms(boxes, scores, classes).tolist()
    assert [scores[index] for index in kept] == sorted((scores[index] for index in kept), reverse=True)
    for index in range(len(boxes)):
        better = [
            other
            for other in kept
            if other != index and classes[other] == classes[index] and scores[other] >= scores[index]
        ]
        overlaps = iou(boxes[index], boxes[better]) > 0.45
        assert overlaps.any() or index in kept
        if index in kept:
            strictly = [other for other in better if scores[other] > scores[index]]
            assert not (iou(boxes[index], boxes[strictly]) > 0.45).any()
