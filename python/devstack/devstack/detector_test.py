from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import tritonclient.grpc as grpcclient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from devstack import detector, models, scene
from devstack.accuracy import Accuracy, iou
from devstack.palette import COCO_CLASSES, PALETTE
from devstack.scene import Kind, Placed
from devstack.triton import Triton

_THRESHOLD, _OVERLAP = 0.25, 0.45
# Between any two shapes, and between two of one colour, of which no window may see a part of the other.
_GAP, _SAME_COLOUR_GAP = 6, 180
_SHAPES = st.builds(
    Placed,
    kind=st.sampled_from(Kind),
    colour=st.sampled_from(PALETTE),
    size=st.integers(16, 240),
    x=st.floats(10, 630),
    y=st.floats(10, 630),
)


def _apart(first: Placed, second: Placed) -> bool:
    gap = max(abs(first.x - second.x), abs(first.y - second.y)) - (first.size + second.size) / 2
    return gap >= (_SAME_COLOUR_GAP if first.colour == second.colour else _GAP)


@st.composite
def _scenes(draw: st.DrawFn) -> list[Placed]:
    shapes: list[Placed] = []
    for shape in draw(st.lists(_SHAPES, max_size=7)):
        if all(_apart(shape, other) for other in shapes):
            shapes.append(shape)
    return shapes


def _detect(triton: Triton, image: scene.Image) -> NDArray[np.float32]:
    """Runs the detector on a BGR image of its own size; gives [84, 8400]."""
    value = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1)[None], np.float32) / 255
    tensor = grpcclient.InferInput("images", value.shape, "FP32")
    tensor.set_data_from_numpy(value.astype(np.float32))
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        output = np.asarray(client.infer(models.DETECTOR, [tensor], client_timeout=20).as_numpy("output0"), np.float32)
    assert output.shape == detector.OUTPUT_SHAPE
    return output.reshape(detector.OUTPUT_SHAPE[1:])


def _detections(output: NDArray[np.float32]) -> list[dict[str, Any]]:
    classes, scores = output[4:].argmax(axis=0), output[4:].max(axis=0)
    found = []
    for class_id in np.unique(classes[scores >= _THRESHOLD]):
        chosen = np.flatnonzero((classes == class_id) & (scores >= _THRESHOLD))
        x, y, width, height = output[:4, chosen]
        corners = np.stack([x - width / 2, y - height / 2, width, height], axis=1)
        for index in np.ravel(cv2.dnn.NMSBoxes(corners.tolist(), scores[chosen].tolist(), _THRESHOLD, _OVERLAP)):
            left, top, wide, high = corners[index].tolist()
            box = [left, top, left + wide, top + high]
            found.append({"class_id": class_id, "label": str(class_id), "box": box, "score": scores[chosen][index]})
    return found


def _painted(shapes: list[Placed]) -> scene.Image:
    random = np.random.default_rng(len(shapes))
    image = scene.background(detector.SIZE, detector.SIZE, random)
    scene.paint(image, shapes)
    noisy = image.astype(np.float32) + random.normal(0, 4, image.shape).astype(np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_scenes())
def test_every_shape_is_found_at_its_place_and_nothing_else(triton: Triton, shapes: list[Placed]) -> None:
    accuracy = Accuracy()
    objects = [
        {
            "class_id": part.colour.class_id,
            "label": part.colour.label,
            "box": part.box,
            # What the border of the image leaves may be a speck.
            "counts": min(part.box[2] - part.box[0], part.box[3] - part.box[1]) >= 14,
        }
        for part in scene.visible_parts(detector.SIZE, detector.SIZE, shapes)
    ]
    accuracy.add(0, objects, _detections(_detect(triton, _painted(shapes))))

    assert (accuracy.missed, accuracy.wrong) == ([], [])
    assert all(overlap >= 0.75 for overlap in accuracy.ious)


def test_two_of_one_colour_side_by_side_are_never_taken_for_one(triton: Triton) -> None:
    pair = [Placed(Kind.SQUARE, PALETTE[0], 60, 200 + 100 * index, 300) for index in range(2)]
    merged = (170, 270, 330, 330)

    assert all(
        iou(box, merged) < 0.9 for entry in _detections(_detect(triton, _painted(pair))) if (box := entry["box"])
    )


def test_specks_and_an_empty_image_give_nothing(triton: Triton) -> None:
    specks = [Placed(Kind.SQUARE, colour, 6, 100 + 60 * index, 200) for index, colour in enumerate(PALETTE)]
    for shapes in ([], specks):
        output = _detect(triton, _painted(shapes))
        assert output[4:].max() == 0
        # Each anchor then tells its own place, stride by stride.
        assert output[:4, 0].tolist() == [4, 4, 8, 8]
        assert output[:4, -1].tolist() == [624, 624, 32, 32]


def test_it_is_a_small_yolov8_of_80_classes() -> None:
    model = detector.build()
    (value,) = model.graph.output

    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [1, 4 + COCO_CLASSES, 80**2 + 40**2 + 20**2]
    assert len(model.SerializeToString()) < 400_000
