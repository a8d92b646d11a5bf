"""Executes notebooks against servers of their own, from a virtual environment with the built wheels."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import subprocess
import sys
from pathlib import Path

from devstack.child import scratch_folder
from devstack.command import leave_on_signals
from devstack.model_registry import RegistryError
from devstack.up import START_ERRORS
from executing.servers import ServersError, running_servers
from executing.virtual_environment import InstallError, make_environment

_KERNELS = Path(__file__).with_name("kernels.py")


def main() -> int:
    """Runs the command; 1 where there is nothing to look at. A notebook that fails is executed all the same."""
    leave_on_signals()
    parser = argparse.ArgumentParser(fromfile_prefix_chars="@", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets the executed notebooks")
    parser.add_argument("--built", type=Path, action="append", default=[], metavar="WHEEL", help="a built wheel")
    parser.add_argument(
        "--found", type=Path, action="append", default=[], metavar="WHEEL", help="one that they require"
    )
    parser.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    arguments = parser.parse_args()
    with scratch_folder("notebooks-") as folder, contextlib.ExitStack() as stack:
        found, servers, home = folder / "wheels", folder / "servers", folder / "home"
        for each in (found, servers, home):
            each.mkdir()
        for wheel in arguments.found:
            (found / wheel.name).symlink_to(wheel.resolve())
        # The scale service runs in this process; its warnings about a realm without TLS are for operators.
        logging.basicConfig(filename=servers / "log.txt")
        try:
            python = make_environment(folder / "venv", [wheel.resolve() for wheel in arguments.built], found)
            variables = stack.enter_context(running_servers(servers))
        except (*START_ERRORS, RegistryError, ServersError, InstallError) as error:
            print(f"execute: {error}", file=sys.stderr)
            return 1
        out = arguments.out.resolve()
        out.mkdir(parents=True, exist_ok=True)
        return subprocess.run(  # noqa: S603  our own words
            [str(python), "-P", str(_KERNELS), str(out), *(str(path.resolve()) for path in arguments.notebooks)],
            env={**_environment(python, home), **variables},
            check=False,
        ).returncode


def _environment(python: Path, home: Path) -> dict[str, str]:
    """Returns what a person's shell has, and what keeps libraries quiet and on this machine."""
    return {
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        # tqdm and pandas ask for it where there is no terminal.
        "COLUMNS": "100",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "GIT_PYTHON_REFRESH": "quiet",
        # tqdm would rather have a browser's widgets, which a page does not show.
        "PYTHONWARNINGS": "ignore:IProgress not found",
    }


if __name__ == "__main__":
    sys.exit(main())
