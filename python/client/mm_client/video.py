"""The pipeline: read, letterbox, infer over one stream, decode, count, draw."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mm_client.addresses import is_address, masked_address
from mm_client.command_line import connected
from mm_client.labels import read_labels
from mm_client.layouts import DecodeError, Output
from mm_client.letterbox import Letterbox, to_tensor
from mm_client.media import Frame, Source, Unreadable
from mm_client.outputs import Outputs
from mm_client.pictures import PictureSource, is_picture
from mm_client.render import draw, draw_error
from mm_client.video_io import VideoSource
from mm_client.yolo import Decoder
from mm_client_api import InferenceRequest, InferenceResult, ProtocolError, TritonClient
from mm_client_api.tensors import encode_view

__all__ = ["Summary", "run"]

# Statuses in frame_counts.jsonl beside those of Acks: a picture that was not sent, an answer without detections.
_UNREADABLE, _UNDECODABLE = "UNREADABLE", "UNDECODABLE"
# As many names stand in a line for people.
_SHOWN = 5


@dataclass
class Summary:
    """What a run did.

    Attributes:
        frames: frames that were answered or could not be read.
        missing: frames that the video should have, and has not.
        errors: failed frames by status.
        examples: the first failure's text by status.
        notes: what else people should know.
        incomplete: pictures are lacking in the results.
        seconds: wall time.
        files: what was written.
    """

    frames: int = 0
    missing: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    incomplete: bool = False
    seconds: float = 0.0
    files: tuple[Path, ...] = ()

    @property
    def failed(self) -> int:
        """How many frames failed."""
        return sum(self.errors.values())

    @property
    def good(self) -> bool:
        """Whether all frames came and were inferred, and all of the results are there."""
        return not (self.errors or self.missing or self.incomplete)

    def line(self) -> str:
        """One line for people."""
        fps = self.frames / self.seconds if self.seconds else 0.0
        missing = f", {self.missing} missing" if self.missing else ""
        files = " and ".join(filter(None, (", ".join(map(str, self.files[:-1])), str(self.files[-1]))))
        return f"{self.frames} frames, {fps:.1f} frames/s, {self.failed} failed{missing}; wrote {files}"


@dataclass(frozen=True)
class _Sent:
    """A frame that waits for its answer."""

    frame: Frame
    sent_at: float


def run(settings: dict[str, Any], on_row: Callable[[Mapping[str, Any]], None] = lambda _: None) -> Summary:
    """Take a video or pictures through the model.

    Args:
        settings: values of `VIDEO_OPTIONS` by lower-case environment name.
        on_row: hears of each line of frame_counts.jsonl; what it raises ends the run.

    Raises:
        UsageError: no video is given, the labels cannot be read, or the results folder cannot be written.
        MediaError: the video cannot be read.
        TritonClientError: the stream cannot be opened or breaks; what was answered before is in the files.
    """
    decoder = Decoder(settings["conf_thres"], settings["mm_layout"], read_labels(settings["mm_labels"]))
    with ExitStack() as stack:
        source = stack.enter_context(closing(_source(settings["video_path"])))
        client = stack.enter_context(connected(settings))
        outputs = stack.enter_context(Outputs(Path(settings["results_dir"]), settings["video_path"], source.fps))
        return _Pipeline(settings, source, decoder, outputs, on_row).run(client)


def _source(path: str) -> Source:
    if not is_address(path) and (Path(path).is_dir() or is_picture(Path(path))):
        return PictureSource(Path(path))
    return VideoSource(path)


class _Pipeline:
    def __init__(
        self,
        settings: dict[str, Any],
        source: Source,
        decoder: Decoder,
        outputs: Outputs,
        on_row: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._on_row = on_row
        self._summary = Summary()
        self._settings = settings
        self._source = source
        self._decoder = decoder
        self._outputs = outputs
        self._unnamed = False
        size = settings["img_size"]
        self._shape = settings["input_shape"] or (1, 3, size, size)
        # The client's window and batches bound it: requests are taken only as answers are.
        self._waiting: deque[_Sent | Unreadable] = deque()

    def run(self, client: TritonClient) -> Summary:
        started = time.monotonic()
        limit = self._settings["max_frames"]
        known = self._source.frame_count
        total = min(known, limit) if known and limit else known or limit or None
        with tqdm(total=total, unit="frame", file=sys.stderr, disable=None) as progress:
            for result in client.stream(self._requests(), batch_size=self._settings["batch_size"]):
                self._answered(result)
                progress.update(self._summary.frames - progress.n)
                if self._summary.errors:
                    progress.set_postfix(failed=self._summary.failed, refresh=False)
        # An answer to each frame that was sent has come.
        for item in self._waiting:
            if isinstance(item, Unreadable):
                self._write_unreadable(item)
        self._summary.seconds = time.monotonic() - started
        self._conclude()
        return self._summary

    def _requests(self) -> Iterator[InferenceRequest]:
        settings = self._settings
        for number, item in enumerate(self._source.frames(settings["max_frames"])):
            if isinstance(item, Unreadable):
                self._waiting.append(item)
                continue
            square = self._letterbox(item).apply(item.image)
            encoded = encode_view(to_tensor(square), settings["input_dtype"])
            self._waiting.append(_Sent(item, time.monotonic()))
            yield InferenceRequest(
                settings["model_name"],
                # A wrong INPUT_SHAPE is sent as it is: the proxy compares it with the bytes and answers.
                {settings["input_name"]: replace(encoded, shape=self._shape)},
                settings["output_names"],
                settings["model_version"],
                settings["req_timeout_sec"],
                f"{settings['stream_id']}-{number:08d}",
                raw_outputs=settings["parse_numpy"],
            )

    def _letterbox(self, frame: Frame) -> Letterbox:
        height, width = frame.image.shape[:2]
        return Letterbox(width, height, self._settings["img_size"])

    def _answered(self, result: InferenceResult) -> None:
        while not isinstance(sent := self._waiting.popleft(), _Sent):
            self._write_unreadable(sent)
        frame = sent.frame
        row = self._row(frame)
        row["height"], row["width"] = frame.image.shape[:2]
        timing = {**result.timing._asdict(), "roundtrip_ms": (time.monotonic() - sent.sent_at) * 1000}
        try:
            found = self._decoder.detections(self._arrays(result), self._letterbox(frame))
        except (_FrameError, DecodeError, ProtocolError) as error:
            status = _UNDECODABLE if result.error is None else result.status
            self._failed(row, status, str(error))
            draw_error(frame.image, status)
        else:
            counts = Counter(detection.label for detection in found)
            row.update(count=len(found), counts=dict(counts), detections=[one.as_json() for one in found])
            self._unnamed = self._unnamed or any(one.label == f"class {one.class_id}" for one in found)
            draw(frame.image, found)
        row["timing"] = {name: round(value, 3) for name, value in timing.items() if value}
        self._outputs.write_row(row)
        self._outputs.write_frame(frame)
        self._on_row(row)

    def _write_unreadable(self, item: Unreadable) -> None:
        row = self._row(item)
        self._failed(row, _UNREADABLE, item.reason)
        self._outputs.write_row(row)
        self._on_row(row)

    def _row(self, item: Frame | Unreadable) -> dict[str, Any]:
        row: dict[str, Any] = {"frame": self._summary.frames, "ts_ms": round(item.ts_ms)}
        if item.file is not None:
            row["file"] = item.file.name
        self._summary.frames += 1
        return row

    def _failed(self, row: dict[str, Any], status: str, error: str) -> None:
        row.update(status=status, error=error)
        self._summary.errors[status] += 1
        self._summary.examples.setdefault(status, error)

    def _arrays(self, result: InferenceResult) -> list[Output]:
        if result.error is not None:
            raise _FrameError(result.error.detail)
        names = self._settings["output_names"]
        lacking = [name for name in names if name not in result.outputs]
        if names[0] in lacking:
            raise _FrameError(f"the model has no output {names[0]!r}; correct OUTPUT_NAMES")
        return [result.outputs[name] for name in names if name not in lacking]

    def _conclude(self) -> None:
        summary, source = self._summary, self._source
        self._outputs.finish()
        summary.files = tuple(self._outputs.files)
        summary.missing = source.missing
        summary.incomplete = bool(self._outputs.problem)
        if source.missing:
            name = masked_address(self._settings["video_path"])
            summary.notes.append(
                f"{name} ends early: {summary.frames} of about {summary.frames + source.missing} frames could be read; "
                "the rest is missing or damaged"
            )
        if source.left_out:
            more = f" and {len(source.left_out) - _SHOWN} more" if len(source.left_out) > _SHOWN else ""
            summary.notes.append(f"left out, since not named as pictures: {', '.join(source.left_out[:_SHOWN])}{more}")
        if self._outputs.problem:
            summary.notes.append(f"{self._outputs.problem}; {self._outputs.files[0]} is complete")
        if self._unnamed:
            summary.notes.append("the names of some classes are not known; name them by --labels")


class _FrameError(Exception):
    """One frame could not be inferred; the others go on."""
