"""`mm-client console`: a web page of the models, to look at them, to try them, and to see how they are doing."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence

from mm_client.command_line import parsed, parser, quiet_opencv
from mm_client.options import CONSOLE_OPTIONS, UsageError

_EXAMPLES = """
mm-client console
mm-client console --addr proxy.inference.svc.cluster.local:50051 --port 8899
mm-client console --host 0.0.0.0 --port 8888 --viewers "$DOMINO_STARTING_USERNAME"    # app.sh of a Domino App
"""
_NOTE = """\
It acts with your credentials. Everybody that has the key in the address which it prints may open it; or, where Domino's
proxy stands before it, the users that --viewers names.

"""
_MOST_PIXELS = 1 << 27
_NEEDED = (
    "cv2",
    "jinja2",
    "prometheus_client",
    "python_multipart",
    "soundfile",
    "soxr",
    "starlette",
    "tqdm",
    "uvicorn",
)


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    made = parser(
        "mm-client console",
        "Serve a web page: the models that you may use, each to be tried at once, and how they are doing.",
        _EXAMPLES,
        _NOTE,
    )
    _, settings = parsed(made, CONSOLE_OPTIONS, arguments)
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(f"the console needs {', '.join(lacking)}: pip install 'domino-triton-client[console]'")
    quiet_opencv()
    # OpenCV reads it when it is loaded; without it, a small file may say that it is a picture of gigabytes.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MOST_PIXELS))
    # Of the extra, which the other commands do without; by its name, so that they can be checked without it.
    status: int = importlib.import_module("mm_console.serve").serve(settings)
    return status
