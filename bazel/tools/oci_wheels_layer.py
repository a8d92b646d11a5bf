"""Write an image layer of wheels, installed as pip would below /usr/local of Debian's Python."""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import re
import zipfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import sbom
from oci_layer import File, LayerError, Tree, finish, run

_PREFIX = "usr/local"
# Where Debian's Python imports from, whatever is set in the environment.
SITE = f"{_PREFIX}/lib/python3.11/dist-packages"
# https://packaging.python.org/en/latest/specifications/binary-distribution-format/: the parts of NAME.data.
_SCHEMES = {"purelib": SITE, "platlib": SITE, "scripts": f"{_PREFIX}/bin", "data": _PREFIX}
_PYTHON = b"#!/usr/bin/python3.11\n"
_COMMAND = """\
import sys

from {module} import {root}

if __name__ == "__main__":
    sys.exit({function}())
"""


def destination(member: str) -> str | None:
    """Where a wheel's member goes.

    Args:
        member: name inside the archive.

    Returns:
        Path in the image, or None for headers of C.
    """
    top, _, rest = member.partition("/")
    if not top.endswith(".data"):
        return f"{SITE}/{member}"
    scheme, _, path = rest.partition("/")
    return f"{_SCHEMES[scheme]}/{path}" if scheme in _SCHEMES else None


def commands(entry_points: str) -> dict[str, bytes]:
    """The commands that a wheel installs.

    Args:
        entry_points: text of entry_points.txt.

    Returns:
        A script by each command's name.
    """
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of commands keep their case
    parser.read_string(entry_points)
    found = {}
    for name, target in parser["console_scripts"].items() if "console_scripts" in parser else ():
        module, _, function = re.sub(r"\s*\[.*", "", target).partition(":")
        text = _COMMAND.format(module=module.strip(), root=function.strip().split(".")[0], function=function.strip())
        found[name] = _PYTHON + text.encode()
    return found


def record(files: dict[str, File], own: str) -> bytes:
    """RECORD, without which pip can't replace a package.

    Args:
        files: what was installed, by path in the image.
        own: path of RECORD itself.

    Returns:
        Its bytes: paths as seen from the folder that is imported from, hashes and sizes.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for path in sorted(files):
        data = files[path].data()
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([_from_site(path), f"sha256={digest}", len(data)])
    writer.writerow([_from_site(own), "", ""])
    return out.getvalue().encode()


def _from_site(path: str) -> str:
    if path.startswith(f"{SITE}/"):
        return path.removeprefix(f"{SITE}/")
    return "/".join([".."] * (SITE.count("/") - _PREFIX.count("/"))) + "/" + path.removeprefix(f"{_PREFIX}/")


def install(wheel: Path, tree: Tree) -> dict[str, Any]:
    """Adds a wheel.

    Args:
        wheel: the archive.
        tree: the layer.

    Returns:
        Its CycloneDX component.

    Raises:
        LayerError: it has no metadata, or leads out of the image.
    """
    files: dict[str, File] = {}
    info, metadata = "", ""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = destination(member.filename)
            if path is None or member.is_dir():
                continue
            folder, _, name = member.filename.rpartition("/")
            data = archive.read(member)
            if folder.endswith(".dist-info") and name == "RECORD":
                continue
            if folder.endswith(".dist-info") and name == "METADATA":
                info, metadata = f"{SITE}/{folder}", data.decode()
            if folder.endswith(".dist-info") and name == "entry_points.txt":
                scripts = commands(data.decode()).items()
                files.update({f"{_PREFIX}/bin/{command}": File(text, executable=True) for command, text in scripts})
            is_script = path.startswith(f"{_PREFIX}/bin/")
            if is_script:
                data = re.sub(rb"\A#!python.*\n", _PYTHON, data)
            files[path] = File(data, executable=is_script or bool((member.external_attr >> 16) & 0o111))
    if not info:
        raise LayerError(f"{wheel.name} has no METADATA")
    files[f"{info}/INSTALLER"] = File(b"bazel\n")
    own = f"{info}/RECORD"
    files[own] = File(record(files, own))
    size = sum(tree.add(path, entry) for path, entry in files.items())
    return sbom.python(metadata, size=size, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())


def main() -> None:
    """Write the layer that the command line, or the file behind its `@`, describes."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, action="append", default=[])
    options = parser.parse_args()
    tree = Tree()
    found = [install(wheel, tree) for wheel in sorted(options.wheel)]
    finish(tree, found, options.output, options.metadata)


if __name__ == "__main__":
    run(main)
