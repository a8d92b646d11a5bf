"""Pictures in place of a video: a file, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mm_client.letterbox import Image
from mm_client.media import Frame, MediaError, Unreadable

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
# A camera's stream of JPEGs, one after the other, begins as a picture does.
_STREAMS = (".mjpeg", ".mjpg")
# annotated.mp4 shows each for a second.
_PICTURES_PER_SECOND = 1.0
_EXPECTED = "expected JPEG, PNG or WebP"
_BEGINNINGS = ((0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (8, b"WEBP"))


def is_picture(path: Path) -> bool:
    """Whether a file is a picture: by its suffix, or by how it begins."""
    if path.suffix.lower() in (*SUFFIXES, *_STREAMS):
        return path.suffix.lower() in SUFFIXES
    try:
        with path.open("rb") as file:
            beginning = file.read(16)
    except OSError:
        return False
    return any(beginning.startswith(mark, at) for at, mark in _BEGINNINGS)


def read_picture(path: Path) -> Image:
    """Read a picture as `[height, width, 3]`, BGR, upright by its EXIF orientation; transparency is dropped.

    Raises:
        MediaError: it cannot be decoded.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    except cv2.error as error:
        raise MediaError(f"{path} cannot be decoded as a picture ({error.err}); {_EXPECTED}") from error
    if image is None:
        raise MediaError(f"{path} cannot be decoded as a picture: it is damaged or of another format; {_EXPECTED}")
    return np.asarray(image, np.uint8)


class PictureSource:
    """One picture, or those of a folder in the order of their names; folders in it are not looked into.

    Args:
        path: the file or the folder.

    Raises:
        MediaError: the folder cannot be read, or has no pictures.
    """

    def __init__(self, path: Path) -> None:
        self.fps = _PICTURES_PER_SECOND
        self.missing = 0
        self._files = [path]
        self.left_out: tuple[str, ...] = ()
        if path.is_dir():
            try:
                # A name that begins with a dot is hidden: macOS keeps ._x.jpg beside x.jpg.
                files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
            except OSError as error:
                raise MediaError(f"the folder {path} cannot be read: {error.strerror}") from error
            self._files = [file for file in files if file.suffix.lower() in SUFFIXES]
            self.left_out = tuple(file.name for file in files if file not in self._files)
            if not self._files:
                raise MediaError(f"the folder {path} has no pictures; expected files that end in {', '.join(SUFFIXES)}")
        self.frame_count = len(self._files)
        self._closed = False

    def frames(self, limit: int = 0) -> Iterator[Frame | Unreadable]:
        """See `media.Source`."""
        for number, file in enumerate(self._files[: limit or None]):
            if self._closed:
                return
            ts_ms = number * 1000 / self.fps
            try:
                yield Frame(read_picture(file), ts_ms, file)
            except MediaError as error:
                yield Unreadable(file, ts_ms, str(error))

    def close(self) -> None:
        """See `media.Source`."""
        self._closed = True
