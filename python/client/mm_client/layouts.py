"""The layouts in which detectors of the YOLO family answer: which one an output has, and the boxes in it.

| layout | output | models |
|---|---|---|
| yolov8 | [1,4+C,N] or [1,N,4+C]: centre x and y, width, height, C class scores | YOLOv8, 9, 11, 12 |
| yolov5 | [1,N,5+C] or [1,5+C,N]: the same with an objectness before the class scores | YOLOv3, 5, 6, 7 |
| end2end | [1,N,6] or [N,6]: x1, y1, x2, y2, score, class | YOLOv10, 26; exports with `nms=True` |
| efficientnms | four outputs, num [1,1], boxes [1,N,4], scores [1,N], classes [1,N] | TensorRT's EfficientNMS |

Boxes are in pixels of the model's input, scores from 0 to 1. A raw head has a prediction for each cell of its grids, of
which there is one per stride, or three with anchors: the number N tells the heads apart, and which axis is N. The
formulas are those of Ultralytics' `non_max_suppression` and of TensorRT's `EfficientNMS_TRT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mm_client.nms import Floats, Indices

Output = npt.NDArray[Any]
# The strides of the grids: the usual, with a finer (P2), with coarser (P6, P7), and those of the "tiny" models.
_STRIDES = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64), (8, 16, 32, 64, 128), (16, 32))
# Scores that were quantized or of half precision are a little outside.
_SCORE_SLACK = 0.01
_COCO_CLASSES = 80
# Prototypes that Ultralytics' segmentation models mix masks from.
_MASKS = 32


class DecodeError(Exception):
    """An output is of no layout that can be decoded; the text says what it is and what to do."""


@dataclass(frozen=True)
class Candidates:
    """Boxes that an output holds, those with too low a score left out.

    Attributes:
        boxes: [N, 4] x1, y1, x2, y2 in pixels of the model's input.
        scores: [N] from 0 to 1.
        class_ids: [N] from 0.
        classes: how many classes the model has; None where its output does not say.
        suppressed: the model has dropped duplicates itself.
    """

    boxes: Floats
    scores: Floats
    class_ids: Indices
    classes: int | None
    suppressed: bool


@dataclass(frozen=True)
class Question:
    """What is known when an output is read.

    Attributes:
        size: side of the model's input, in pixels.
        threshold: candidates with a lower score are left out.
        named: how many names of classes were given; None without.
    """

    size: int
    threshold: float
    named: int | None = None


@dataclass(frozen=True)
class Layout:
    """One layout.

    Attributes:
        shape: what its output looks like, for people.
        read: outputs to candidates; raises DecodeError for another layout.
    """

    shape: str
    read: Callable[[Sequence[Output], Question], Candidates]


def read_candidates(outputs: Sequence[Output], question: Question, layout: str = "auto") -> Candidates:
    """Return the boxes in a model's outputs.

    Args:
        outputs: in the order that they were asked for; the first one counts, or all of four.
        question: see `Question`.
        layout: a name in `LAYOUTS`, or "auto" to recognise it.

    Raises:
        DecodeError: the layout is not known, or the values contradict it.
    """
    found = LAYOUTS[_recognised(outputs, question) if layout == "auto" else layout].read(outputs, question)
    finite = np.isfinite(found.boxes).all(axis=1)
    boxes = found.boxes[finite]
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise _refused(
            outputs, "has boxes that end before they begin, as a head whose boxes are not decoded has, or another order"
        )
    if len(boxes) and boxes.max() <= 2:
        raise _refused(outputs, "has boxes from 0 to 1, not in pixels")
    return Candidates(boxes, found.scores[finite], found.class_ids[finite], found.classes, found.suppressed)


def _recognised(outputs: Sequence[Output], question: Question) -> str:
    if _four(outputs) is not None:
        return "efficientnms"
    rows, columns = _matrix(outputs).shape
    grids = _grids(question.size)
    if columns in grids and rows > 4:
        per_cell, channels, channels_first = grids[columns], rows, True
    elif rows in grids and columns > 4:
        per_cell, channels, channels_first = grids[rows], columns, False
    elif columns == 6:
        return "end2end"
    else:
        raise _refused(outputs, _other_kind(outputs[0], question))
    if per_cell == 3:
        return "yolov5"
    if question.named is not None and channels in (4 + question.named, 5 + question.named):
        return "yolov8" if channels == 4 + question.named else "yolov5"
    # Of the heads without anchors, YOLOv6 and YOLOX keep an objectness, behind the cells; YOLOv6's is always 1.
    if not channels_first and (channels == 5 + _COCO_CLASSES or (_matrix(outputs)[:, 4] == 1).all()):
        return "yolov5"
    return "yolov8"


def _yolov8(outputs: Sequence[Output], question: Question) -> Candidates:
    prediction = _channels_first(outputs, question, fewest=5)
    _check_scores(outputs, prediction[4:], question)
    _check_classes(outputs, len(prediction) - 4, question)
    return _best_classes(prediction[:4], prediction[4:], question)


def _yolov5(outputs: Sequence[Output], question: Question) -> Candidates:
    prediction = _channels_first(outputs, question, fewest=6)
    _check_scores(outputs, prediction[4:], question)
    _check_classes(outputs, len(prediction) - 5, question)
    # The score is at most the objectness.
    prediction = prediction[:, prediction[4] >= question.threshold].astype(np.float32, copy=False)
    return _best_classes(prediction[:4], prediction[5:] * prediction[4], question)


def _end2end(outputs: Sequence[Output], question: Question) -> Candidates:
    rows = _matrix(outputs)
    if rows.shape[1] != 6:
        raise _refused(outputs, "does not have six columns")
    if (rows[:, 4] > 1 + _SCORE_SLACK).any():
        raise _refused(outputs, "has a fifth column that is no score from 0 to 1")
    return _suppressed(outputs, rows[:, :4], rows[:, 4], rows[:, 5], question)


def _efficientnms(outputs: Sequence[Output], question: Question) -> Candidates:
    four = _four(outputs)
    if four is None:
        raise _refused(outputs, "is not one of four that are num, boxes, scores and classes")
    num, boxes, scores, classes = four
    count = min(max(int(num.reshape(-1)[0]), 0), len(boxes))
    if (scores[:count] > 1 + _SCORE_SLACK).any():
        raise _refused(outputs, "comes with scores that are not from 0 to 1")
    return _suppressed(outputs, boxes[:count], scores[:count], classes[:count], question)


LAYOUTS: Mapping[str, Layout] = {
    "yolov8": Layout("[1,4+C,N] or its transpose", _yolov8),
    "yolov5": Layout("[1,N,5+C] or its transpose", _yolov5),
    "end2end": Layout("[1,N,6]: x1, y1, x2, y2, score, class", _end2end),
    "efficientnms": Layout("four outputs: num [1,1], boxes [1,N,4], scores [1,N], classes [1,N]", _efficientnms),
}


def _best_classes(centred: Output, class_scores: Output, question: Question) -> Candidates:
    """Candidates of boxes `[4, N]` (centre x, centre y, width, height) and scores `[C, N]`."""
    best = class_scores.max(axis=0)
    chosen = np.flatnonzero(best >= question.threshold)
    centred = centred[:, chosen].astype(np.float32, copy=False)
    centres, halves = centred[:2].T, centred[2:].T / 2
    return Candidates(
        np.concatenate((centres - halves, centres + halves), axis=1),
        best[chosen].astype(np.float32, copy=False),
        class_scores[:, chosen].argmax(axis=0),
        len(class_scores),
        suppressed=False,
    )


def _suppressed(
    outputs: Sequence[Output], boxes: Output, scores: Output, classes: Output, question: Question
) -> Candidates:
    """Candidates of boxes `[N, 4]` (x1, y1, x2, y2), scores `[N]` and class numbers `[N]`; a score of 0 fills up."""
    chosen = np.flatnonzero((scores >= question.threshold) & (scores > 0))
    class_ids = classes[chosen].astype(np.float64)
    if not ((class_ids >= 0) & (class_ids == np.rint(class_ids))).all():
        raise _refused(outputs, "has class numbers that are not 0, 1, 2, …")
    return Candidates(
        boxes[chosen].astype(np.float32, copy=False),
        scores[chosen].astype(np.float32, copy=False),
        class_ids.astype(np.intp),
        None,
        suppressed=True,
    )


def _grids(size: int) -> dict[int, int]:
    """How many predictions a head has for a square input, by what it has per cell: 1, or 3 with anchors."""
    cells = [sum((-(-size // stride)) ** 2 for stride in strides) for strides in _STRIDES]
    return {**{3 * count: 3 for count in cells}, **dict.fromkeys(cells, 1)}


def _matrix(outputs: Sequence[Output]) -> Output:
    """Return the first output without its batch dimension."""
    output = outputs[0]
    if output.dtype.kind != "f":
        raise _refused(outputs, "is not of floating point")
    if output.ndim == 3 and output.shape[0] == 1:
        matrix: Output = output[0]
        return matrix
    if output.ndim == 2:
        return output
    raise _refused(outputs, _other_kind(output, None))


def _channels_first(outputs: Sequence[Output], question: Question, fewest: int) -> Output:
    """Return the first output as `[channels, N]`."""
    matrix = _matrix(outputs)
    rows, columns = matrix.shape
    grids = _grids(question.size)
    transposed = rows in grids if (rows in grids) != (columns in grids) else rows > columns
    prediction = matrix.T if transposed else matrix
    if len(prediction) < fewest:
        raise _refused(outputs, f"has {len(prediction)} channels, not {fewest} or more")
    return prediction


def _four(outputs: Sequence[Output]) -> tuple[Output, Output, Output, Output] | None:
    """Return num, boxes `[N, 4]`, scores `[N]` and classes `[N]`, if that is what the outputs are."""
    if len(outputs) != 4 or outputs[0].size != 1 or outputs[1].ndim < 2 or outputs[1].shape[-1] != 4:
        return None
    num, boxes, scores, classes = outputs[0], outputs[1].reshape(-1, 4), outputs[2].reshape(-1), outputs[3].reshape(-1)
    if not len(boxes) == len(scores) == len(classes):
        return None
    # Some exporters name them the other way round.
    if scores.dtype.kind in "iu" and classes.dtype.kind == "f":
        scores, classes = classes, scores
    return num, boxes, scores, classes


def _check_scores(outputs: Sequence[Output], scores: Output, question: Question) -> None:
    """Refuse channels `[C, N]` of which some go beyond 0 to 1: masks, keypoints, angles, logits."""
    if scores.size == 0 or (scores.min() >= -_SCORE_SLACK and scores.max() <= 1 + _SCORE_SLACK):
        return
    beyond = np.flatnonzero(((scores < -_SCORE_SLACK) | (scores > 1 + _SCORE_SLACK)).any(axis=1))
    if not beyond.size:
        # Only NaN, which no score reaches.
        return
    last = len(scores) - int(beyond[0])
    if last == len(scores):
        what = "has scores beyond 0 to 1: logits, before the sigmoid, or another layout"
    elif last == 1:
        what = "has a last channel beyond 0 to 1: the angle of oriented boxes"
    elif np.nanmax(scores[-last:]) > question.size / 16:
        what = f"has {last} last channels that are no scores: the keypoints of a pose model"
    elif last == _MASKS:
        what = f"has {last} last channels beyond 0 to 1: the mask coefficients of a segmentation model"
    else:
        what = f"has {last} last channels beyond 0 to 1, which scores are not"
    raise _refused(outputs, what)


def _check_classes(outputs: Sequence[Output], classes: int, question: Question) -> None:
    if question.named is not None and question.named != classes:
        raise _refused(outputs, f"has scores of {classes} classes, and {question.named} names are given for them")


def _other_kind(output: Output, question: Question | None) -> str:
    """Say what an output of no known shape may be."""
    if output.ndim == 4 or output.ndim == 5:
        return "is a feature map per stride, before its boxes are decoded"
    if output.ndim == 2 and output.shape[0] == 1:
        return "is a score per class of a picture: a classifier"
    if output.ndim == 3 and output.shape[0] != 1:
        return "holds several frames"
    if output.ndim in (2, 3) and output.shape[-1] == 4:
        return "has boxes without scores"
    if output.ndim in (2, 3) and question is not None:
        counts = ", ".join(str(count) for count in sorted(_grids(question.size)))
        return f"has as many predictions as no head has for {question.size} pixels ({counts})"
    return "has too few or too many dimensions"


def _refused(outputs: Sequence[Output], what: str) -> DecodeError:
    shown = " and ".join(f"{list(output.shape)} {output.dtype}" for output in outputs[: 4 if len(outputs) == 4 else 1])
    known = "; ".join(f"{name} {layout.shape}" for name, layout in LAYOUTS.items())
    return DecodeError(
        f"the output {shown} {what}. Decoded are {known}. Export the model with one of these, name it by --layout if "
        "it is one, or use mm-client infer for the raw values"
    )
