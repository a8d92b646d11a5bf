"""Write a pure-Python wheel whose bytes depend on nothing but its contents."""

from __future__ import annotations

import argparse
import base64
import hashlib
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

# The earliest time a zip archive can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: bazel (py_wheel)\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True)
class Wheel:
    """Everything a wheel is made of.

    Attributes:
        distribution: name on a package index.
        version: PEP 440 version.
        summary: one line.
        requires_python: version specifier, such as ">=3.10".
        files: contents by name inside the wheel.
        requires: PEP 508 requirements.
        extras: (extra, requirement) pairs.
        console_scripts: (command, "module:function") pairs.
        license: license text, or None.
        readme: long description in Markdown, or None.
    """

    distribution: str
    version: str
    summary: str
    requires_python: str
    files: dict[str, bytes]
    requires: list[str] = field(default_factory=list)
    extras: list[tuple[str, str]] = field(default_factory=list)
    console_scripts: list[tuple[str, str]] = field(default_factory=list)
    license: bytes | None = None
    readme: str | None = None

    @property
    def info(self) -> str:
        """Name of the metadata folder."""
        return f"{self.distribution.replace('-', '_')}-{self.version}.dist-info"


def optional_requirement(extra: str, requirement: str) -> str:
    """A requirement that holds only with an extra.

    Args:
        extra: name of the extra.
        requirement: PEP 508 requirement, perhaps with a marker.

    Returns:
        The requirement with the extra added to its marker.
    """
    plain, _, marker = (part.strip() for part in requirement.partition(";"))
    condition = f"({marker}) and extra == '{extra}'" if marker else f"extra == '{extra}'"
    return f"{plain}; {condition}"


def metadata(wheel: Wheel) -> str:
    """Text of METADATA: core metadata 2.1, which every pip since 2018 reads."""
    lines = ["Metadata-Version: 2.1", f"Name: {wheel.distribution}", f"Version: {wheel.version}"]
    lines += [f"Summary: {wheel.summary}", f"Requires-Python: {wheel.requires_python}"]
    if wheel.license is not None:
        lines.append("License-File: LICENSE")
    lines += [f"Requires-Dist: {requirement}" for requirement in wheel.requires]
    lines += [f"Provides-Extra: {extra}" for extra in dict.fromkeys(extra for extra, _ in wheel.extras)]
    lines += [f"Requires-Dist: {optional_requirement(*pair)}" for pair in wheel.extras]
    if wheel.readme is not None:
        lines += ["Description-Content-Type: text/markdown", "", wheel.readme.rstrip("\n")]
    return "\n".join(lines) + "\n"


def members(wheel: Wheel) -> dict[str, bytes]:
    """Contents of the archive by name, RECORD excepted."""
    found = dict(wheel.files)
    found[f"{wheel.info}/METADATA"] = metadata(wheel).encode()
    found[f"{wheel.info}/WHEEL"] = _WHEEL.encode()
    if wheel.license is not None:
        found[f"{wheel.info}/LICENSE"] = wheel.license
    if wheel.console_scripts:
        lines = ["[console_scripts]", *(f"{command} = {function}" for command, function in wheel.console_scripts)]
        found[f"{wheel.info}/entry_points.txt"] = ("\n".join(lines) + "\n").encode()
    return found


def record(contents: dict[str, bytes], name: str) -> str:
    """Text of RECORD: each member with its hash and size, sorted, and itself (`name`) without."""
    lines = []
    for member in sorted(contents):
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents[member]).digest()).rstrip(b"=").decode()
        lines.append(f"{member},sha256={digest},{len(contents[member])}\n")
    return "".join([*lines, f"{name},,\n"])


def write(wheel: Wheel, output: Path) -> None:
    """Write the archive.

    Args:
        wheel: what to pack.
        output: path of the .whl file.
    """
    contents = members(wheel)
    name = f"{wheel.info}/RECORD"
    # The metadata comes last, as the wheel format recommends.
    order = sorted(contents, key=lambda member: (member.startswith(wheel.info), member))
    with zipfile.ZipFile(output, "w") as archive:
        for member, data in [*((m, contents[m]) for m in order), (name, record(contents, name).encode())]:
            entry = zipfile.ZipInfo(member, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)


def _pairs(items: Iterable[str]) -> list[tuple[str, str]]:
    return [(key, value) for key, _, value in (item.partition("=") for item in items)]


def main() -> None:
    """Pack as the command line, or the file behind its `@`, says."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    for option in ("--output", "--distribution", "--version", "--summary", "--requires-python"):
        parser.add_argument(option, required=True)
    for option in ("--requires", "--extra", "--console-script", "--file"):
        parser.add_argument(option, action="append", default=[])
    parser.add_argument("--license", type=Path)
    parser.add_argument("--readme", type=Path)
    options = parser.parse_args()
    wheel = Wheel(
        distribution=options.distribution,
        version=options.version,
        summary=options.summary,
        requires_python=options.requires_python,
        files={name: Path(path).read_bytes() for name, path in _pairs(options.file)},
        requires=options.requires,
        extras=_pairs(options.extra),
        console_scripts=_pairs(options.console_script),
        license=options.license and options.license.read_bytes(),
        readme=options.readme and options.readme.read_text(encoding="utf-8"),
    )
    write(wheel, Path(options.output))


if __name__ == "__main__":
    main()
