"""Rewrite the lock files in bazel/locks from their .in files: every distribution at one version, with one sha256.

    ./bazelw run //bazel/tools:relock            all locks
    ./bazelw run //bazel/tools:relock -- main    only bazel/locks/main.lock

pip resolves for the machine this runs on, so run it on the oldest Linux that is supported (Debian 12, x86-64): wheels
chosen there also run on newer ones. A requirement whose comment begins `relock: no-deps` is locked alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LOCKS = Path("bazel/locks")
_NO_DEPS = re.compile(r"\s#\s*relock: no-deps\b")
_HEADER = "# Written by `./bazelw run //bazel/tools:relock -- {name}` from {name}.in; do not edit.\n"


class RelockError(Exception):
    """A lock could not be written; the text says which and why."""


def split(requirements: str) -> tuple[list[str], list[str]]:
    """Sort the requirements of an .in file.

    Args:
        requirements: text of the .in file.

    Returns:
        Requirements to resolve with their dependencies, and those to lock alone.
    """
    resolved: list[str] = []
    alone: list[str] = []
    for line in requirements.splitlines():
        requirement = re.sub(r"(^|\s)#.*", "", line).strip()
        if requirement:
            (alone if _NO_DEPS.search(line) else resolved).append(requirement)
    return resolved, alone


def resolve(requirements: list[str], *, dependencies: bool) -> list[dict[str, Any]]:
    """Let pip choose versions.

    Args:
        requirements: PEP 508 requirements.
        dependencies: whether to add what they depend on.

    Returns:
        The "install" items of pip's installation report.

    Raises:
        RelockError: pip found no solution; the text is pip's.
    """
    if not requirements:
        return []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--report", "-", *requirements]
    if not dependencies:
        command.append("--no-deps")
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RelockError(done.stderr.strip())
    items: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return items


def render(name: str, items: list[dict[str, Any]]) -> str:
    """Write what pip chose as a requirements file.

    Args:
        name: the lock's name, for its header.
        items: "install" items of pip's report.

    Returns:
        Text of the lock file: a header and one `name==version --hash=sha256:…` line for each distribution, sorted.

    Raises:
        RelockError: one distribution occurs in two versions, or an item has no sha256.
    """
    lines: dict[str, str] = {}
    for item in items:
        distribution = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
        if not digest:
            raise RelockError(f"{distribution} has no sha256: lock files take wheels of a package index only")
        line = f"{distribution}=={item['metadata']['version']} --hash=sha256:{digest}\n"
        if lines.setdefault(distribution, line) != line:
            raise RelockError(f"{distribution} is locked twice: {lines[distribution].strip()} and {line.strip()}")
    return _HEADER.format(name=name) + "".join(lines[key] for key in sorted(lines))


def relock(source: Path) -> str:
    """Resolve one .in file.

    Args:
        source: path of the .in file.

    Returns:
        The new text of its lock.

    Raises:
        RelockError: see `resolve` and `render`.
    """
    resolved, alone = split(source.read_text(encoding="utf-8"))
    items = resolve(resolved, dependencies=True) + resolve(alone, dependencies=False)
    return render(source.stem, items)


def main() -> int:
    """Rewrite the locks named on the command line, or all; exit status 1 when one could not be written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")) / LOCKS
    known = sorted(path.stem for path in folder.glob("*.in"))
    parser.add_argument("locks", nargs="*", metavar="LOCK", help=f"one of {', '.join(known)}; all when none is named")
    wanted = parser.parse_args().locks or known
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"no such lock: {', '.join(unknown)}; there are {', '.join(known)}")
    for name in wanted:
        target = folder / f"{name}.lock"
        try:
            text = relock(folder / f"{name}.in")
        except RelockError as error:
            sys.stderr.write(f"{name}.lock is unchanged:\n{error}\n")
            return 1
        # Written beside and moved, so that an interrupted run leaves the old lock.
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as scratch:
            scratch.write(text)
        Path(scratch.name).chmod(0o644)
        Path(scratch.name).replace(target)
        sys.stdout.write(f"{LOCKS / target.name}: {text.count('--hash=')} distributions\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
