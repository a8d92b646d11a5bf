"""Others' programs: where they are, and how they are run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devstack.runfiles import runfiles

# Any of them ends by itself in seconds; a machine that is busy with something else has this long.
PATIENCE = 120
_UNAVAILABLE = "unavailable.txt"


class MissingError(Exception):
    """This machine does not have what a program needs; the text says what."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        status: its exit status.
        stdout: what it printed.
        stderr: what it printed as errors.
    """

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.stdout + self.stderr


def go_program(name: str) -> Path:
    """A program of `bazel/go`, built by Bazel; see `files`.

    Raises:
        FileNotFoundError: there is none.
    """
    return files(name, "bin") / name


def tool(name: str, missing: str) -> str:
    """A program of the machine.

    Args:
        name: the program.
        missing: what to say where it is not installed.

    Raises:
        MissingError: it is not.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingError(missing)
    return found


def files(repository: str, folder: str) -> Path:
    """A folder of another repository: named by an environment variable, or among Bazel's runfiles.

    Args:
        repository: Bazel's name for it; in capitals, the variable's.
        folder: in that repository.

    Raises:
        MissingError: this machine could not fetch it.
        FileNotFoundError: it is in neither.
    """
    variable = repository.upper()
    if variable in os.environ:
        return Path(os.environ[variable])
    path = f"{repository}/{folder}"
    for reason in runfiles(f"{path}/{_UNAVAILABLE}"):
        raise MissingError(reason.read_text().strip())
    for found in runfiles(path):
        return found
    raise FileNotFoundError(
        f"no {path} in ${variable} or Bazel's runfiles; give the Bazel target data from @{repository}, or set "
        f"{variable} to such a folder"
    )


def run(program: str | Path, *words: object, stdin: str = "", environment: Mapping[str, str] | None = None) -> Outcome:
    """Runs a program until it ends.

    Args:
        program: its file.
        words: its arguments.
        stdin: what it reads.
        environment: variables beside a PATH; it sees no others.

    Raises:
        subprocess.TimeoutExpired: it did not end.
    """
    done = subprocess.run(
        [str(program), *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env={"PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
