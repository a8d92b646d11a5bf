"""What `bazel run` does with an image: load it into Docker, run it there, push it to a registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import oci_archive

# As a careful cluster would run it.
_RUN = ["run", "--rm", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"]


class RunError(Exception):
    """It can't be done; the text says why and what to do."""


def docker() -> str:
    """Finds Docker's client: $DOCKER, or `docker` on the path.

    Raises:
        RunError: there is none, or no daemon answers it.
    """
    wanted = os.environ.get("DOCKER", "docker")
    found = shutil.which(wanted)
    if not found:
        raise RunError(
            f"no program {wanted!r} was found: install Docker (Debian: apt-get install docker.io), or say with "
            "DOCKER=… where it is. The image itself is built without Docker: see the _oci and _archive targets"
        )
    asked = subprocess.run([found, "version"], capture_output=True, text=True, check=False)  # noqa: S603  no shell
    if asked.returncode:
        told = (asked.stderr or asked.stdout).strip().splitlines()
        raise RunError(
            f"{found} reaches no Docker daemon: {told[-1] if told else 'no reason given'}. Start it, or say with "
            "DOCKER_HOST=… where it is, or with DOCKER=… which client to use"
        )
    return found


def load(client: str, layout: Path) -> str:
    """Loads an image into Docker.

    Args:
        client: Docker's client.
        layout: folder of the image.

    Returns:
        The image's name.

    Raises:
        RunError: Docker did not take it.
    """
    name = oci_archive.image_name(layout)
    command = [client, "load", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:  # noqa: S603  no shell
        assert process.stdin is not None  # noqa: S101  it is a pipe
        try:
            oci_archive.write(layout, process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass  # Docker has said why on standard error.
    if process.returncode:
        raise RunError(f"{client} could not load {name}")
    return name


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Sorts the words after `bazel run TARGET --`.

    Args:
        words: the target's own options for `docker run`, `--`, and the user's words: those for the container, perhaps
            with options for `docker run` and a `--` before them.

    Returns:
        Options for `docker run`, and words for the container.
    """
    cut = words.index("--")
    options, given = words[:cut], words[cut + 1 :]
    if "--" in given:
        cut = given.index("--")
        return options + given[:cut], given[cut + 1 :]
    return options, given


def run(layout: Path, words: list[str]) -> None:
    """Loads an image and becomes `docker run`.

    Args:
        layout: folder of the image.
        words: as for `split`.

    Raises:
        RunError: there is no Docker, or it does not take the image.
    """
    client = docker()
    name = load(client, layout)
    options, given = split(words)
    terminal = ["--interactive", "--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    os.execv(client, [client, *_RUN, *terminal, *options, name, *given])  # noqa: S606  no shell is wanted


def reference(target: str, name: str) -> str:
    """Where a push goes.

    Args:
        target: REGISTRY, REGISTRY/REPOSITORY or REGISTRY/REPOSITORY:TAG.
        name: the image's own REPOSITORY:TAG, which fills in what is missing.

    Returns:
        REGISTRY/REPOSITORY:TAG.

    Raises:
        RunError: it is none of these.
    """
    registry, _, path = target.partition("/")
    if not registry or target.endswith("/") or "@" in target or registry.startswith("-"):
        raise RunError(
            f"{target!r} is no place to push to; expected REGISTRY, REGISTRY/REPOSITORY or REGISTRY/REPOSITORY:TAG"
        )
    if not path:
        return f"{registry}/{name}"
    return target if ":" in path else f"{target}:{name.rpartition(':')[2]}"


def push(layout: Path, crane: Path, words: list[str]) -> int:
    """Pushes an image; crane takes credentials from where `docker login` puts them.

    Args:
        layout: folder of the image.
        crane: the program.
        words: where to push to, then crane's own options, such as --insecure.

    Returns:
        crane's exit status.

    Raises:
        RunError: no place was named.
    """
    name = oci_archive.image_name(layout)
    if not words or words[0] in ("-h", "--help"):
        raise RunError(
            "expected: bazel run TARGET -- REGISTRY[/REPOSITORY[:TAG]] [crane's options], where what is left out is "
            f"{name}; for example: -- registry.example.com/team/proxy"
        )
    place = reference(words[0], name)
    # crane takes no links for blobs, and Bazel's runfiles are links.
    folder = (layout / "index.json").resolve().parent
    command = [str(crane), "push", str(folder), place, *words[1:]]
    return subprocess.run(command, check=False).returncode  # noqa: S603  no shell


def main(words: list[str]) -> int:
    """Does what the words say: run LAYOUT …, load LAYOUT, push LAYOUT CRANE …; returns the exit status."""
    verb, layout, *rest = words
    try:
        if verb == "run":
            run(Path(layout), rest)
        if verb == "push":
            return push(Path(layout), Path(rest[0]), rest[1:])
        sys.stdout.write(f"{load(docker(), Path(layout))} {oci_archive.digest(Path(layout))}\n")
    except (RunError, oci_archive.ArchiveError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
