"""A picture through a model: boxes where it is a detector, scores or arrays where it is not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np

from mm_client.layouts import DecodeError
from mm_client.letterbox import Image, Letterbox, to_tensor
from mm_client.pictures import read_picture
from mm_client.render import draw
from mm_client.yolo import Decoder, Detection
from mm_client_api import Model, NamedArrays
from mm_client_api.tensors import Array
from mm_console.blocks import Answer, Picture, Table, labelled, outputs_table, save_arrays, summary_of
from mm_console.kinds import PictureInput, picture_input
from mm_console.problems import Problem
from mm_console.results import Result

_SHOWN_DETECTIONS = 100


def run(model: Model, path: Path, threshold: float, result: Result) -> Answer:
    """Send a picture.

    Args:
        model: takes one, by `kinds.picture_input`.
        path: of the picture: JPEG, PNG or WebP.
        threshold: detections with a lower score are dropped.
        result: where files go.

    Raises:
        Problem: the model takes no picture.
        MediaError: the file is none.
        AckError, CallError: as `Model`.
    """
    wanted = picture_input(model.description)
    if wanted is None:
        raise Problem(
            f"Model {model.name} takes no picture.", "A model with one input of three colours.", "Send arrays."
        )
    image = read_picture(path)
    height, width = image.shape[:2]
    letterbox = Letterbox(width, height, wanted.square) if wanted.square is not None and wanted.planar else None
    tensor = _tensor(image, wanted, letterbox)
    began = time.perf_counter()
    arrays = model({wanted.name: tensor})
    answer = Answer(summary_of(arrays.result, (time.perf_counter() - began) * 1000))
    sent = f"{width} × {height} pixels, sent as {wanted.datatype} {list(tensor.shape)}"
    detections = _detections(arrays, letterbox, threshold, answer)
    if detections is None:
        data = _png(image)
        answer.blocks.append(Picture(sent, result.write("picture.png", data), "The picture that was sent"))
    else:
        _show(answer, image, detections, sent, result)
    answer.blocks += [*labelled(arrays, model.description)]
    answer.blocks.append(outputs_table(arrays, {name: spec.datatype for name, spec in model.outputs.items()}))
    save_arrays(answer, result, arrays)
    return answer


def _detections(
    arrays: NamedArrays, letterbox: Letterbox | None, threshold: float, answer: Answer
) -> list[Detection] | None:
    if letterbox is None:
        return None
    try:
        return Decoder(threshold).detections(list(arrays.values()), letterbox)
    except DecodeError as error:
        # The rest is about flags of the command.
        answer.notes.append(f"No boxes are drawn: {str(error).partition('. ')[0]}.")
        return None


def _show(answer: Answer, image: Image, detections: list[Detection], sent: str, result: Result) -> None:
    drawn = image.copy()
    draw(drawn, detections)
    labels = ", ".join(f"{one.label} {one.score:.2f}" for one in detections[:_SHOWN_DETECTIONS]) or "nothing found"
    address = result.write("annotated.png", _png(drawn))
    found = "1 object found" if len(detections) == 1 else f"{len(detections)} objects found"
    answer.blocks.append(Picture(f"{found}; {sent}", address, f"The picture with its detections: {labels}"))
    rows = [
        (one.label, f"{one.score:.3f}", *(f"{edge:.0f}" for edge in one.box)) for one in detections[:_SHOWN_DETECTIONS]
    ]
    answer.blocks.append(Table("Detections", ("Label", "Score", "Left", "Top", "Right", "Bottom"), rows))
    listed = json.dumps([one.as_json() for one in detections], indent=2).encode()
    answer.downloads += [("annotated.png", address), ("detections.json", result.write("detections.json", listed))]


def _tensor(image: Image, wanted: PictureInput, letterbox: Letterbox | None) -> Array:
    """Return a picture `[height, width, 3]`, BGR, as the model's tensor, `[1, …]`, of RGB."""
    if letterbox is not None:
        planes: Array = to_tensor(letterbox.apply(image))
    else:
        height, width = image.shape[:2]
        size = (wanted.width or width, wanted.height or height)
        planes = to_tensor(image if size == (width, height) else _resized(image, size))
    if not wanted.planar:
        planes = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return np.round(planes * 255).astype(np.uint8) if wanted.datatype == "UINT8" else planes


def _png(image: Image) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


def _resized(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
