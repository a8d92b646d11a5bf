"""The video pipeline: read, letterbox, infer over one stream, decode, count, draw."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from mm_client.options import UsageError
from mm_client.render import draw, draw_error
from mm_client.video_io import VideoSink, VideoSource
from mm_client.yolo import DecodeError, Image, Letterbox, detections, to_tensor
from mm_client_api import InferenceRequest, InferenceResult, ProtocolError, TritonClient
from mm_client_api.tensors import encode_view

__all__ = ["Summary", "run"]


@dataclass
class Summary:
    """What a run did.

    Attributes:
        frames: answered frames.
        errors: failed frames by status.
        examples: the first failure's text by status.
        seconds: wall time.
        files: what was written.
    """

    frames: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    files: tuple[Path, ...] = ()

    def line(self) -> str:
        """One line for people."""
        fps = self.frames / self.seconds if self.seconds else 0.0
        files = " and ".join(str(path) for path in self.files)
        return f"{self.frames} frames, {fps:.1f} frames/s, {self.errors.total()} failed; wrote {files}"


@dataclass(frozen=True)
class _Sent:
    """A frame that waits for its answer."""

    frame: Image
    sent_at: float


def run(settings: dict[str, Any]) -> Summary:
    """Take a video through the model.

    Args:
        settings: values of `VIDEO_OPTIONS` by lower-case environment name.

    Raises:
        UsageError: no video is given, or the results folder cannot be made.
        MediaError: the video cannot be read or written.
        TritonClientError: the stream cannot be opened or breaks; what was answered before is in the files.
    """
    results = Path(settings["results_dir"])
    with ExitStack() as stack:
        source = stack.enter_context(VideoSource(settings["video_path"]))
        client = stack.enter_context(
            TritonClient(settings["mm_addr"], tls=settings["mm_tls"], ca_bundle=settings["mm_ca_bundle"] or None)
        )
        try:
            results.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context((results / "frame_counts.jsonl").open("w", encoding="utf-8", buffering=1))
        except OSError as error:
            raise UsageError(f"RESULTS_DIR (--results) {results} cannot be written: {error.strerror}") from error
        sink = stack.enter_context(VideoSink(results / "annotated.mp4", source.fps, source.width, source.height))
        pipeline = _Pipeline(settings, source, sink, log)
        pipeline.summary.files = (results / "frame_counts.jsonl", results / "annotated.mp4")
        return pipeline.run(client)


class _Pipeline:
    def __init__(self, settings: dict[str, Any], source: VideoSource, sink: VideoSink, log: TextIO) -> None:
        self.summary = Summary()
        self._settings = settings
        self._source = source
        self._sink = sink
        self._log = log
        self._letterbox = Letterbox(source.width, source.height, settings["img_size"])
        size = settings["img_size"]
        self._shape = settings["input_shape"] or (1, 3, size, size)
        # The client's window and batches bound it: requests are taken only as answers are.
        self._waiting: deque[_Sent] = deque()

    def run(self, client: TritonClient) -> Summary:
        started = time.monotonic()
        limit = self._settings["max_frames"]
        known = self._source.frame_count
        total = min(known, limit) if known and limit else known or limit or None
        with tqdm(total=total, unit="frame", file=sys.stderr, disable=None) as progress:
            try:
                for result in client.stream(self._requests(), batch_size=self._settings["batch_size"]):
                    self._answered(result)
                    progress.update()
                    if self.summary.errors:
                        progress.set_postfix(failed=self.summary.errors.total(), refresh=False)
            finally:
                self.summary.seconds = time.monotonic() - started
        return self.summary

    def _requests(self) -> Iterator[InferenceRequest]:
        settings = self._settings
        for number, frame in enumerate(self._source.frames(settings["max_frames"])):
            encoded = encode_view(to_tensor(self._letterbox.apply(frame)), settings["input_dtype"])
            self._waiting.append(_Sent(frame, time.monotonic()))
            yield InferenceRequest(
                settings["model_name"],
                # A wrong INPUT_SHAPE is sent as told: the proxy compares it with the bytes and answers.
                {settings["input_name"]: replace(encoded, shape=self._shape)},
                settings["output_names"],
                settings["model_version"],
                settings["req_timeout_sec"],
                f"{settings['stream_id']}-{number:08d}",
                raw_outputs=settings["parse_numpy"],
            )

    def _answered(self, result: InferenceResult) -> None:
        sent = self._waiting.popleft()
        number = self.summary.frames
        row: dict[str, Any] = {"frame": number, "ts_ms": round(number * 1000 / self._source.fps)}
        timing = {**result.timing._asdict(), "roundtrip_ms": (time.monotonic() - sent.sent_at) * 1000}
        try:
            found = detections(self._output(result), self._letterbox, self._settings["conf_thres"])
        except (_FrameError, DecodeError, ProtocolError) as error:
            row |= {"status": result.status, "error": str(error)}
            self.summary.errors[result.status] += 1
            self.summary.examples.setdefault(result.status, str(error))
            draw_error(sent.frame, result.status)
        else:
            counts = Counter(detection.label for detection in found)
            row |= {"count": len(found), "counts": dict(counts), "detections": [one.as_json() for one in found]}
            draw(sent.frame, found)
        row["timing"] = {name: round(value, 3) for name, value in timing.items() if value}
        self._log.write(json.dumps(row) + "\n")
        self._sink.write(sent.frame)
        self.summary.frames += 1

    def _output(self, result: InferenceResult) -> Any:
        if result.error is not None:
            raise _FrameError(result.error.detail)
        name = self._settings["output_names"][0]
        if name not in result.outputs:
            raise _FrameError(f"the model has no output {name!r}; correct OUTPUT_NAMES")
        return result.outputs[name]


class _FrameError(Exception):
    """One frame could not be inferred; the others go on."""
