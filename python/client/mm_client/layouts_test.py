from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client.layouts import LAYOUTS, Candidates, DecodeError, Output, Question, read_candidates

SIZE = 640
# Predictions of a head for 640 pixels: cells of its grids, and three anchors in each.
CELLS, ANCHORS = 80 * 80 + 40 * 40 + 20 * 20, 3 * (80 * 80 + 40 * 40 + 20 * 20)
# x1, y1, x2, y2 in pixels of the square, class, score.
Box = tuple[float, float, float, float, int, float]


def found_in(outputs: list[Output], layout: str = "auto", named: int | None = None, conf: float = 0.25) -> list[Box]:
    candidates = read_candidates(outputs, Question(SIZE, conf, named), layout)
    return boxes_of(candidates)


def boxes_of(candidates: Candidates) -> list[Box]:
    rows = zip(candidates.boxes.tolist(), candidates.class_ids.tolist(), candidates.scores.tolist())
    return sorted((*box, class_id, score) for box, class_id, score in rows)


# Encoders, written from the documented layouts, one prediction after the other.


def yolov8(boxes: list[Box], classes: int, predictions: int = CELLS) -> Output:
    rows = np.zeros((predictions, 4 + classes), np.float32)
    for place, (x1, y1, x2, y2, class_id, score) in enumerate(boxes):
        row = rows[place * 7 % predictions]
        row[:4] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        row[4 + class_id] = score
    return rows.T[None]


def yolov8_transposed(boxes: list[Box], classes: int) -> Output:
    return yolov8(boxes, classes).transpose(0, 2, 1)


def yolov5(boxes: list[Box], classes: int, predictions: int = ANCHORS, objectness: float | None = None) -> Output:
    rows = np.zeros((predictions, 5 + classes), np.float32)
    for place, (x1, y1, x2, y2, class_id, score) in enumerate(boxes):
        row = rows[place * 7 % predictions]
        row[:4] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        row[4] = 0.95
        row[5 + class_id] = score / 0.95
    if objectness is not None:
        for row in rows:
            row[5:] *= row[4]
            row[4] = objectness
    return rows[None]


def end2end(boxes: list[Box], classes: int) -> Output:
    rows = [[x1, y1, x2, y2, score, class_id] for x1, y1, x2, y2, class_id, score in boxes]
    return np.array(rows + [[0.0] * 6] * (300 - len(rows)), np.float32)[None]


def efficientnms(boxes: list[Box], classes: int) -> list[Output]:
    outputs: list[Any] = [np.array([[len(boxes)]], np.int32), np.full((1, 100, 4), -1, np.float32)]
    outputs += [np.full((1, 100), -1, np.float32), np.full((1, 100), -1, np.int32)]
    for place, (x1, y1, x2, y2, class_id, score) in enumerate(boxes):
        outputs[1][0, place] = x1, y1, x2, y2
        outputs[2][0, place], outputs[3][0, place] = score, class_id
    return outputs


ENCODERS = {
    "yolov8": yolov8,
    "yolov8 transposed": yolov8_transposed,
    "yolov5": yolov5,
    "yolov5 transposed": lambda boxes, classes: yolov5(boxes, classes).transpose(0, 2, 1),
    "yolov6": lambda boxes, classes: yolov5(boxes, classes, CELLS, objectness=1.0),
    "end2end": end2end,
    "end2end without a batch": lambda boxes, classes: end2end(boxes, classes)[0],
    "end2end of what there is": lambda boxes, classes: end2end(boxes, classes)[:, : len(boxes)],
    "efficientnms": efficientnms,
}
EDGES = st.integers(0, 4 * SIZE).map(lambda quarter: quarter / 4)


@st.composite
def detections(draw: st.DrawFn, classes: int) -> list[Box]:
    boxes = []
    for _ in range(draw(st.integers(0, 5))):
        (x1, x2), (y1, y2) = sorted((draw(EDGES), draw(EDGES))), sorted((draw(EDGES), draw(EDGES)))
        score = draw(st.floats(0.3125, 0.875, width=32))
        boxes.append((x1, y1, max(x2, x1 + 8), max(y2, y1 + 8), draw(st.integers(0, classes - 1)), score))
    return boxes


