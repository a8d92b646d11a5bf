"""Run mypy over this workspace's files, with every wheel looking like an installed package."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def merge(source: Path, target: Path) -> None:
    """Link the entries of one folder into another, going down only where both have a folder of that name.

    Args:
        source: folder to link from.
        target: folder that gets the links; what it already has stays.
    """
    for entry in source.iterdir():
        link = target / entry.name
        if not link.exists():
            link.symlink_to(entry, target_is_directory=entry.is_dir())
        elif entry.is_dir():
            if link.is_symlink():
                first = link.resolve()
                link.unlink()
                link.mkdir()
                merge(first, link)
            merge(entry, link)


def checker() -> tuple[list[str], dict[str, str]]:
    """Return the command that checks files of this workspace, without the files, and its environment.

    A process calls it once: the scratch folder that Bazel gives each test takes the wheels' links.
    """
    workspace, scratch = Path.cwd(), Path(os.environ["TEST_TMPDIR"])
    # Bazel's entries hold `..`, with which every wheel would look like a part of the workspace.
    roots = [Path(os.path.normpath(entry)) for entry in os.environ["PYTHONPATH"].split(os.pathsep)]
    own = [root for root in roots if root.is_relative_to(workspace) and root != workspace]
    # mypy looks for `google-stubs` only beside `google`, so the wheels have to share a folder.
    wheels = scratch / "wheels"
    wheels.mkdir()
    for root in roots:
        if root.parent.name == "site-packages" and not root.is_relative_to(workspace):
            merge(root, wheels)
    # What counts as installed is the sys.path that mypy's process started with.
    environment = dict(os.environ, PYTHONPATH=str(wheels), MYPYPATH=os.pathsep.join(map(str, own)))
    command = [sys.executable, "-P", "-m", "mypy", "--config-file=pyproject.toml", f"--cache-dir={scratch / 'cache'}"]
    return command, environment


def main() -> None:
    """Become mypy, with the words of the command line."""
    command, environment = checker()
    os.execve(sys.executable, command + sys.argv[1:], environment)  # noqa: S606


if __name__ == "__main__":
    main()
