"""What a run writes into its results folder: a line, and a picture, for each frame."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2

from mm_client.letterbox import Image
from mm_client.media import Frame, MediaError
from mm_client.options import UsageError
from mm_client.pictures import SUFFIXES
from mm_client.video_io import VideoSink

LOG, VIDEO, PICTURES = "frame_counts.jsonl", "annotated.mp4", "annotated"


class Outputs:
    """`frame_counts.jsonl`, `annotated.mp4` and, for pictures, the folder `annotated` with each in its own size.

    What cannot be drawn or encoded is noted in `problem`, and is no reason to stop: the lines go on.

    Args:
        folder: the results folder; made if need be.
        source: the path or address that is read, which must not be written over.
        fps: frames per second of the video.

    Attributes:
        files: what was written.
        problem: why pictures are lacking; empty where none are.

    Raises:
        UsageError: the folder cannot be written, or holds what is read.
    """

    def __init__(self, folder: Path, source: str, fps: float) -> None:
        self.files: list[Path] = []
        self.problem = ""
        self._folder = folder
        self._fps = fps
        self._video: VideoSink | None = None
        self._stack = ExitStack()
        read, drawn = Path(source).resolve(), (folder / PICTURES).resolve()
        if read in ((folder / VIDEO).resolve(), drawn) or read.parent == drawn:
            raise UsageError(
                f"RESULTS_DIR (--results) {folder} would write over {source}, which is read; name another folder"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # The last run's would lie beside the lines of this one.
            (folder / VIDEO).unlink(missing_ok=True)
            self._log = self._stack.enter_context((folder / LOG).open("w", encoding="utf-8", buffering=1))
        except OSError as error:
            raise UsageError(f"RESULTS_DIR (--results) {folder} cannot be written: {error.strerror}") from error
        self.files.append(folder / LOG)

    def write_row(self, row: dict[str, Any]) -> None:
        """Append a line to frame_counts.jsonl."""
        self._log.write(json.dumps(row) + "\n")

    def write_frame(self, frame: Frame) -> None:
        """Append a drawn frame to the video, and save it if it is a picture."""
        try:
            if not self.problem:
                self._append(frame.image)
            if frame.file is not None:
                self._save(frame.image, self._folder / PICTURES / frame.file.name)
        except (MediaError, OSError) as error:
            self.problem = self.problem or str(error)

    def finish(self) -> None:
        """Finish the video and look whether it is complete."""
        try:
            if self._video is not None:
                self._video.finish()
        except MediaError as error:
            self.problem = self.problem or str(error)

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def _append(self, image: Image) -> None:
        if self._video is None:
            height, width = image.shape[:2]
            path = self._folder / VIDEO
            self._video = self._stack.enter_context(VideoSink(path, self._fps, width, height))
            self.files.append(path)
        self._video.write(image)

    def _save(self, image: Image, path: Path) -> None:
        if path.suffix.lower() not in SUFFIXES:
            path = path.with_name(f"{path.name}.png")
        if path.parent not in self.files:
            path.parent.mkdir(exist_ok=True)
            self.files.append(path.parent)
        try:
            good, data = cv2.imencode(path.suffix, image)
        except cv2.error as error:
            raise MediaError(f"{path} cannot be written as a picture: {error.err}") from error
        if not good:
            raise MediaError(f"{path} cannot be written as a picture")
        path.write_bytes(data.tobytes())

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
