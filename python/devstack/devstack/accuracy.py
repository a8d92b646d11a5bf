"""Holds detections against the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Box = Sequence[float]
IOU_THRESHOLD = 0.5


@dataclass
class Accuracy:
    """Counts over all frames that were added.

    Attributes:
        found: objects of the truth that a detection of their class covers.
        missed: objects that none covers, as (frame, label).
        wrong: detections that cover no object, as (frame, label).
        ious: intersection over union of each found object with its detection.
    """

    found: int = 0
    missed: list[tuple[int, str]] = field(default_factory=list)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """Part of the detections that are right; 1 where there are none."""
        return _part(self.found, len(self.wrong))

    @property
    def recall(self) -> float:
        """Part of the objects that were found; 1 where there are none."""
        return _part(self.found, len(self.missed))

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of what was found; 0 where nothing was."""
        return sum(self.ious) / len(self.ious) if self.ious else 0.0

    def add(self, frame: int, objects: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]]) -> None:
        """Adds one frame.

        Args:
            frame: its number.
            objects: the truth: class_id, label, box [x1, y1, x2, y2] in pixels, and counts; a detection of an object
                that does not count is neither right nor wrong.
            detections: class_id, label, score and box likewise.
        """
        open_objects = list(objects)
        for detection in sorted(detections, key=lambda entry: -float(entry["score"])):
            candidates = [
                (overlap, index)
                for index, entry in enumerate(open_objects)
                if entry["class_id"] == detection["class_id"]
                and (overlap := iou(entry["box"], detection["box"])) >= IOU_THRESHOLD
            ]
            if not candidates:
                if not any(_may_be(entry, detection) for entry in objects):
                    self.wrong.append((frame, str(detection["label"])))
                continue
            overlap, index = max(candidates)
            if open_objects.pop(index)["counts"]:
                self.found += 1
                self.ious.append(overlap)
        self.missed += [(frame, str(entry["label"])) for entry in open_objects if entry["counts"]]


def iou(first: Box, second: Box) -> float:
    """Returns the intersection over union of two boxes [x1, y1, x2, y2]; 0 where they do not meet."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return width * height / (areas - width * height)


def _may_be(entry: Mapping[str, Any], detection: Mapping[str, Any]) -> bool:
    """Tells whether a detection may be meant for an object of which too little can be seen to count."""
    same = entry["class_id"] == detection["class_id"]
    return same and not entry["counts"] and iou(entry["box"], detection["box"]) > 0


def _part(right: int, other: int) -> float:
    return right / (right + other) if right + other else 1.0
