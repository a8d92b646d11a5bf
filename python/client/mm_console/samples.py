"""Inputs at hand: a picture, a video, a recording and texts, made by code."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from mm_client.letterbox import Image

_WIDTH, _HEIGHT, _FPS, _FRAMES = 640, 400, 20.0, 60
_RATE, _SECONDS = 16_000, 2.0
TEXTS = "The quick brown fox jumps over the lazy dog.\nA fast, brown animal leaps over a sleepy hound.\n"
PROMPT = "What is a picnic? Answer in one sentence."
# Colours are ends of the cube, BGR; then the way over the picture, x, y, dx and dy in pixels; size; round or not.
_SHAPES = (
    ((0, 0, 255), (150, 120, 2.0, 0.5), 90, False),
    ((255, 0, 0), (500, 300, -3.0, -0.4), 110, False),
    ((0, 255, 255), (420, 110, -0.8, 0.6), 100, True),
    ((0, 255, 0), (130, 310, 1.5, -0.6), 80, True),
)


def picture(path: Path) -> None:
    """Write coloured shapes as a PNG."""
    cv2.imwrite(str(path), _frame(0))


def video(path: Path) -> None:
    """Write moving shapes as an MP4; the later ones come one after the other."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _FPS, (_WIDTH, _HEIGHT))
    for number in range(_FRAMES):
        writer.write(_frame(number, 1 + number * len(_SHAPES) // _FRAMES))
    writer.release()


def recording(path: Path) -> None:
    """Write two rising tones as a WAV of 16 bits."""
    time = np.arange(int(_RATE * _SECONDS)) / _RATE
    sweep = np.sin(2 * np.pi * (200 * time + 900 * time**2)) * np.exp(-((time - 1.2) ** 2))
    samples = (0.6 * sweep + 0.2 * np.sin(2 * np.pi * 440 * time)) * 0.9
    data = np.round(samples * 32767).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, _RATE, _RATE * 2, 2, 16)
    path.write_bytes(head + struct.pack("<4sI", b"data", len(data)) + data)


MAKERS: Mapping[str, Callable[[Path], None]] = {
    "sample.png": picture,
    "sample.mp4": video,
    "sample.wav": recording,
}


class Samples:
    """The files of `MAKERS`, each made when it is first asked for.

    Args:
        folder: an empty folder of the console's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def path(self, name: str) -> Path:
        """Return one of them."""
        path = self._folder / name
        with self._lock:
            if not path.exists():
                MAKERS[name](path)
        return path


def _frame(number: int, shapes: int = len(_SHAPES)) -> Image:
    image = np.full((_HEIGHT, _WIDTH, 3), 40, np.uint8)
    image[::2] += 8
    for colour, (x, y, dx, dy), size, is_round in _SHAPES[:shapes]:
        middle = (round(x + dx * number), round(y + dy * number))
        if is_round:
            cv2.circle(image, middle, size // 2, colour, cv2.FILLED)
        else:
            half = size // 2
            corners = ((middle[0] - half, middle[1] - half), (middle[0] + half, middle[1] + half))
            cv2.rectangle(image, *corners, colour, cv2.FILLED)
    return image