@pytest.mark.parametrize("name", ENCODERS)
@given(data=st.data(), classes=st.sampled_from((1, 2, 3, 20, 80)))
def test_boxes_that_are_encoded_come_back(name: str, data: st.DataObject, classes: int) -> None:
    boxes = data.draw(detections(classes))
    encoded = ENCODERS[name](boxes, classes)
    found = found_in(encoded if isinstance(encoded, list) else [encoded])
    assert [box[4] for box in found] == [box[4] for box in sorted(boxes)]
    np.testing.assert_allclose(np.array(found).reshape(-1, 6), np.array(sorted(boxes)).reshape(-1, 6), rtol=1e-5)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_any_values_of_a_head_are_read_by_the_documented_formulas(seed: int, anchors: bool) -> None:
    """Ultralytics: the best class counts; its score is that of the class, in YOLOv5 times the objectness."""
    random, size, classes = np.random.default_rng(seed), 64, 5
    count = 3 * 84 if anchors else 84
    values = np.concatenate(
        [random.uniform(low, high, (count, 2)) for low, high in ((20, 60), (0, 30))]
        + [random.random((count, classes + anchors))],
        axis=1,
    ).astype(np.float32)
    expected = []
    for row in values:
        scores = [float(score) * (float(row[4]) if anchors else 1.0) for score in row[4 + anchors :]]
        best = max(scores)
        if best >= 0.6:
            x, y, width, height = (float(value) for value in row[:4])
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            expected.append((*corners, scores.index(best), best))
    output = values[None] if anchors else values.T[None]
    found = boxes_of(read_candidates([output], Question(size, 0.6)))
    assert len(found) == len(expected)
    np.testing.assert_allclose(np.array(found).reshape(-1, 6), np.array(sorted(expected)).reshape(-1, 6), rtol=1e-5)


CAR, BUS = (100.0, 50.0, 200.0, 150.0, 2, 0.9), (300.0, 300.0, 400.0, 420.0, 5, 0.5)


@pytest.mark.parametrize(
    ("output", "classes", "suppressed"),
    [
        (yolov8([CAR], 80), 80, False),
        (yolov8_transposed([CAR], 80), 80, False),
        (yolov5([CAR], 80), 80, False),
        (end2end([CAR], 80), None, True),
    ],
)
def test_classes_are_counted_and_duplicates_left_to_models_that_drop_them(
    output: Output, classes: int | None, suppressed: bool
) -> None:
    candidates = read_candidates([output], Question(SIZE, 0.25))
    assert (candidates.classes, candidates.suppressed) == (classes, suppressed)


