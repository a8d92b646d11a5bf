"""Reading a video frame by frame and writing one."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from mm_client.addresses import is_address, masked_address
from mm_client.letterbox import Image
from mm_client.media import Frame, MediaError

_FPS_WHERE_UNKNOWN = 25.0
# Containers that do not know their rate say that of their clock instead, such as 1000 or 90000.
_PLAUSIBLE_FPS = 120.0
_FRAMES_TO_MEASURE = 30
# MPEG-4 writes a frame's time in ticks, of which a second has at most 65535 (ISO/IEC 14496-2, vop_time_increment).
_MOST_TICKS = 65535
_LOWEST_FPS = 0.1
# FFmpeg's encoder refuses sides from 8192; OpenCV cuts odd ones by a pixel, since colours are kept for each second one.
_LARGEST_SIDE, _SMALLEST_SIDE = 8190, 2
# How much shorter than its container says a video may be: what that says is often rounded, or counts sound as well.
_SHORT_SHARE, _SHORT_FRAMES = 0.02, 2


class VideoSource:
    """A video that is read one frame at a time, upright and in colour as OpenCV makes it.

    OpenCV scales frames whose size changes under way to the size of the first.

    Args:
        path: a file, or an address that OpenCV can open.

    Raises:
        MediaError: it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._name = masked_address(path)
        if not is_address(path) and not Path(path).exists():
            raise MediaError(f"there is no file or folder {self._name}")
        self._capture = _opened(path)
        # Frames are read in gRPC's sending thread, which may still be reading when the pipeline ends; OpenCV crashes
        # when a capture is released under a read.
        self._lock = threading.Lock()
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if not self._capture.isOpened() or self.width <= 0 or self.height <= 0:
            reason = "not reachable, or asks for a user and a password" if is_address(path) else "empty or damaged"
            raise MediaError(
                f"{self._name} cannot be read as a video: it is {reason}, or of another format; "
                "expected what OpenCV reads, such as MP4"
            )
        declared = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = declared
        if not math.isfinite(declared) or not 0 < declared <= _PLAUSIBLE_FPS:
            self.fps = (0.0 if is_address(path) else _measured_fps(path)) or _FPS_WHERE_UNKNOWN
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # OpenCV calculates it from the duration, and the rate as declared, where the container does not say it. It is 0
        # or negative for a live stream.
        self._duration_secs = count / declared if count > 0 and declared > 0 else 0.0
        self.frame_count = int(count) if count > 0 and declared == self.fps else round(self._duration_secs * self.fps)
        self.missing = 0
        self.left_out: tuple[str, ...] = ()

    def frames(self, limit: int = 0) -> Iterator[Frame]:
        """See `media.Source`; a frame's time is the container's, or by the rate where it has none."""
        number, ts_ms = 0, -math.inf
        while not limit or number < limit:
            with self._lock:
                good, image = self._capture.read()
                own_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            if not good:
                self.missing = self._missing(number, ts_ms)
                break
            by_rate = 0.0 if number == 0 else ts_ms + 1000 / self.fps
            ts_ms = own_ms if math.isfinite(own_ms) and own_ms >= 0 and own_ms > ts_ms else by_rate
            yield Frame(np.asarray(image, np.uint8), ts_ms)
            number += 1
        if number == 0:
            raise MediaError(f"{self._name} has no frame that can be decoded; expected a video with at least one")

    def close(self) -> None:
        """See `media.Source`."""
        with self._lock:
            self._capture.release()

    def _missing(self, read: int, last_ms: float) -> int:
        """How many frames did not come, if the video ends well before what its container says, by count and by time."""
        missing = self.frame_count - read
        short_secs = self._duration_secs - last_ms / 1000 - 1 / self.fps
        by_count = missing > max(_SHORT_FRAMES, self.frame_count * _SHORT_SHARE)
        by_time = short_secs > max(_SHORT_FRAMES / self.fps, self._duration_secs * _SHORT_SHARE)
        return missing if read and by_count and by_time else 0

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class VideoSink:
    """An MP4 that frames are appended to; those of another size are fitted into the first one's.

    Args:
        path: the file; one that is there is replaced.
        fps: frames per second; the nearest is taken that MPEG-4 can hold.
        width: of a frame, in pixels; the video is smaller where MPEG-4 cannot hold it.
        height: of a frame, in pixels.

    Raises:
        MediaError: it cannot be written.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self._path = path
        self._frames = 0
        self._size = _encodable_size(width, height)
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), fourcc, encodable_fps(fps), self._size)
        if not self._writer.isOpened():
            raise MediaError(f"{path} cannot be written as a video of {self._size[0]}×{self._size[1]} pixels")

    def write(self, frame: Image) -> None:
        """Append a frame `[height, width, 3]`, BGR.

        Raises:
            MediaError: it cannot be written.
        """
        try:
            self._writer.write(_fitted(frame, *self._size))
        except cv2.error as error:
            raise MediaError(f"{self._path} cannot be written: {error.err}") from error
        self._frames += 1

    def finish(self) -> None:
        """Finish the file and look whether it is complete: OpenCV does not say when a disk is full.

        Raises:
            MediaError: it is not.
        """
        self.close()
        capture = cv2.VideoCapture(str(self._path))
        frames = capture.get(cv2.CAP_PROP_FRAME_COUNT) if capture.isOpened() else 0
        capture.release()
        if frames < self._frames:
            raise MediaError(f"{self._path} is not complete; expected room on the disk for it")

    def close(self) -> None:
        """Finish the file; without this it cannot be played."""
        self._writer.release()

    def __enter__(self) -> VideoSink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encodable_fps(fps: float) -> float:
    """Return the nearest rate that OpenCV can write as MPEG-4: a fraction of few decimals, with at most 65535 above."""
    for base in (1000, 100, 10, 1):
        rate = Fraction(round(fps * base), base)
        if rate.numerator <= _MOST_TICKS:
            return max(float(rate), _LOWEST_FPS)
    return float(_MOST_TICKS)


def _opened(path: str) -> cv2.VideoCapture:
    # The other backends of OpenCV take an address for the name of a file, and print it, password and all.
    return cv2.VideoCapture(path, cv2.CAP_FFMPEG) if is_address(path) else cv2.VideoCapture(path)


def _measured_fps(path: str) -> float:
    """The rate of the first frames by their own times; 0 where they have none."""
    capture = _opened(path)
    times: list[float] = []
    while len(times) < _FRAMES_TO_MEASURE and capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    capture.release()
    span = times[-1] - times[0] if times else 0.0
    return (len(times) - 1) * 1000 / span if math.isfinite(span) and span > 0 else 0.0


def _encodable_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _LARGEST_SIDE / max(width, height))
    return max(_SMALLEST_SIDE, round(width * scale)), max(_SMALLEST_SIDE, round(height * scale))


def _fitted(frame: Image, width: int, height: int) -> Image:
    """The frame itself, if it has that size, else scaled into the middle of black."""
    if frame.shape[:2] == (height, width):
        return frame
    scale = min(width / frame.shape[1], height / frame.shape[0])
    inner_width = min(width, max(1, round(frame.shape[1] * scale)))
    inner_height = min(height, max(1, round(frame.shape[0] * scale)))
    left, top = (width - inner_width) // 2, (height - inner_height) // 2
    fitted = np.zeros((height, width, 3), np.uint8)
    fitted[top : top + inner_height, left : left + inner_width] = cv2.resize(
        frame, (inner_width, inner_height), interpolation=cv2.INTER_AREA
    )
    return fitted
