#!/usr/bin/python3.11 -I
"""`tritonserver` of the CPU image: gives the real one a folder of backends that it may change, and becomes it.

The python backend of this Triton calls chmod on its stub before each model, whatever mode the stub has, and fails where
the image is read-only or belongs to somebody else. So the backends, 3 MB, are copied to /tmp first.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

_OPTION = "--backend-directory"


class StartError(Exception):
    """Triton can't be started here; the text says why and what to do."""


def copy_backends(source: Path, target: Path) -> None:
    """Copies the backends to where Triton may change them; an earlier copy is replaced.

    Args:
        source: folder of the image's backends.
        target: the copy.

    Raises:
        StartError: the place can't be written, or programs can't run from there.
    """
    try:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    except (OSError, shutil.Error) as error:
        raise StartError(
            f"the backends can't be copied to {target}: {error}; expected a writable {target.parent}, such as an "
            "emptyDir in Kubernetes or `--tmpfs=/tmp:exec` in Docker"
        ) from None
    if os.statvfs(target).f_flag & os.ST_NOEXEC:
        raise StartError(
            f"{target.parent} is mounted noexec, and Triton's python backend starts its stub from there; in Docker use "
            "`--tmpfs=/tmp:exec`, in Kubernetes an emptyDir"
        )


def main(words: Sequence[str], home: Path = Path("/opt/tritonserver")) -> NoReturn:
    """Becomes Triton; exit status 1 where that is not possible.

    Args:
        words: Triton's arguments.
        home: where Triton and its backends are.
    """
    arguments = list(words)
    # A command line that names a folder has arranged for it.
    if not any(word == _OPTION or word.startswith(f"{_OPTION}=") for word in arguments):
        backends = Path(tempfile.gettempdir()) / "tritonserver-backends"
        try:
            copy_backends(home / "backends", backends)
        except StartError as error:
            sys.stderr.write(f"tritonserver: {error}\n")
            sys.exit(1)
        arguments.insert(0, f"{_OPTION}={backends}")
    os.execv(home / "libexec/tritonserver", ["tritonserver", *arguments])  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
