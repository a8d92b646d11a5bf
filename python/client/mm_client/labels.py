"""Names of classes: given in a file, kept in an ONNX file's metadata, or COCO's."""

from __future__ import annotations

import ast
from pathlib import Path

from mm_client.onnx_metadata import read_metadata
from mm_client.options import UsageError
from mm_client.text_files import read_lines

# In the order of YOLO's published weights.
COCO = tuple(
    """person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|parking meter|
bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|frisbee|skis|
snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork|
knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed|
dining table|toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|refrigerator|book|clock|
vase|scissors|teddy bear|hair drier|toothbrush""".replace("\n", "").split("|")
)
_EXPECTED = "expected coco, a text file with one name per line, or an .onnx file with names in its metadata"
_OTHER_FORMATS = (".json", ".pbtxt", ".pt", ".yaml", ".yml")


def read_labels(given: str) -> tuple[str, ...] | None:
    """Read the names of a model's classes, the first being that of class 0.

    Args:
        given: "coco"; a text file, one name per line; an ONNX file with the metadata that Ultralytics' exporter writes
            (key "names"); empty where nothing is given.

    Returns:
        The names; None where nothing is given.

    Raises:
        UsageError: there are none in it.
    """
    if not given:
        return None
    if given == "coco":
        return COCO
    path = Path(given)
    try:
        if path.suffix.lower() == ".onnx":
            return _names(read_metadata(path).get("names", ""))
        if path.suffix.lower() in _OTHER_FORMATS:
            raise ValueError(f"it is no text with one name per line, but {path.suffix}")
        names = tuple(line.strip() for line in read_lines(path))
        if not any(names):
            raise ValueError("it is empty")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"MM_LABELS (--labels) {given} cannot be read: {reason}; {_EXPECTED}") from error
    return names


def label(class_id: int, classes: int | None, names: tuple[str, ...] | None) -> str:
    """Return the name of a class.

    Args:
        class_id: from 0.
        classes: how many the model has; None where its output does not say.
        names: see `read_labels`. Without them those of COCO, if the model has as many classes, else numbers.
    """
    known = names if names is not None else COCO if classes == len(COCO) else ()
    name = known[class_id] if class_id < len(known) else ""
    return name or f"class {class_id}"


def _names(text: str) -> tuple[str, ...]:
    # Ultralytics writes Python's text of a dict, {0: 'person', 1: 'bicycle'}, or of a list.
    try:
        value = ast.literal_eval(text)
        names = dict(enumerate(value)) if isinstance(value, (list, tuple)) else {int(key): value[key] for key in value}
    except (SyntaxError, TypeError, ValueError):
        names = {}
    if not names or min(names) < 0 or max(names) >= 100_000:
        raise ValueError("its metadata has no names of classes")
    return tuple(str(names.get(class_id, "")) for class_id in range(max(names) + 1))
