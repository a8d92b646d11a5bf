"""Reading a video frame by frame and writing one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from mm_client.yolo import Image

_FPS_WHERE_UNKNOWN = 25.0


class MediaError(Exception):
    """A video cannot be read or written; the text says which and why."""


class VideoSource:
    """A video that is read one frame at a time.

    Args:
        path: a file, or an address that OpenCV can open.

    Raises:
        MediaError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        if "://" not in path and not Path(path).is_file():
            raise MediaError(f"there is no video file {path}")
        # FFmpeg inside OpenCV otherwise writes its own complaints between ours; it reads this at its first use.
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
        self._path = path
        self._capture = cv2.VideoCapture(path)
        # Frames are read in gRPC's sending thread, which may still be reading when the pipeline ends; OpenCV crashes
        # when a capture is released under a read.
        self._lock = threading.Lock()
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not self._capture.isOpened() or not self.width or not self.height:
            raise MediaError(f"{path} cannot be read as a video; expected a format that OpenCV reads, such as MP4")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if np.isfinite(fps) and fps > 0 else _FPS_WHERE_UNKNOWN
        # What the container says; it may be wrong, and is 0 for a live stream.
        self.frame_count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames(self, limit: int = 0) -> Iterator[Image]:
        """Yield the frames `[height, width, 3]`, BGR; at most `limit` of them, where it is not 0.

        Raises:
            MediaError: not a single frame can be decoded.
        """
        number = 0
        while not limit or number < limit:
            with self._lock:
                good, frame = self._capture.read()
            if not good:
                break
            yield np.asarray(frame, np.uint8)
            number += 1
        if number == 0:
            raise MediaError(f"{self._path} has no frame that can be decoded")

    def close(self) -> None:
        """Let go of the file; a reader finds the video at its end."""
        with self._lock:
            self._capture.release()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoSink:
    """An MP4 that frames are appended to.

    Args:
        path: the file; one that is there is replaced.
        fps: frames per second.
        width: of each frame, in pixels.
        height: of each frame, in pixels.

    Raises:
        MediaError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), fourcc, fps, (width, height))
        if not self._writer.isOpened():
            raise MediaError(f"{path} cannot be written as a video of {width}×{height} pixels")

    def write(self, frame: Image) -> None:
        """Append a frame `[height, width, 3]`, BGR."""
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the file; without this it cannot be played."""
        self._writer.release()

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
