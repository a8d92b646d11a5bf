"""Non-maximum suppression: of boxes that overlap much, the best stays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


def iou(box: Floats, others: Floats) -> Floats:
    """Intersection over union of one box `[4]` with each of `[N, 4]` (x1, y1, x2, y2); 0 where both are empty."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    intersection = np.clip(width, 0, None) * np.clip(height, 0, None)
    union = _area(box[None])[0] + _area(others) - intersection
    result: Floats = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return result


def per_class_nms(boxes: Floats, scores: Floats, class_ids: Indices, iou_threshold: float = 0.45) -> Indices:
    """Choose the boxes to keep; classes do not suppress each other.

    Args:
        boxes: [N, 4] as x1, y1, x2, y2 in any unit.
        scores: [N].
        class_ids: [N].
        iou_threshold: a box that overlaps a better one of its class by more than this is dropped.

    Returns:
        Indices of the kept boxes, best score first.
    """
    kept: list[int] = []
    for class_id in np.unique(class_ids):
        members = np.flatnonzero(class_ids == class_id)
        remaining = members[np.argsort(-scores[members], kind="stable")]
        while remaining.size:
            best, remaining = remaining[0], remaining[1:]
            kept.append(int(best))
            remaining = remaining[iou(boxes[best], boxes[remaining]) <= iou_threshold]
    indices = np.array(kept, dtype=np.intp)
    best_first: Indices = indices[np.argsort(-scores[indices], kind="stable")]
    return best_first


def _area(boxes: Floats) -> Floats:
    area: Floats = np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)
    return area
