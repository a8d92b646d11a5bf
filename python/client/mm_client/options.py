"""The settings of `mm-client`: one table of environment names, flags, kinds, defaults and sentences."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_client.layouts import LAYOUTS

FLOAT_DTYPES = ("FP32", "FP16", "FP64", "BF16")


class UsageError(Exception):
    """Wrong use of the command; the text says what was wrong and what was expected."""


@dataclass(frozen=True)
class OptionType:
    """The type of an option's value.

    Attributes:
        metavar: how --help calls a value.
        expected: what a right value is, for the error text.
        parse: text to value; raises ValueError for a wrong one.
    """

    metavar: str
    expected: str
    parse: Callable[[str], Any]


@dataclass(frozen=True)
class Option:
    """One setting.

    Attributes:
        env: name in the environment; in lower case, the name in the parsed settings.
        flag: the flag that goes before the environment.
        kind: see `OptionType`.
        default: the value, as text, where neither is set.
        help: what it does.
    """

    env: str
    flag: str
    kind: OptionType
    default: str
    help: str


def _number(text: str, low: float, high: float) -> float:
    value = float(text)
    if not low <= value <= high:
        raise ValueError(text)
    return value


def _integer(text: str, low: int) -> int:
    value = int(text)
    if value < low:
        raise ValueError(text)
    return value


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError(text)
    return names


def _words(text: str) -> str:
    if not text.strip():
        raise ValueError(text)
    return text


def _float_dtype(text: str) -> str:
    # Scripts also write the contract's name of it.
    name = text.upper().removeprefix("DT_")
    if name not in FLOAT_DTYPES:
        raise ValueError(text)
    return name


def _switch(text: str) -> bool:
    return {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}[text.lower()]


def _layout(text: str) -> str:
    if text not in ("auto", *LAYOUTS):
        raise ValueError(text)
    return text


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(dim) for dim in text.split(",")) if text else ()


_TEXT = OptionType("TEXT", "a text that is not empty", _words)
_PATH = OptionType("PATH", "a path", str)
_SIZE = OptionType("N", "a whole number of 32 or more", lambda text: _integer(text, 32))
_COUNT = OptionType("N", "a whole number of 0 or more", lambda text: _integer(text, 0))
_AT_LEAST_ONE = OptionType("N", "a whole number of 1 or more", lambda text: _integer(text, 1))
_PORT = OptionType("N", "a port from 0 to 65535", lambda text: int(_number(text, 0, 65535)))
_SHARE = OptionType("X", "a number from 0 to 1", lambda text: _number(text, 0, 1))
_SECONDS = OptionType("SECS", "seconds, more than 0 and at most 86400", lambda text: _number(text, 1e-3, 86400))
_SWITCH = OptionType("0|1", "0 or 1 (or false, true, no, yes)", _switch)
_NAMES = OptionType("A,B", "names with commas between them", _names)
_SHAPE = OptionType("D,D", "whole numbers with commas between them", _shape)
_LAYOUT = OptionType("NAME", f"one of auto, {', '.join(LAYOUTS)}", _layout)
_DTYPE = OptionType("DTYPE", f"one of {', '.join(FLOAT_DTYPES)}", _float_dtype)

ADDR = Option("MM_ADDR", "--addr", _TEXT, "localhost:50051", "HOST:PORT of the proxy.")
TLS = Option("MM_TLS", "--tls", _SWITCH, "0", "Encrypt the connection and check the proxy's certificate.")
CA_BUNDLE = Option("MM_CA_BUNDLE", "--ca-bundle", _PATH, "", "PEM file of the authorities to trust; implies TLS.")
HTTP_URL = Option(
    "MM_HTTP_URL", "--http-url", OptionType("URL", "an address", str), "", "The proxy's REST; port 8080 of its host."
)
MODEL_VERSION = Option(
    "MODEL_VERSION", "--model-version", OptionType("V", "a version", str), "1", "Version of the model."
)
NEWEST_VERSION = Option(
    "MODEL_VERSION",
    "--model-version",
    OptionType("V", "a version", str),
    "",
    "Version of the model; without it the highest that is served.",
)
TIMEOUT = Option(
    "REQ_TIMEOUT_SEC", "--timeout", _SECONDS, "600", "Longest time that Triton may take for one request, in seconds."
)
ADDRESS_OPTIONS = (ADDR, TLS, CA_BUNDLE)
MODEL_OPTIONS = (*ADDRESS_OPTIONS, NEWEST_VERSION, TIMEOUT)
CONSOLE_OPTIONS = (
    *ADDRESS_OPTIONS,
    TIMEOUT,
    HTTP_URL,
    Option("MM_METRICS_URL", "--metrics-url", OptionType("URL", "an address", str), "", "The proxy's metrics."),
    Option("MM_SCALE_URL", "--scale-url", OptionType("URL", "an address", str), "", "The scale service."),
    Option("MM_CONSOLE_HOST", "--host", _TEXT, "127.0.0.1", "Address to listen on; 0.0.0.0 for a Domino App."),
    Option("MM_CONSOLE_PORT", "--port", _PORT, "8888", "Port to listen on; 0 takes a free one."),
    Option(
        "MM_CONSOLE_ROOT_PATH",
        "--root-path",
        _PATH,
        "",
        "Path prefix, where what stands before it does not take it off; Domino does.",
    ),
    Option(
        "MM_CONSOLE_VIEWERS",
        "--viewers",
        OptionType("A,B", "names with commas between them", lambda text: _names(text) if text else ()),
        "",
        "Domino users that may open it, by the header domino-username, instead of a key. They act with your rights.",
    ),
    Option("MM_CONSOLE_MAX_UPLOAD_MB", "--max-upload-mb", _AT_LEAST_ONE, "256", "Largest upload, in MiB."),
)
CONNECTION_OPTIONS = (ADDR, TLS, CA_BUNDLE, MODEL_VERSION, TIMEOUT)
VIDEO_OPTIONS = (
    ADDR,
    TLS,
    CA_BUNDLE,
    Option(
        "VIDEO_PATH",
        "--video",
        _TEXT,
        "",
        "A video: a file, or an address that OpenCV opens, such as rtsp://…; or a picture, or a folder of pictures "
        "(JPEG, PNG, WebP).",
    ),
    Option("RESULTS_DIR", "--results", _TEXT, "results", "Folder for frame_counts.jsonl and annotated.mp4."),
    Option("STREAM_ID", "--stream-id", _TEXT, "cam-001", "Name of the camera; begins each correlation id."),
    Option("IMG_SIZE", "--img-size", _SIZE, "640", "Side of the square that frames are letterboxed to, in pixels."),
    Option("CONF_THRES", "--conf", _SHARE, "0.25", "Detections with a lower score are dropped."),
    Option("MAX_FRAMES", "--max-frames", _COUNT, "0", "Stop after so many frames; 0 takes them all."),
    Option("MODEL_NAME", "--model", _TEXT, "yolov8n", "Name of the model in Triton's repository."),
    MODEL_VERSION,
    Option("INPUT_NAME", "--input-name", _TEXT, "images", "The model's input."),
    Option(
        "OUTPUT_NAMES",
        "--output-names",
        _NAMES,
        "output0",
        "Outputs to ask for; the first holds the detections, or four do: num, boxes, scores, classes.",
    ),
    Option(
        "MM_LAYOUT",
        "--layout",
        _LAYOUT,
        "auto",
        f"How detections lie in the output: auto recognises it; or {', '.join(LAYOUTS)}.",
    ),
    Option(
        "MM_LABELS",
        "--labels",
        _PATH,
        "",
        "Names of the classes: a text file with one per line, the model's .onnx file with Ultralytics' metadata, or "
        "coco. Without it COCO's for a model of 80 classes, else numbers.",
    ),
    Option("INPUT_SHAPE", "--input-shape", _SHAPE, "", "Dimensions to declare; empty is 1,3,IMG_SIZE,IMG_SIZE."),
    Option("INPUT_DTYPE", "--input-dtype", _DTYPE, "FP32", f"Element type to send: {', '.join(FLOAT_DTYPES)}."),
    Option(
        "BATCH_SIZE",
        "--batch-size",
        _AT_LEAST_ONE,
        "1",
        "Frames that travel and are inferred as one, where the model takes batches.",
    ),
    Option("PARSE_NUMPY", "--parse-numpy", _SWITCH, "1", "1 asks for raw outputs, 0 for the published base64 in JSON."),
    TIMEOUT,
)


def add_options(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """Add a flag for each option, explained from the table."""
    for option in options:
        default = f"default {option.default}" if option.default else "no default"
        parser.add_argument(
            option.flag, dest=option.env, metavar=option.kind.metavar, help=f"{option.help} [{option.env}; {default}]"
        )


def read_options(options: Sequence[Option], flags: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the values by lower-case environment name: the flag's, else the environment's, else the default.

    Raises:
        UsageError: naming every wrong value.
    """
    values: dict[str, Any] = {}
    wrong = []
    for option in options:
        text = flags.get(option.env)
        if text is None:
            text = environ.get(option.env) or option.default
        try:
            values[option.env.lower()] = option.kind.parse(text)
        except (ValueError, KeyError):
            given = f"{text!r}" if text else "not set"
            wrong.append(f"{option.env} ({option.flag}) is {given}; expected {option.kind.expected}")
    if wrong:
        raise UsageError("\n".join(wrong))
    return values
