"""`up`: keeps Triton, the Domino stand-in and the proxy running until it is interrupted."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from devstack.child import scratch_folder
from devstack.command import leave_on_signals, user_path
from devstack.proxy import ProxyError
from devstack.stack import Stack, running_stack
from devstack.triton import TritonError
from devstack.triton_wheels import TritonWheelsError

START_ERRORS = (TritonError, TritonWheelsError, ProxyError, OSError)
FAILED = 1
_LOOK_SECONDS = 0.5
_EXAMPLES = """
Prints lines "export NAME=value" for another terminal and then "ready"; Ctrl-C takes everything down.
MM_ADDR is the proxy, MM_HTTP_URL its REST, DOMINO_USER_API_KEY a key that it lets in, DOMINO_HOST the Domino stand-in,
MM_METRICS_URL the proxy's metrics, MM_MODEL_REPOSITORY the folder that Triton polls; TRITON_URL is Triton itself, for
looking behind the wall.

Without a repository of yours it serves sample models made by code, and two real ones: smollm2, a language model, and
all_minilm_l6_v2, sentence embeddings.

examples:
  ./bazelw run //:up
  ./bazelw run //:up -- --model-repository ~/models

exit status: 1 if something did not start or ended by itself; 2 for wrong arguments; 130 after Ctrl-C
"""


def say(text: str) -> None:
    """Writes a line of progress to standard error."""
    print(f"• {text}", file=sys.stderr, flush=True)


def repository_path(text: str) -> Path:
    """Reads the path of a model repository.

    Raises:
        argparse.ArgumentTypeError: there is no such folder.
    """
    path = user_path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is not a folder; expected MODEL/config.pbtxt and MODEL/1/… below it")
    return path


def main() -> int:
    """Runs the command; returns its exit status."""
    leave_on_signals()
    parser = argparse.ArgumentParser(
        prog="up",
        description="Keep all of the system up on this machine: Triton, a Domino stand-in, and the proxy.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model-repository",
        type=repository_path,
        metavar="DIR",
        help="serve this repository as it is, polled every second (default: one made by code)",
    )
    arguments = parser.parse_args()
    with scratch_folder("devstack-") as folder:
        try:
            with running_stack(folder, arguments.model_repository, say) as stack:
                return _keep(stack, folder)
        except START_ERRORS as error:
            print(f"up: {error}", file=sys.stderr)
            return FAILED


def _keep(stack: Stack, folder: Path) -> int:
    say(f"logs and, unless you gave yours, models are in {folder} until this ends")
    for name, value in stack.environment.items():
        print(f"export {name}={shlex.quote(value)}")
    print("ready", flush=True)
    while stack.failure is None:
        time.sleep(_LOOK_SECONDS)
    print(f"up: {stack.failure}; taking the rest down", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
