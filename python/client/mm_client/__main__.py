"""The command `mm-client`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mm_client import chat_command, console_command, doctor_command, models_command, try_command
from mm_client.command_line import (
    FAILED,
    INTERRUPTED,
    OK,
    REFUSED,
    WRONG_USE,
    connected,
    parsed,
    parser,
    quiet_opencv,
    say,
)
from mm_client.infer_inputs import read_inputs
from mm_client.infer_report import as_json, as_text, save
from mm_client.options import CONNECTION_OPTIONS, VIDEO_OPTIONS, UsageError
from mm_client_api import AckError, ConfigurationError, CredentialsError, TritonClientError

_VIDEO_NOTE = """\
Every flag has an environment variable, in brackets; the flag goes before it.

commands, each with --help:
  mm-client                  take a video or pictures through a detector, as here
  mm-client models           the models that you may use, and why one is not ready
  mm-client try MODEL        one inference with inputs made up for the model
  mm-client infer            one inference with inputs of your own
  mm-client chat MODEL       talk to a language model
  mm-client console          a web page: models, each to be tried, and how they are doing
  mm-client doctor           what is wrong between here and the proxy, and what to do

"""
_VIDEO_EXAMPLES = """
mm-client --addr proxy.inference.svc.cluster.local:50051 --video street.mp4
VIDEO_PATH=street.mp4 CONF_THRES=0.4 MAX_FRAMES=200 mm-client --results out
mm-client --video photos/ --model yolo11n
mm-client --video part.webp --model bolts --labels /domino/edv/models/bolts/1/model.onnx
VIDEO_PATH='rtsp://user:password@camera/stream' mm-client --max-frames 500    # not in the list of processes
mm-client --video street.mp4 --model yolov7 --output-names num_dets,det_boxes,det_scores,det_classes
"""
_INFER_EXAMPLES = """
mm-client infer --model add --input A=a.npy --input B=b.npy --output SUM
mm-client infer --model upper --input TEXT=text:hello --input TEXT=text:world --output UPPER
mm-client infer --model upper --input TEXT=@lines.txt --output UPPER --json
mm-client infer --model speech --input WAVE=speech.flac --rate WAVE=16000 --shape WAVE=1,-1 --output LOGITS
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments after the command's name; None takes the process's.

    Returns:
        The exit status.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if not arguments or arguments[0].startswith("-"):
            return _video(arguments)
        if arguments[0] not in _COMMANDS:
            raise UsageError(
                f"there is no command {arguments[0]}; expected {', '.join(_COMMANDS)}, or flags for a video: "
                "mm-client --help"
            )
        return _COMMANDS[arguments[0]](arguments[1:])
    except UsageError as error:
        return say(str(error), WRONG_USE)
    except CredentialsError as error:
        return say(str(error), REFUSED)
    except ConfigurationError as error:
        return say(str(error), WRONG_USE)
    except AckError as error:
        return say(str(error), FAILED)
    except TritonClientError as error:
        return say(str(error), REFUSED)
    except KeyboardInterrupt:
        return say("interrupted", INTERRUPTED)


def _video(arguments: Sequence[str]) -> int:
    does = "Take a video or pictures through a YOLO detector behind the proxy."
    _, settings = parsed(parser("mm-client", does, _VIDEO_EXAMPLES, _VIDEO_NOTE), VIDEO_OPTIONS, arguments)
    lacking = [name for name in ("cv2", "tqdm") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(f"the video pipeline needs {' and '.join(lacking)}: pip install 'domino-triton-client[video]'")
    quiet_opencv()
    # Imported here because they need the extra, which `infer` does without.
    from mm_client import video
    from mm_client.media import MediaError

    try:
        summary = video.run(settings)
    except MediaError as error:
        raise UsageError(str(error)) from error
    for status, count in summary.errors.most_common():
        say(f"{count} × {status}, the first: {summary.examples[status]}")
    for note in summary.notes:
        say(note)
    print(summary.line())
    return OK if summary.good else FAILED


def _infer(arguments: Sequence[str]) -> int:
    made = parser("mm-client infer", "Run one inference with any model behind the proxy.", _INFER_EXAMPLES)
    made.add_argument("--model", required=True, metavar="NAME", help="Name of the model in Triton's repository.")
    made.add_argument(
        "--input",
        required=True,
        action="append",
        metavar="NAME=VALUE",
        help="FILE.npy; a recording, as FP32 mono from -1 to 1: FILE.wav, or .flac, .ogg, .mp3 and others with the "
        "extra sound; text:… (BYTES, one element; may be repeated); or @FILE.txt (BYTES, one element per line).",
    )
    made.add_argument("--output", required=True, action="append", metavar="NAME", help="Output to ask for; repeat it.")
    made.add_argument("--dtype", action="append", default=[], metavar="NAME=DTYPE", help="Send as, such as BF16.")
    made.add_argument("--shape", action="append", default=[], metavar="NAME=D,D", help="Reshape before sending.")
    made.add_argument("--rate", action="append", default=[], metavar="NAME=HZ", help="Resample a recording to.")
    made.add_argument("--out", type=Path, metavar="DIR", help="Folder to save each output in, as NAME.npy.")
    made.add_argument("--json", action="store_true", help="Print everything as one JSON object.")
    flags, settings = parsed(made, CONNECTION_OPTIONS, arguments)
    inputs = read_inputs(flags.input, flags.dtype, flags.shape, flags.rate)
    with connected(settings) as client:
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


_COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "infer": _infer,
    "models": models_command.run,
    "try": try_command.run,
    "chat": chat_command.run,
    "doctor": doctor_command.run,
    "console": console_command.run,
}

if __name__ == "__main__":
    sys.exit(main())
