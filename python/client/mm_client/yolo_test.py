from __future__ import annotations

from typing import Any

import numpy as np

from mm_client.letterbox import Letterbox
from mm_client.yolo import Decoder


def output_of(*found: tuple[tuple[float, float, float, float], int, float], classes: int = 80, size: int = 640) -> Any:
    output = np.zeros((1, 4 + classes, 21 * (size // 32) ** 2), np.float32)
    for column, ((x1, y1, x2, y2), class_id, score) in enumerate(found):
        output[0, :4, column] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        output[0, 4 + class_id, column] = score
    return output


def test_boxes_come_back_in_pixels_of_the_frame() -> None:
    # 1280×720 into 640: scaled by a half, 140 grey rows above.
    (found,) = Decoder(0.25).detections([output_of(((100, 240, 200, 340), 0, 0.9))], Letterbox(1280, 720, 640))
    assert found.as_json() == {"class_id": 0, "label": "person", "score": 0.9, "box": [200.0, 200.0, 400.0, 400.0]}


def test_low_scores_and_duplicates_are_dropped_and_other_classes_stay() -> None:
    box, near = (100.0, 100.0, 200.0, 200.0), (102.0, 100.0, 202.0, 200.0)
    output = output_of((box, 2, 0.7), (near, 2, 0.8), (box, 5, 0.6), ((300, 300, 310, 310), 0, 0.2))
    found = Decoder(0.25).detections([output], Letterbox(640, 640, 640))
    assert [(one.class_id, one.label, round(one.score, 2)) for one in found] == [(2, "car", 0.8), (5, "bus", 0.6)]


def test_a_model_that_drops_duplicates_keeps_what_it_gives_best_first() -> None:
    rows = np.array([[[10, 10, 90, 90, 0.5, 1], [12, 10, 92, 90, 0.9, 1], [0, 0, 0, 0, 0, 0]]], np.float32)
    found = Decoder(0.25, labels=("a", "b")).detections([rows], Letterbox(640, 640, 640))
    assert [(one.label, round(one.score, 2)) for one in found] == [("b", 0.9), ("b", 0.5)]


def test_boxes_are_cut_at_the_frames_edges() -> None:
    (found,) = Decoder(0.25).detections([output_of(((-50, -50, 700, 50), 0, 0.9))], Letterbox(640, 640, 640))
    assert found.box == (0, 0, 640, 50)


def test_names_are_those_given_or_cocos_or_numbers() -> None:
    output, letterbox = output_of(((0, 0, 9, 9), 1, 0.9), classes=3, size=64), Letterbox(64, 64, 64)
    assert Decoder(0.25).detections([output], letterbox)[0].label == "class 1"
    assert Decoder(0.25, labels=("bolt", "nut", "screw")).detections([output], letterbox)[0].label == "nut"
    rows = np.array([[[0, 0, 9, 9, 0.9, 7]]], np.float32)
    assert Decoder(0.25).detections([rows], letterbox)[0].label == "class 7"
    assert Decoder(0.25, labels=("bolt",)).detections([rows], letterbox)[0].label == "class 7"


def test_an_output_without_boxes_has_no_detections() -> None:
    assert Decoder(0.25).detections([output_of()], Letterbox(64, 64, 640)) == []
    assert Decoder(0.25).detections([np.zeros((1, 0, 6), np.float32)], Letterbox(64, 64, 640)) == []
