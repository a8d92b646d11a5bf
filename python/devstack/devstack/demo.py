"""`demo`: a video through the authenticated proxy to detections, compared with the truth."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devstack import contact_sheet, report, video
from devstack.accuracy import Accuracy
from devstack.checks import run_checks
from devstack.child import Child, scratch_folder
from devstack.command import leave_on_signals, user_path
from devstack.language_checks import run_language_checks
from devstack.proxy import python_environment
from devstack.stack import Stack, running_stack
from devstack.up import START_ERRORS, repository_path, say
from mm_client.options import VIDEO_OPTIONS, UsageError, read_options

FAILED, WRONG_USE = 1, 2
_LOOK_SECONDS = 0.02
_EXAMPLES = """
Brings up Triton, a Domino stand-in and the proxy on free ports of this machine, makes a short video of moving shapes,
takes it through mm-client, compares with the truth, tries what must be refused, and takes everything down.
mm-client's settings (MODEL_NAME, CONF_THRES, MAX_FRAMES, ...) are read from the environment.

How models get there, from training to serving, is shown by ./bazelw run //:demo_publish.

examples:
  ./bazelw run //:demo
  ./bazelw run //:demo -- --video street.mp4 --model-repository ~/models --out ~/street

exit status:
  0    every frame was answered, the detections meet the truth, and what must be refused was
  1    something differs or did not start; standard output or standard error says what
  2    wrong arguments or settings
  130  interrupted by Ctrl-C (129 and 143: by SIGHUP and SIGTERM); nothing is left running
"""


def _video_path(text: str) -> Path:
    path = user_path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {path}; expected a video that OpenCV reads, such as MP4")
    return path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Show the main job: a video through the authenticated proxy to detections.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--video", type=_video_path, metavar="PATH", help="your own video (default: one made by code)")
    parser.add_argument(
        "--model-repository",
        type=repository_path,
        metavar="DIR",
        help="your own models, served as they are (default: made by code)",
    )
    parser.add_argument(
        "--out",
        type=user_path,
        default=user_path("results"),
        metavar="DIR",
        help="folder for the files (default: results, where you stand)",
    )
    return parser.parse_args()


def main() -> int:
    """Runs the demo; returns its exit status."""
    leave_on_signals()
    arguments = _arguments()
    try:
        settings = read_options(VIDEO_OPTIONS, {}, {**os.environ, "VIDEO_PATH": "-"})
    except UsageError as error:
        print(f"demo: {error}", file=sys.stderr)
        return WRONG_USE
    with scratch_folder("devstack-") as folder:
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
            with running_stack(folder, arguments.model_repository, say) as stack:
                run = _demonstrate(arguments, settings, stack)
        except START_ERRORS as error:
            print(f"demo: {error}", file=sys.stderr)
            return FAILED
    print(report.render(run), flush=True)
    return FAILED if run.problems() else 0


def _demonstrate(arguments: argparse.Namespace, settings: Mapping[str, Any], stack: Stack) -> report.Run:
    out: Path = arguments.out
    source, truth = arguments.video, None
    if source is None:
        source, truth = out / "shapes.mp4", out / "truth.jsonl"
        say(f"painting {video.FRAMES} frames")
        video.write(source, truth)
    say("running mm-client")
    rows, seconds = _run_mm_client(stack, source, out)
    say("trying what must be refused, and other models")
    own_repository = arguments.model_repository is not None
    outcomes = run_checks(stack, settings, own_repository)
    if not own_repository:
        outcomes += run_language_checks(stack)
    files = [out / "frame_counts.jsonl", out / "annotated.mp4"]
    objects = None if truth is None else _read_lines(truth)
    run = report.Run(
        rows=rows,
        seconds=seconds,
        expected_frames=None if objects is None else min(len(objects), settings["max_frames"] or len(objects)),
        accuracy=None if objects is None else _measure(objects, rows),
        judged=not own_repository,
        outcomes=outcomes,
        files=[*files, out / "contact_sheet.png"] if rows else files,
    )
    if rows:
        contact_sheet.write(files[1], rows, *_heading(run, source), out / "contact_sheet.png")
    return run


def _run_mm_client(stack: Stack, source: Path, out: Path) -> tuple[list[dict[str, Any]], float]:
    """Runs mm-client to its end; returns its lines and the seconds between the first of them and the end."""
    lines = out / "frame_counts.jsonl"
    # Not the last run's.
    lines.unlink(missing_ok=True)
    options = {option.env: os.environ[option.env] for option in VIDEO_OPTIONS if option.env in os.environ}
    environment = {
        # The user's own credentials stay here: only the stand-in's key goes to the stand-in.
        **python_environment(),
        **options,
        "MM_ADDR": stack.proxy.addr,
        "MM_TLS": "0",
        "MM_CA_BUNDLE": "",
        "DOMINO_USER_API_KEY": stack.api_key,
        "VIDEO_PATH": str(source),
        "RESULTS_DIR": str(out),
    }
    began = None
    with Child([sys.executable, "-P", "-m", "mm_client"], env=environment) as client:
        while True:
            try:
                client.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                if began is None and lines.exists() and lines.stat().st_size:
                    began = time.monotonic()
            else:
                break
    seconds = 0.0 if began is None else time.monotonic() - began
    return (_read_lines(lines) if lines.exists() else []), seconds


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _measure(objects: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Accuracy:
    accuracy = Accuracy()
    for row in rows:
        accuracy.add(row["frame"], objects[row["frame"]]["objects"], row.get("detections", ()))
    return accuracy


def _heading(run: report.Run, source: Path) -> tuple[str, str]:
    parts = [f"{len(run.rows)} frames", f"{run.frames_per_second:.1f} frames/s"]
    if run.accuracy is not None:
        parts += [
            f"precision {run.accuracy.precision:.3f}",
            f"recall {run.accuracy.recall:.3f}",
            f"mean IoU {run.accuracy.mean_iou:.3f}",
        ]
    return source.name, "   |   ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
