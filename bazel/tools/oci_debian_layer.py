"""Write an image layer of Debian packages: unpacked, /usr merged, no maintainer script run."""

from __future__ import annotations

import argparse
import email.parser
import hashlib
import io
import json
import re
import stat
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import sbom
from oci_layer import File, Folder, LayerError, Link, Tree, finish, run, unavailable

# Nothing reads them in a container.
_UNREAD = re.compile(r"usr/share/(doc-base|info|lintian|locale|man)(/|$)")
# Licenses ask for copyright files; some packages link to another's.
_DOCUMENTATION = re.compile(r"usr/share/doc/[^/]+/(?!copyright$)")
# https://wiki.debian.org/UsrMerge: packages of Debian 12 still have files outside.
_MERGED = re.compile(r"^(bin|sbin|lib|lib32|lib64|libx32)(?=/|$)")
_CERTIFICATE = re.compile(r"usr/share/ca-certificates/.*\.crt")
_BUNDLE = "etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True)
class Package:
    """A .deb file.

    Attributes:
        path: the file.
    """

    path: Path

    def _dpkg_deb(self, option: str) -> bytes:
        command = ["dpkg-deb", option, str(self.path)]
        return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603  no shell

    @cached_property
    def control_text(self) -> str:
        """Its control file."""
        return self._dpkg_deb("--field").decode()

    @cached_property
    def control(self) -> dict[str, str]:
        """Its control fields."""
        return dict(email.parser.Parser().parsestr(self.control_text, headersonly=True).items())

    @property
    def name(self) -> str:
        """Its name."""
        return self.control["Package"]

    @property
    def provides(self) -> set[str]:
        """Names that it satisfies."""
        return {self.name} | {group[0] for group in relations(self.control.get("Provides", ""))}

    @property
    def depends(self) -> list[list[str]]:
        """What it needs: names, each list alternatives."""
        return relations(self.control.get("Pre-Depends", "")) + relations(self.control.get("Depends", ""))

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def files(self) -> tarfile.TarFile:
        """What it installs."""
        return tarfile.open(fileobj=io.BytesIO(self._dpkg_deb("--fsys-tarfile")))


def relations(field: str) -> list[list[str]]:
    """Names in a dependency field (https://www.debian.org/doc/debian-policy/ch-relationships.html).

    Args:
        field: such as "libc6 (>= 2.36), awk | mawk".

    Returns:
        For each item its alternatives, without versions: apt chose packages that fit.
    """
    groups = [[re.split(r"[\s(:\[<]", name.strip())[0] for name in group.split("|")] for group in field.split(",")]
    return [group for group in groups if group[0]]


def closure(
    wanted: Iterable[str], available: Iterable[Package], without: Iterable[str], below: Iterable[str]
) -> list[Package]:
    """The packages of a layer.

    Args:
        wanted: names of packages.
        available: packages to choose from.
        without: names of dependencies that are not taken.
        below: names of packages in the layers below.

    Returns:
        Those wanted and all that they need, sorted by name.

    Raises:
        LayerError: one is not available, or nothing needs one of `without`.
    """
    providers: dict[str, Package] = {}
    for package in available:
        for name in package.provides:
            if name not in providers or name == package.name:
                providers[name] = package
    there, left_out, unneeded = set(below), set(without), set(without)
    chosen: dict[str, Package] = {}
    waiting = [[name] for name in wanted]
    while waiting:
        group = waiting.pop()
        if any(name in there or name in chosen for name in group):
            continue
        if left_out.intersection(group):
            unneeded.difference_update(group)
            continue
        known = [providers[name] for name in group if name in providers]
        if not known:
            raise LayerError(
                f"{' or '.join(group)} is needed and not among the packages; take it along or do `without` it"
            )
        if known[0].name not in chosen:
            chosen[known[0].name] = known[0]
            waiting += known[0].depends
    if unneeded:
        raise LayerError(f"nothing needs {', '.join(sorted(unneeded))}, which `without` names")
    return [chosen[name] for name in sorted(chosen)]