@pytest.mark.parametrize("strides", [(8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64), (8, 16, 32, 64, 128), (16, 32)])
@pytest.mark.parametrize("per_cell", [1, 3])
def test_heads_of_any_usual_strides_are_recognised(strides: tuple[int, ...], per_cell: int) -> None:
    count = per_cell * sum((SIZE // stride) ** 2 for stride in strides)
    output = yolov8([CAR], 4, count) if per_cell == 1 else yolov5([CAR], 4, count)
    ((*corners, class_id, score),) = found_in([output])
    assert (corners, class_id) == ([100, 50, 200, 150], 2)
    assert score == pytest.approx(0.9)


def test_no_number_of_end_to_end_boxes_is_one_of_a_head() -> None:
    """Exports keep 100, 300 or 1000 boxes: [1,300,6] is end-to-end whatever the size of the input."""
    for size in range(32, 2049, 32):
        for count in (100, 300, 1000):
            output = end2end([CAR], 80)[:, :1].repeat(count, axis=1)
            assert read_candidates([output], Question(size, 0.25)).suppressed, (size, count)


def test_scores_are_dropped_below_the_threshold_and_kept_at_it() -> None:
    for output in (yolov8([CAR, BUS], 80), end2end([CAR, BUS], 80)):
        assert len(found_in([output], conf=0.5)) == 2
        assert len(found_in([output], conf=0.5001)) == 1
        assert len(found_in([output], conf=0.95)) == 0


def test_rows_that_fill_up_are_no_boxes() -> None:
    assert len(found_in([end2end([CAR], 80)], conf=0.0)) == 1
    assert len(found_in(efficientnms([CAR], 80), conf=0.0)) == 1
    outputs = efficientnms([CAR, BUS], 80)
    outputs[0][:] = 1
    assert len(found_in(outputs)) == 1


def test_names_tell_transposed_heads_apart() -> None:
    """[1,8400,9] is five classes, or four behind an objectness, as YOLOX has it."""
    output = yolov5([(*CAR[:4], 2, 0.9)], 4, CELLS)
    assert [box[4] for box in found_in([output], named=4)] == [2]
    assert [box[4] for box in found_in([output], named=5)] == [0]
    assert [box[4] for box in found_in([output], layout="yolov5")] == [2]
    # 85 are COCO's 80 and the objectness.
    assert [box[4] for box in found_in([yolov5([CAR], 80, CELLS)])] == [2]


def test_a_named_layout_is_taken_whatever_the_number_of_predictions() -> None:
    assert found_in([yolov8([CAR], 80, 123)], layout="yolov8")[0][:5] == CAR[:5]
    assert found_in([yolov8([CAR], 80, 123).transpose(0, 2, 1)], layout="yolov8")[0][:5] == CAR[:5]
    assert found_in([yolov5([CAR], 80, 123)], layout="yolov5")[0][:5] == CAR[:5]


def test_four_outputs_need_not_be_the_layout_of_four() -> None:
    others: list[Any] = [np.zeros((1, 3, 80, 80, 85), np.float32)] * 3
    assert found_in([yolov8([CAR], 80), *others])[0][:5] == CAR[:5]
    num, boxes, scores, classes = efficientnms([CAR], 80)
    assert found_in([num, boxes, classes, scores]) == found_in([num, boxes, scores, classes])


def test_half_precision_is_decoded_and_nan_is_dropped() -> None:
    output = yolov8([CAR, BUS], 80)
    output[0, 0, 7] = np.nan
    output[0, 4:, 14] = np.nan
    (found,) = found_in([output.astype(np.float16)])
    assert found[:5] == CAR[:5]


def head(extra: int, low: float, high: float, classes: int = 80) -> Output:
    """A YOLOv8 head with channels behind its scores."""
    values = np.random.default_rng(1).uniform(low, high, (1, extra, CELLS)).astype(np.float32)
    return np.concatenate((yolov8([(*CAR[:4], 0, 0.9)], classes), values), axis=1)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (head(32, -3, 3), "[1, 116, 8400] float32 has 32 last channels beyond 0 to 1: the mask coefficients of a seg"),
        (head(51, 0, 640, 1), "[1, 56, 8400] float32 has 51 last channels that are no scores: the keypoints of a pose"),
        (head(1, -0.7, 2.3, 15), "[1, 20, 8400] float32 has a last channel beyond 0 to 1: the angle of oriented boxes"),
        (head(80, -9, 3, 1)[:, [0, 1, 2, 3, *range(5, 85)]], "[1, 84, 8400] float32 has scores beyond 0 to 1: logits"),
        (head(7, -1, 1), "[1, 91, 8400] float32 has 7 last channels beyond 0 to 1, which scores are not"),
        (np.zeros((1, 84, 80, 80), np.float32), "[1, 84, 80, 80] float32 is a feature map per stride"),
        (np.zeros((1, 3, 80, 80, 85), np.float32), "[1, 3, 80, 80, 85] float32 is a feature map per stride"),
        (np.zeros((1, 1000), np.float32), "[1, 1000] float32 is a score per class of a picture: a classifier"),
        (np.zeros((1, 300, 84), np.float32), "[1, 300, 84] float32 has as many predictions as no head has for 640 pix"),
        (np.zeros((1, 300, 4), np.float32), "[1, 300, 4] float32 has boxes without scores"),
        (np.zeros((2, 84, 8400), np.float32), "[2, 84, 8400] float32 holds several frames"),
        (np.zeros((1, 84, 8400), np.int32), "[1, 84, 8400] int32 is not of floating point"),
        (np.zeros(5, np.float32), "[5] float32 has too few or too many dimensions"),
        (end2end([(0.1, 0.1, 0.9, 0.9, 2, 0.9)], 80), "has boxes from 0 to 1, not in pixels"),
        (end2end([(90, 90, 10, 10, 2, 0.9)], 80), "has boxes that end before they begin"),
        (end2end([(10, 10, 90, 90, 2, 90.0)], 80), "has a fifth column that is no score from 0 to 1"),
        (end2end([(10, 10, 90, 90, 0.5, 0.9)], 80), "has class numbers that are not 0, 1, 2"),  # type: ignore[list-item]  # wrong on purpose
    ],
)
def test_what_is_not_decoded_is_named_with_the_layouts_that_are(output: Output, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        found_in([output])
    assert words in str(caught.value)
    for name, layout in LAYOUTS.items():
        assert f"{name} {layout.shape}" in str(caught.value)
    assert "name it by --layout" in str(caught.value)


def test_a_head_whose_boxes_are_not_decoded_is_refused() -> None:
    output = yolov8([CAR], 80)
    output[0, 2:4, 0] = -0.4
    with pytest.raises(DecodeError, match="end before they begin, as a head whose boxes are not decoded"):
        found_in([output])


def test_names_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(DecodeError, match="has scores of 80 classes, and 3 names are given for them"):
        found_in([yolov8([CAR], 80)], named=3)


def test_a_named_layout_that_the_output_contradicts_is_refused() -> None:
    with pytest.raises(DecodeError, match="does not have six columns"):
        found_in([yolov8([CAR], 80)], layout="end2end")
    with pytest.raises(DecodeError, match="is not one of four that are num, boxes, scores and classes"):
        found_in([yolov8([CAR], 80)], layout="efficientnms")
    with pytest.raises(DecodeError, match="has 5 channels, not 6 or more"):
        found_in([yolov8([(*CAR[:4], 0, 0.9)], 1)], layout="yolov5")
