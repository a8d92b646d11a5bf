from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client.labels import COCO
from mm_client.yolo import DecodeError, Letterbox, detections, to_tensor


def output_of(*found: tuple[tuple[float, float, float, float], int, float], classes: int = 80) -> Any:
    output = np.zeros((1, 4 + classes, 8400), np.float32)
    for column, ((x1, y1, x2, y2), class_id, score) in enumerate(found):
        output[0, :4, column] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        output[0, 4 + class_id, column] = score
    return output


def test_the_frame_lies_in_the_middle_of_grey() -> None:
    square = Letterbox(320, 160, 64).apply(np.full((160, 320, 3), 255, np.uint8))
    assert square.shape == (64, 64, 3)
    assert (square[:16] == 114).all()
    assert (square[48:] == 114).all()
    assert (square[16:48] == 255).all()


def test_the_tensor_is_rgb_planes_from_0_to_1() -> None:
    square = np.zeros((4, 4, 3), np.uint8)
    square[0, 1] = (51, 102, 255)
    tensor = to_tensor(square)
    assert tensor.shape == (1, 3, 4, 4)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor[0, :, 0, 1], [1.0, 0.4, 0.2], rtol=1e-6)
    assert tensor.sum() == pytest.approx(1.6)


def test_boxes_come_back_in_pixels_of_the_frame() -> None:
    # 1280×720 into 640: scaled by a half, 140 grey rows above.
    (found,) = detections(output_of(((100, 240, 200, 340), 0, 0.9)), Letterbox(1280, 720, 640), 0.25)
    assert found.as_json() == {"class_id": 0, "label": "person", "score": 0.9, "box": [200.0, 200.0, 400.0, 400.0]}


@given(
    st.integers(16, 4000),
    st.integers(16, 4000),
    st.integers(1, 20).map(lambda step: 32 * step),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_mapping_into_the_square_and_back_is_exact_to_a_pixel_of_the_square(
    width: int, height: int, size: int, edges: tuple[float, ...]
) -> None:
    letterbox = Letterbox(width, height, size)
    box = np.array([[edges[0] * width, edges[1] * height, edges[2] * width, edges[3] * height]], np.float32)
    inside = box * np.float32(letterbox.scale) + np.array(letterbox.offset * 2, np.float32)
    np.testing.assert_allclose(letterbox.to_frame(inside), box, atol=0.51 / letterbox.scale + 0.01)
    (inner_width, inner_height), (left, top) = letterbox.inner, letterbox.offset
    assert max(inner_width, inner_height) == size
    assert 0 <= left <= (size - inner_width + 1) // 2
    assert 0 <= top <= (size - inner_height + 1) // 2


def test_low_scores_duplicates_and_other_classes() -> None:
    box, near = (100.0, 100.0, 200.0, 200.0), (102.0, 100.0, 202.0, 200.0)
    output = output_of((box, 2, 0.7), (near, 2, 0.8), (box, 5, 0.6), ((300, 300, 310, 310), 0, 0.2))
    found = detections(output, Letterbox(640, 640, 640), 0.25)
    assert [(one.class_id, one.label, round(one.score, 2)) for one in found] == [(2, "car", 0.8), (5, "bus", 0.6)]


def test_boxes_are_cut_at_the_frames_edges() -> None:
    (found,) = detections(output_of(((-50, -50, 700, 50), 0, 0.9)), Letterbox(640, 640, 640), 0.25)
    assert found.box == (0, 0, 640, 50)


def test_models_of_other_classes_have_numbers_for_names() -> None:
    (found,) = detections(output_of(((0, 0, 9, 9), 1, 0.9), classes=3), Letterbox(64, 64, 64), 0.25)
    assert found.label == "class 1"
    assert len(set(COCO)) == 80


def test_half_precision_is_decoded_and_nan_is_dropped() -> None:
    output = output_of(((0, 0, 9, 9), 1, 0.9), ((20, 20, 29, 29), 1, np.nan)).astype(np.float16)
    assert len(detections(output, Letterbox(64, 64, 64), 0.25)) == 1


@pytest.mark.parametrize(
    "output",
    [
        np.zeros((84, 8400), np.float32),
        np.zeros((2, 84, 5), np.float32),
        np.zeros((1, 4, 5), np.float32),
        np.zeros((1, 84, 5), np.int32),
    ],
)
def test_another_layout_is_refused_with_its_shape(output: Any) -> None:
    with pytest.raises(DecodeError, match=r"expected \[1, 4\+classes, N\]"):
        detections(output, Letterbox(64, 64, 64), 0.25)


def test_nothing_found() -> None:
    assert detections(output_of(), Letterbox(64, 64, 64), 0.25) == []
    assert detections(np.zeros((1, 84, 0), np.float32), Letterbox(64, 64, 64), 0.25) == []
