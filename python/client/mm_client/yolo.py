"""A detector's outputs to detections in the frame's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mm_client.labels import label
from mm_client.layouts import Output, Question, read_candidates
from mm_client.letterbox import Letterbox
from mm_client.nms import per_class_nms


@dataclass(frozen=True)
class Detection:
    """One found object.

    Attributes:
        class_id: from 0.
        label: its name.
        score: from 0 to 1.
        box: x1, y1, x2, y2 in pixels of the original frame.
    """

    class_id: int
    label: str
    score: float
    box: tuple[float, float, float, float]

    def as_json(self) -> dict[str, Any]:
        """The detection as it stands in frame_counts.jsonl."""
        return {
            "class_id": self.class_id,
            "label": self.label,
            "score": round(self.score, 4),
            "box": [round(edge, 2) for edge in self.box],
        }


@dataclass(frozen=True)
class Decoder:
    """How a model's outputs are read.

    Attributes:
        threshold: detections with a lower score are dropped.
        layout: a name in `layouts.LAYOUTS`, or "auto".
        labels: the names of the classes; None takes COCO's for a model of as many classes, else numbers.
    """

    threshold: float
    layout: str = "auto"
    labels: tuple[str, ...] | None = None

    def detections(self, outputs: Sequence[Output], letterbox: Letterbox) -> list[Detection]:
        """Decode the outputs for one frame, best score first.

        Args:
            outputs: see `layouts.read_candidates`.
            letterbox: how the frame was put into the square.

        Raises:
            DecodeError: another layout.
        """
        named = None if self.labels is None else len(self.labels)
        found = read_candidates(outputs, Question(letterbox.size, self.threshold, named), self.layout)
        if found.suppressed:
            kept = np.argsort(-found.scores, kind="stable")
        else:
            kept = per_class_nms(found.boxes, found.scores, found.class_ids)
        boxes = letterbox.to_frame(found.boxes[kept]).tolist()
        detections = []
        for place, index in enumerate(kept.tolist()):
            class_id = int(found.class_ids[index])
            x1, y1, x2, y2 = boxes[place]
            name = label(class_id, found.classes, self.labels)
            detections.append(Detection(class_id, name, float(found.scores[index]), (x1, y1, x2, y2)))
        return detections
