"""Unpack wheels and describe each one to Bazel as a py_library.

Runs inside a repository rule, with the host's Python and pip, before any package of this build is there.
"""

from __future__ import annotations

import compileall
import email.parser
import hashlib
import os
import py_compile
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pip._vendor.packaging.requirements import Requirement

_HEADER = 'package(default_visibility = ["//visibility:public"])\n'
# hypothesis reads the constants of all modules that are not below a folder of the name site-packages: with those of
# every library, that took each test 2 to 20 s.
# One label for the folder, since one for each file makes tens of thousands of targets and links. Bazel compares a
# folder by its own time, and not even by that while its server runs. So all folders have the same time, and a file
# beside each, compared by its contents, changes when the wheel or this program does. Nothing writes into a folder
# after that.
_LIBRARY = """
py_library(
    name = "{name}",
    data = [
        "site-packages/{name}",
        "unpacked/{name}.txt",
    ],
    imports = ["site-packages/{name}"],
    deps = [{deps}],
)
"""
_FOLDER_TIME = 315532800  # 1980, where the time of zip files begins
# Files of these names inside a wheel would end the Bazel package around it.
_BAZEL_FILES = frozenset({"BUILD", "BUILD.bazel", "WORKSPACE", "WORKSPACE.bazel"})
# Where pip puts the parts of NAME.data, seen from the folder that is imported from.
_SCHEMES = {"purelib": "", "platlib": "", "scripts": "bin/", "data": ""}


@dataclass(frozen=True)
class Distribution:
    """One unpacked wheel.

    Attributes:
        name: the distribution's name as a Bazel target: lower case, `_` for `-` and `.`.
        requires: names, in the same form, of what it needs on this Python and platform without any extra.
    """

    name: str
    requires: tuple[str, ...]


def target_name(distribution: str) -> str:
    """Name of a distribution's Bazel target, such as "types_grpcio" for "types-grpcio"."""
    return re.sub(r"[-_.]+", "_", distribution).lower()


def destination(member: str) -> str | None:
    """Where a wheel's member goes.

    Args:
        member: name inside the archive.

    Returns:
        Path below the import folder, or None for what is not installed (C headers, files that Bazel would take for
        its own, RECORD, which would name them).

    Raises:
        ValueError: the name leads out of the folder.
    """
    path = PurePosixPath(member)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{member!r} leads out of the wheel")
    if path.name in _BAZEL_FILES or (path.name == "RECORD" and path.parent.suffix == ".dist-info"):
        return None
    if path.parts[0].endswith(".data"):
        scheme = path.parts[1] if len(path.parts) > 2 else ""
        return _SCHEMES[scheme] + "/".join(path.parts[2:]) if scheme in _SCHEMES else None
    return member


def requirements(metadata: str) -> tuple[str, ...]:
    """What a wheel needs here.

    Args:
        metadata: text of METADATA.

    Returns:
        Target names, sorted, of each Requires-Dist whose marker holds for the running Python, without extras.
    """
    lines = email.parser.Parser().parsestr(metadata, headersonly=True).get_all("Requires-Dist", [])
    parsed = [Requirement(line) for line in lines]
    return tuple(sorted({target_name(r.name) for r in parsed if not r.marker or r.marker.evaluate({"extra": ""})}))


def unpack(wheel: Path, site: Path) -> Distribution:
    """Unpack one wheel into a folder of its own.

    Args:
        wheel: the archive.
        site: folder that gets a folder named as the distribution's target.

    Returns:
        What was unpacked.
    """
    name = target_name(wheel.name.split("-")[0])
    requires: tuple[str, ...] = ()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = destination(member.filename)
            if path is None or member.is_dir():
                continue
            target = site / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            # Scripts run wherever pip installs them, whatever mode their archive gives them.
            if (member.external_attr >> 16) & 0o111 or "/scripts/" in member.filename:
                target.chmod(0o755)
            if re.fullmatch(r"[^/]+\.dist-info/METADATA", member.filename):
                requires = requirements(archive.read(member).decode())
    return Distribution(name, requires)


def build_file(distributions: Iterable[Distribution]) -> str:
    """Describe distributions to Bazel.

    Args:
        distributions: all of a lock.

    Returns:
        Text of the BUILD file; a requirement that the lock does not hold is left out.
    """
    known = {distribution.name: distribution for distribution in distributions}
    libraries = [
        _LIBRARY.format(name=name, deps=", ".join(f'":{r}"' for r in known[name].requires if r in known))
        for name in sorted(known)
    ]
    return _HEADER + "".join(libraries)


def identity(wheel: Path) -> str:
    """What decides how a wheel looks unpacked.

    Args:
        wheel: the archive.

    Returns:
        One line for the wheel and one for this program: name and SHA-256 of each.
    """
    names = []
    for path in (wheel, Path(__file__)):
        with path.open("rb") as content:
            names.append(f"{path.name} {hashlib.file_digest(content, 'sha256').hexdigest()}\n")
    return "".join(names)


def main() -> None:
    """Unpack every wheel of the folder argv[1] into argv[2]/site-packages, and write argv[2]/BUILD.bazel."""
    wheels, repository = Path(sys.argv[1]), Path(sys.argv[2])
    (repository / "unpacked").mkdir()
    distributions = []
    for wheel in sorted(wheels.glob("*.whl")):
        distributions.append(unpack(wheel, repository / "site-packages"))
        (repository / f"unpacked/{distributions[-1].name}.txt").write_text(identity(wheel), encoding="utf-8")
    # Tests run where they cannot write, and would compile numpy and the rest anew in each process.
    compileall.compile_dir(
        repository / "site-packages",
        quiet=2,
        workers=0,
        stripdir=repository / "site-packages",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for distribution in distributions:
        os.utime(repository / "site-packages" / distribution.name, (_FOLDER_TIME, _FOLDER_TIME))
    (repository / "BUILD.bazel").write_text(build_file(distributions), encoding="utf-8")


if __name__ == "__main__":
    main()
