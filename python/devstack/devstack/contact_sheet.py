"""A picture of a video's frames in a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_COLUMNS, _ROWS = 4, 3
_TILE_WIDTH = 480
_MARGIN, _CAPTION, _HEADER = 16, 30, 84
# BGR
_PAPER, _INK, _FAINT = (24, 20, 18), (235, 230, 225), (150, 140, 130)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def write(video: Path, rows: Sequence[Mapping[str, Any]], title: str, subtitle: str, picture: Path) -> None:
    """Writes frames that are spread evenly over a video, each with its number and what was found.

    Args:
        video: the annotated video.
        rows: mm-client's line for each frame; the video has as many frames.
        title: first line of the heading.
        subtitle: second line.
        picture: PNG file to write.

    Raises:
        OSError: the video cannot be read or the picture not be written.
    """
    numbers = np.unique(np.linspace(0, len(rows) - 1, _COLUMNS * _ROWS + 2).round().astype(int)[1:-1])
    tiles = [_tile(frame, rows[number], int(number)) for number, frame in _frames(video, set(numbers.tolist()))]
    if not tiles:
        raise OSError(f"cannot read frames from {video}; expected a video with {len(rows)} frames")
    height, width = tiles[0].shape[:2]
    lines = -(-len(tiles) // _COLUMNS)
    sheet = np.full((_HEADER + lines * (height + _MARGIN), _COLUMNS * (width + _MARGIN) + _MARGIN, 3), _PAPER, np.uint8)
    _write_text(sheet, title, (_MARGIN, 38), 0.95, _INK, 2)
    _write_text(sheet, subtitle, (_MARGIN, 66), 0.55, _FAINT, 1)
    for index, tile in enumerate(tiles):
        top = _HEADER + index // _COLUMNS * (height + _MARGIN)
        left = _MARGIN + index % _COLUMNS * (width + _MARGIN)
        sheet[top : top + height, left : left + width] = tile
    if not cv2.imwrite(str(picture), sheet):
        raise OSError(f"cannot write {picture}; expected a folder that can be written to")


def _frames(video: Path, wanted: set[int]) -> list[tuple[int, NDArray[np.uint8]]]:
    capture = cv2.VideoCapture(str(video))
    frames = []
    for number in range(max(wanted) + 1):
        # Decoding in order: seeking in an MP4 may land on the wrong frame.
        if not capture.grab():
            break
        if number in wanted:
            frames.append((number, np.asarray(capture.retrieve()[1], np.uint8)))
    capture.release()
    return frames


def _tile(frame: NDArray[np.uint8], row: Mapping[str, Any], number: int) -> NDArray[np.uint8]:
    height = round(frame.shape[0] * _TILE_WIDTH / frame.shape[1])
    tile = np.full((height + _CAPTION, _TILE_WIDTH, 3), _PAPER, np.uint8)
    tile[:height] = cv2.resize(frame, (_TILE_WIDTH, height), interpolation=cv2.INTER_AREA)
    cv2.rectangle(tile, (0, 0), (_TILE_WIDTH - 1, height - 1), (70, 62, 56), 1)
    count = row.get("count")
    found = "failed" if count is None else "nothing" if count == 0 else f"{count} object{'s' if count > 1 else ''}"
    _write_text(tile, f"frame {number}", (2, height + 21), 0.5, _INK, 1)
    width = cv2.getTextSize(found, _FONT, 0.5, 1)[0][0]
    _write_text(tile, found, (_TILE_WIDTH - width - 2, height + 21), 0.5, _FAINT, 1)
    return tile


def _write_text(
    image: NDArray[np.uint8], text: str, place: tuple[int, int], scale: float, colour: tuple[int, int, int], weight: int
) -> None:
    cv2.putText(image, text, place, _FONT, scale, colour, weight, cv2.LINE_AA)
