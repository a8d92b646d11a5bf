"""Text files as people have them: any usual line end, with or without a byte-order mark."""

from __future__ import annotations

import codecs
from pathlib import Path

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)


def read_lines(path: Path) -> list[str]:
    r"""Return the lines of a file of UTF-8, or of what its byte-order mark says, without their ends.

    A line ends at \n, \r\n or \r and nowhere else: `str.splitlines` also ends one at form feeds, U+2028 and others,
    which are text. Nothing behind the last line end is no line.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such text.
    """
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"byte {error.start} is not {encoding.upper()}; expected UTF-8, or UTF-16 with a byte-order mark: "
            "save it as UTF-8"
        ) from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]
