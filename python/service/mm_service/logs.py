"""The log of a server: what `logging` is given, as lines of JSON or of text on standard error, through one thread."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime, timezone

from mm_service.file_lock import FileLock
from mm_service.line_sink import LineSink

_STDERR = 2
_CLOSE_SECS = 2.0
# What a line may say of the request that it is about, given as `extra`.
_ABOUT = ("trace_id", "correlation_id")
_TEXT = "%(asctime)s %(levelname)s {process}%(name)s: %(message)s"
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object, without the line's end."""

    def __init__(self, process: str = "") -> None:
        """Takes the process's name, which each line has; "" for none."""
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The object: time, level, logger, message; process, trace_id, correlation_id, exception where they exist."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {
            "time": at.removesuffix("+00:00") + "Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if self._process:
            line["process"] = self._process
        line.update((name, value) for name in _ABOUT if (value := getattr(record, name, "")))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(line)


class SinkHandler(logging.Handler):
    """Hands lines to a sink, so that no thread that logs waits for the log's reader."""

    def __init__(self, sink: LineSink) -> None:
        """Takes the sink, which ends with it."""
        super().__init__()
        self._sink = sink

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Makes none: a sink that drops lines logs that itself, with its own lock held."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Takes a record that no filter refuses."""
        taken = bool(self.filter(record))
        if taken:
            self.emit(record)
        return taken

    def emit(self, record: logging.LogRecord) -> None:
        """Adds its line; one that can't be made is reported as `logging` does it."""
        try:
            self._sink.add(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001 - a mistake in a log line ends no call
            self.handleError(record)

    def close(self) -> None:
        """Writes what waits."""
        super().close()
        self._sink.close(_CLOSE_SECS)


def start(level: str, form: str, *, process: str = "", shared: FileLock | None = None) -> None:
    """Writes the log from now on, until `logging.shutdown`, which ends each program.

    Args:
        level: the least that is written.
        form: "json", "text", or "auto" for text where standard error is a terminal and JSON elsewhere.
        process: of several processes, which one this is; "" for none.
        shared: where these write to standard error, too, the lock of all.
    """
    text = form == "text" or (form == "auto" and os.isatty(_STDERR))
    sys.stderr.flush()
    handler = SinkHandler(LineSink("log", _STDERR, shared=shared))
    named = _TEXT.format(process=f"{process} " if process else "")
    handler.setFormatter(logging.Formatter(named) if text else JsonFormatter(process))
    logging.basicConfig(level=level, handlers=[handler])
