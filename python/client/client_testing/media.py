"""Videos and pictures as people's devices make them, out of those that OpenCV writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from mm_client.letterbox import Image

# A display matrix in MP4 (ISO/IEC 14496-12, tkhd) that shows the picture turned clockwise by a quarter.
_QUARTER_TURN = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
_DEFAULT_DURATION = b"\x23\xe3\x83"  # of Matroska, in nanoseconds
_ORIENTATION = 0x0112  # of TIFF


def grey_frames(count: int, width: int = 320, height: int = 180) -> list[Image]:
    """Frames that differ by their brightness: 10 more from one to the next, up to 250."""
    return [np.full((height, width, 3), 10 * number % 250, np.uint8) for number in range(count)]


def write(path: Path, frames: Sequence[Image], fps: float = 20.0, codec: str = "mp4v", *, grey: bool = False) -> Path:
    """Write a video in the container that the path's suffix names."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height), not grey)
    if not writer.isOpened():
        raise OSError(f"OpenCV does not write {codec} to {path}")
    for frame in frames:
        writer.write(frame[:, :, 0] if grey else frame)
    writer.release()
    return path


def declare_fps(path: Path, fps: float) -> Path:
    """Let a Matroska file declare another rate; its frames keep their times."""
    data = bytearray(path.read_bytes())
    at = data.index(_DEFAULT_DURATION) + len(_DEFAULT_DURATION)
    size = data[at] & 0x7F
    data[at + 1 : at + 1 + size] = round(1e9 / fps).to_bytes(size, "big")
    path.write_bytes(data)
    return path


def set_durations(path: Path, milliseconds: Sequence[int]) -> Path:
    """Give each frame of an MP4 its own duration (ISO/IEC 14496-12, stts)."""
    data = bytearray(path.read_bytes())
    chain = list(_chain(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"))
    entries = b"".join(struct.pack(">II", 1, duration) for duration in milliseconds)
    table = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(milliseconds)) + entries
    start, size = chain[-1]
    # The tables lie behind the samples, whose places stay.
    data[start : start + size] = table
    for start, outer in chain[:-1]:
        data[start : start + 4] = struct.pack(">I", outer + len(table) - size)
    *_, (header, _) = _chain(data, b"moov", b"trak", b"mdia", b"mdhd")
    data[header + 20 : header + 28] = struct.pack(">II", 1000, sum(milliseconds))
    # The edit list has the old duration, and would cut.
    *_, (edits, _) = _chain(data, b"moov", b"trak", b"edts")
    data[edits + 4 : edits + 8] = b"free"
    path.write_bytes(data)
    return path


def turn(path: Path) -> Path:
    """Let an MP4 be shown turned clockwise by a quarter, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    *_, (start, _) = _chain(data, b"moov", b"trak", b"tkhd")
    data[start + 48 : start + 84] = _QUARTER_TURN
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    """Keep the first part of a file, as an interrupted copy does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def picture(suffix: str, image: Image, orientation: int = 1) -> bytes:
    """Encode a picture with an EXIF orientation (1 is upright, 6 is turned left, to be shown turned right)."""
    data: bytes = cv2.imencode(suffix, image)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", _ORIENTATION, 3, 1, orientation, 0) + bytes(4)
    if suffix in (".jpg", ".jpeg"):
        exif = b"Exif\0\0" + tiff
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    if suffix == ".png":
        chunk = b"eXIf" + tiff
        return data[:33] + struct.pack(">I", len(tiff)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    height, width = image.shape[:2]
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes((8, 0, 0, 0)) + sides + data[12:]
    body += b"EXIF" + struct.pack("<I", len(tiff)) + tiff
    return b"".join((b"RIFF", struct.pack("<I", len(body)), body))


def _chain(data: bytearray, *names: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each of the nested boxes of an MP4 begins, and its size."""
    start = 0
    for name in names:
        size, found = struct.unpack_from(">I4s", data, start)
        while found != name:
            start += size
            size, found = struct.unpack_from(">I4s", data, start)
        yield start, size
        start += 8
