"""The command `mm-client`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mm_client.addresses import masked
from mm_client.infer_inputs import read_inputs
from mm_client.infer_report import as_json, as_text, save
from mm_client.options import CONNECTION_OPTIONS, VIDEO_OPTIONS, UsageError, add_options, read_options
from mm_client_api import AckError, ConfigurationError, CredentialsError, TritonClient, TritonClientError

OK, FAILED, WRONG_USE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130

_EXIT_CODES = """\
exit status: 0 all went well; 1 some frames or the inference failed, or a video ends early; 2 wrong use; 3 refused or
not reachable.
credentials: DOMINO_USER_TOKEN, $DOMINO_API_PROXY/access-token, DOMINO_USER_API_KEY, Authorization, in this order.
"""
_VIDEO_EPILOG = f"""\
Every flag has an environment variable, in brackets; the flag goes before it.
For one inference with any model: mm-client infer --help

examples:
  mm-client --addr proxy.inference.svc.cluster.local:50051 --video street.mp4
  VIDEO_PATH=street.mp4 CONF_THRES=0.4 MAX_FRAMES=200 mm-client --results out
  mm-client --video photos/ --model yolo11n
  mm-client --video part.webp --model bolts --labels /domino/edv/models/bolts/1/model.onnx
  VIDEO_PATH='rtsp://user:password@camera/stream' mm-client --max-frames 500    # not in the list of processes
  mm-client --video street.mp4 --model yolov7 --output-names num_dets,det_boxes,det_scores,det_classes

{_EXIT_CODES}"""
_INFER_EPILOG = f"""\
examples:
  mm-client infer --model add --input A=a.npy --input B=b.npy --output SUM
  mm-client infer --model upper --input TEXT=text:hello --input TEXT=text:world --output UPPER
  mm-client infer --model upper --input TEXT=@lines.txt --output UPPER --json
  mm-client infer --model speech --input WAVE=speech.flac --rate WAVE=16000 --shape WAVE=1,-1 --output LOGITS

{_EXIT_CODES}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments after the command's name; None takes the process's.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _infer(arguments[1:]) if arguments[:1] == ["infer"] else _video(arguments)
    except UsageError as error:
        return _say(str(error), WRONG_USE)
    except CredentialsError as error:
        return _say(str(error), REFUSED)
    except ConfigurationError as error:
        return _say(str(error), WRONG_USE)
    except AckError as error:
        return _say(str(error), FAILED)
    except TritonClientError as error:
        return _say(str(error), REFUSED)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)


def _video(arguments: Sequence[str]) -> int:
    parser = _parser("mm-client", "Take a video or pictures through a YOLO detector behind the proxy.", _VIDEO_EPILOG)
    add_options(parser, VIDEO_OPTIONS)
    settings = read_options(VIDEO_OPTIONS, vars(parser.parse_args(arguments)), os.environ)
    lacking = [name for name in ("cv2", "tqdm") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(f"the video pipeline needs {' and '.join(lacking)}: pip install 'domino-triton-client[video]'")
    # OpenCV and the FFmpeg in it read these when they are loaded. Between our lines they write complaints of their own,
    # some with the address of a camera in them, password and all.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Imported here because they need the extra, which `infer` does without.
    from mm_client import video
    from mm_client.media import MediaError

    try:
        summary = video.run(settings)
    except MediaError as error:
        raise UsageError(str(error)) from error
    for status, count in summary.errors.most_common():
        _say(f"{count} × {status}, the first: {summary.examples[status]}")
    for note in summary.notes:
        _say(note)
    print(summary.line())
    return OK if summary.good else FAILED


def _infer(arguments: Sequence[str]) -> int:
    parser = _parser("mm-client infer", "Run one inference with any model behind the proxy.", _INFER_EPILOG)
    parser.add_argument("--model", required=True, metavar="NAME", help="Name of the model in Triton's repository.")
    parser.add_argument(
        "--input",
        required=True,
        action="append",
        metavar="NAME=VALUE",
        help="FILE.npy; a recording, as FP32 mono from -1 to 1: FILE.wav, or .flac, .ogg, .mp3 and others with the "
        "extra sound; text:… (BYTES, one element; may be repeated); or @FILE.txt (BYTES, one element per line).",
    )
    parser.add_argument(
        "--output", required=True, action="append", metavar="NAME", help="Output to ask for; repeat it."
    )
    parser.add_argument("--dtype", action="append", default=[], metavar="NAME=DTYPE", help="Send as, such as BF16.")
    parser.add_argument("--shape", action="append", default=[], metavar="NAME=D,D", help="Reshape before sending.")
    parser.add_argument("--rate", action="append", default=[], metavar="NAME=HZ", help="Resample a recording to.")
    parser.add_argument("--out", type=Path, metavar="DIR", help="Folder to save each output in, as NAME.npy.")
    parser.add_argument("--json", action="store_true", help="Print everything as one JSON object.")
    add_options(parser, CONNECTION_OPTIONS)
    flags = parser.parse_args(arguments)
    settings = read_options(CONNECTION_OPTIONS, vars(flags), os.environ)
    inputs = read_inputs(flags.input, flags.dtype, flags.shape, flags.rate)
    with TritonClient(
        settings["mm_addr"], tls=settings["mm_tls"], ca_bundle=settings["mm_ca_bundle"] or None
    ) as client:
        result = client.infer(
            flags.model,
            inputs,
            outputs=flags.output,
            model_version=settings["model_version"],
            timeout_secs=settings["req_timeout_sec"],
        )
    print(as_json(result) if flags.json else as_text(result))
    if flags.out is not None:
        for path in save(result, flags.out):
            print(f"mm-client: wrote {path}", file=sys.stderr)
    return FAILED if result.missing else OK


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints keep secrets of addresses."""

    def error(self, message: str) -> NoReturn:
        super().error(masked(message))


def _parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    return _Parser(
        prog=prog,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _say(text: str, status: int = OK) -> int:
    for line in masked(text).splitlines():
        print(f"mm-client: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