def merged(path: str) -> str:
    """A path on a system with merged /usr, such as usr/lib/x for lib/x."""
    return _MERGED.sub(r"usr/\1", path)


def unpack(package: Package, tree: Tree) -> int:
    """Adds what a package installs.

    Args:
        package: the package.
        tree: the layer.

    Returns:
        Bytes of its files in the layer.

    Raises:
        LayerError: it holds something that images have no use for, such as a device.
    """
    size = 0
    with package.files() as files:
        for member in files:
            path = merged(str(PurePosixPath(member.name)))
            if path == "." or _UNREAD.match(path) or _DOCUMENTATION.match(path):
                continue
            if member.isdir():
                # Only temporary folders are sticky; others that a group may write are no use here.
                tree.add(path, Folder(0o1777 if member.mode & stat.S_ISVTX else 0o755))
            elif member.issym():
                tree.add(path, Link(member.linkname))
            elif content := files.extractfile(member):
                size += tree.add(path, File(content.read(), executable=bool(member.mode & 0o111)))
            else:
                raise LayerError(f"{package.path.name} holds {member.name}, which is neither file nor link")
    return size + tree.add(f"var/lib/dpkg/status.d/{package.name}", File(package.control_text.encode()))


def add_certificates(tree: Tree) -> None:
    """Joins certificates into one file, where OpenSSL and Go look; ca-certificates' maintainer script would do that.

    Args:
        tree: the layer.
    """
    paths = sorted(path for path in tree.entries if _CERTIFICATE.fullmatch(path))
    if not paths:
        return
    texts = [entry.data().strip() for entry in map(tree.entries.pop, paths) if isinstance(entry, File)]
    tree.add(_BUNDLE, File(b"\n".join(texts) + b"\n"))
    tree.add("usr/lib/ssl/cert.pem", Link("/" + _BUNDLE))


def add_merged_usr(tree: Tree) -> None:
    """Adds the links that lead from /bin and the like into /usr.

    Args:
        tree: the lowest layer of an image.
    """
    for name in ("bin", "sbin", "lib", "lib64"):
        tree.add(f"usr/{name}", Folder())
        tree.add(name, Link(f"usr/{name}"))


def names_below(metadata: Iterable[Path]) -> set[str]:
    """Names of Debian packages in other layers.

    Args:
        metadata: JSON files of these layers.
    """
    layers = [json.loads(path.read_text(encoding="utf-8")) for path in metadata]
    return {
        item["name"] for layer in layers for item in layer.get("components", ()) if item["purl"].startswith("pkg:deb/")
    }


def main() -> None:
    """Write the layer that the command line, or the file behind its `@`, describes."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, required=True)
    parser.add_argument("--release", required=True)
    for option in ("--package", "--without", "--exclude", "--file", "--symlink"):
        parser.add_argument(option, action="append", default=[])
    for option in ("--below", "--archive"):
        parser.add_argument(option, action="append", default=[], type=Path)
    options = parser.parse_args()
    for archive in options.archive:
        if archive.suffix != ".deb":
            unavailable(archive.read_text(encoding="utf-8").strip(), options.output, options.metadata)
            return
    tree = Tree(options.exclude)
    below = names_below(options.below)
    packages = closure(options.package, map(Package, sorted(options.archive)), options.without, below)
    found = [sbom.debian(p.control, options.release, size=unpack(p, tree), sha256=p.sha256) for p in packages]
    add_certificates(tree)
    if not below:
        add_merged_usr(tree)
    for path, _, source in (item.partition("=") for item in options.file):
        tree.add(path, File(Path(source).read_bytes()))
    for path, _, target in (item.partition("=") for item in options.symlink):
        tree.add(path, Link(target))
    finish(tree, found, options.output, options.metadata)


if __name__ == "__main__":
    run(main)
