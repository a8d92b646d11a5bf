"""A video through a detector: each frame's objects counted, drawn, and plotted over time."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import cv2

from mm_client import video
from mm_client.options import VIDEO_OPTIONS, read_options
from mm_client.outputs import LOG, VIDEO
from mm_client_api import Model
from mm_console.blocks import Answer, Film, Plot, Table
from mm_console.kinds import picture_input
from mm_console.plots import lines
from mm_console.problems import Problem
from mm_console.results import Result

_PREVIEW = "preview.webm"
_PREVIEW_WIDTH = 640
# Nobody can tell more lines in a plot from each other.
_MOST_SERIES = 6


class _StoppedError(Exception):
    """Nobody waits for the answer any more."""


def run(
    model: Model, path: Path, threshold: float, frames: int, settings: Mapping[str, Any], result: Result
) -> Generator[int | Answer, None, None]:
    """Take a video through the pipeline of `mm-client`.

    Args:
        model: a detector with a square input.
        path: of the video.
        threshold: detections with a lower score are dropped.
        frames: most frames; 0 takes all.
        settings: address and TLS of the proxy, and the longest time for a request.
        result: where files go.

    Yields:
        How many frames are done, and in the end the answer.

    Raises:
        Problem: the model takes no video.
        MediaError: the file is none.
        TritonClientError: the stream broke.
    """
    wanted = picture_input(model.description)
    if wanted is None or wanted.square is None:
        raise Problem(f"Model {model.name} takes no video.", "A detector with a square input.", "Send arrays.")
    chosen = {
        **read_options(VIDEO_OPTIONS, {"VIDEO_PATH": str(path)}, {}),
        **settings,
        "results_dir": str(result.folder),
        "conf_thres": threshold,
        "max_frames": frames,
        "model_name": model.name,
        "model_version": model.version,
        "input_name": wanted.name,
        "input_dtype": wanted.datatype,
        "output_names": tuple(model.outputs),
        "img_size": wanted.square,
    }
    rows: list[Mapping[str, Any]] = []
    summary = None
    with contextlib.closing(_steps(chosen)) as steps:
        for step in steps:
            if isinstance(step, video.Summary):
                summary = step
            else:
                rows.append(step)
                yield len(rows)
    if summary is not None:
        yield _answer(summary, rows, model, result)


def _steps(settings: dict[str, Any]) -> Generator[Mapping[str, Any] | video.Summary, None, None]:
    """Run the pipeline in a thread, and yield its rows as they come, then its summary."""
    steps: queue.SimpleQueue[Mapping[str, Any] | video.Summary | Exception] = queue.SimpleQueue()
    stopped = threading.Event()

    def note(row: Mapping[str, Any]) -> None:
        if stopped.is_set():
            raise _StoppedError
        steps.put(row)

    def work() -> None:
        try:
            steps.put(video.run(settings, note))
        except Exception as error:  # noqa: BLE001 - raised where somebody sees it
            steps.put(error)

    threading.Thread(target=work, name="video", daemon=True).start()
    try:
        while True:
            step = steps.get()
            if isinstance(step, Exception):
                raise step
            yield step
            if isinstance(step, video.Summary):
                return
    finally:
        # It ends at its next frame; to wait for that would hold up all pages.
        stopped.set()


def _answer(summary: video.Summary, rows: list[Mapping[str, Any]], model: Model, result: Result) -> Answer:
    rate = summary.frames / summary.seconds if summary.seconds else 0.0
    answer = Answer(
        f"{model.name} version {model.version}: {summary.frames} frames in {summary.seconds:.1f} s, "
        f"{rate:.1f} frames a second, {summary.failed} failed",
        notes=[f"{note[:1].upper()}{note[1:]}." for note in summary.notes],
    )
    for status, count in summary.errors.most_common():
        answer.notes.append(f"{count} frames failed with {status}; the first: {summary.examples[status]}")
    if _write_preview(result.folder / VIDEO, result.folder / _PREVIEW):
        answer.blocks.append(Film("The video with its detections", result.address(_PREVIEW)))
    answer.blocks += [Plot("Objects over time", _counts(rows)), _totals(rows)]
    answer.downloads = [(name, result.address(name)) for name in (VIDEO, LOG) if (result.folder / name).exists()]
    return answer


def _labels(rows: list[Mapping[str, Any]]) -> list[str]:
    seen: Counter[str] = Counter()
    for row in rows:
        seen.update(row.get("counts", {}))
    return [label for label, _ in seen.most_common()]


def _counts(rows: list[Mapping[str, Any]]) -> str:
    series = {
        label: [(row["ts_ms"] / 1000, float(row["counts"].get(label, 0))) for row in rows if "counts" in row]
        for label in _labels(rows)[:_MOST_SERIES]
    }
    return lines("Objects in each frame over time", series, "seconds", "objects", stepped=True)


def _totals(rows: list[Mapping[str, Any]]) -> Table:
    found = []
    for label in _labels(rows):
        counts = [row["counts"].get(label, 0) for row in rows if "counts" in row]
        found.append((label, str(max(counts)), str(sum(map(bool, counts))), f"{sum(counts) / len(counts):.2f}"))
    return Table("Objects by label", ("Label", "Most in a frame", "Frames with it", "Mean per frame"), found)


def _write_preview(source: Path, target: Path) -> bool:
    """Write a video again as VP8, which browsers play where they do not play MPEG-4; returns whether that worked."""
    capture = cv2.VideoCapture(str(source))
    writer = None
    with contextlib.closing(_Release(capture)):
        good, frame = capture.read()
        if not good:
            return False
        scale = min(1.0, _PREVIEW_WIDTH / frame.shape[1])
        size = (round(frame.shape[1] * scale) // 2 * 2, round(frame.shape[0] * scale) // 2 * 2)
        writer = cv2.VideoWriter(
            str(target), cv2.VideoWriter.fourcc(*"VP80"), capture.get(cv2.CAP_PROP_FPS) or 25.0, size
        )
        with contextlib.closing(_Release(writer)):
            while good:
                writer.write(cv2.resize(frame, size, interpolation=cv2.INTER_AREA))
                good, frame = capture.read()
    return target.exists() and target.stat().st_size > 0


class _Release:
    """Something of OpenCV's, to be closed."""

    def __init__(self, held: cv2.VideoCapture | cv2.VideoWriter) -> None:
        self._held = held

    def close(self) -> None:
        self._held.release()
