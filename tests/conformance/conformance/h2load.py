"""h2load, nghttp2's load generator, out of Debian's packages, without installing them."""

from __future__ import annotations

from pathlib import Path

from conformance.programs import Outcome, files, run, tool


class H2load:
    """The program, with the loader and the libraries of its own release."""

    def __init__(self, folder: Path) -> None:
        """Unpacks it.

        Args:
            folder: where to.

        Raises:
            MissingError: there are no packages, or nothing to unpack them with.
        """
        dpkg = tool("dpkg-deb", "dpkg-deb is not installed; h2load comes as Debian's packages")
        for package in sorted(files("h2load", "packages").glob("*.deb")):
            done = run(dpkg, "--extract", package, folder)
            if done.status:
                raise RuntimeError(f"{package.name} can't be unpacked: {done.text}")
        self._root = folder

    def __call__(self, *words: object) -> Outcome:
        """Runs it."""
        libraries = ":".join(str(self._root / where / "x86_64-linux-gnu") for where in ("lib", "usr/lib"))
        loader = self._root / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        return run(loader, "--library-path", libraries, self._root / "usr/bin/h2load", *words)
