"""Programs with the loader and the libraries of Debian's packages, which are not installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conformance.programs import Outcome, files, run, tool


class DebianPackages:
    """Packages that Bazel fetched, unpacked.

    Attributes:
        root: where.
    """

    def __init__(self, repository: str, folder: Path, left_out: Sequence[str] = ()) -> None:
        """Unpacks them.

        Args:
            repository: Bazel's name for them.
            folder: where to.
            left_out: patterns of files that are not unpacked.

        Raises:
            MissingError: there are no packages, or nothing to unpack them with.
        """
        dpkg = tool("dpkg-deb", f"dpkg-deb is not installed; {repository} comes as Debian's packages")
        for package in sorted(files(repository, "packages").glob("*.deb")):
            if any(package.match(pattern) for pattern in left_out):
                continue
            done = run(dpkg, "--extract", package, folder)
            if done.status:
                raise RuntimeError(f"{package.name} can't be unpacked: {done.text}")
        self.root = folder

    def run(self, program: Path, *words: object, libraries: tuple[Path, ...] = ()) -> Outcome:
        """Runs a program.

        Args:
            program: its file.
            words: its arguments.
            libraries: folders of libraries beside the packages'.
        """
        folders = [*libraries, *(self.root / where / "x86_64-linux-gnu" for where in ("lib", "usr/lib"))]
        loader = self.root / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        return run(loader, "--library-path", ":".join(map(str, folders)), program, *words)
