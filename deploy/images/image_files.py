"""Reads built images, for their tests."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

IMAGES = ("client", "proxy", "publisher", "scaler", "triton_cpu")
_FOLDER = Path("deploy/images")


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        digest: of its manifest.
        config: the `config` object of its configuration.
        layers: uncompressed tars, the lowest first.
        layer_digests: digests of the compressed ones.
        bill: its CycloneDX list.
    """

    digest: str
    config: dict[str, Any]
    layers: tuple[bytes, ...]
    layer_digests: tuple[str, ...]
    bill: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes, uncompressed."""
        return sum(map(len, self.layers))

    def members(self) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        """Every entry of every layer, with its content."""
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.isfile() else None
                    yield member, content.read() if content else b""

    def extract(self, folder: Path) -> None:
        """Unpacks it as a container runtime would.

        Args:
            folder: an empty folder.
        """
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                tar.extractall(folder)  # noqa: S202  it is our own


def layout(name: str) -> Path:
    """Folder of an image's layout; the test is skipped, with the reason, where it could not be built.

    Args:
        name: target name of the image.
    """
    folder = _FOLDER / f"{name}_oci"
    unavailable = folder / "unavailable.txt"
    if unavailable.exists():
        pytest.skip(unavailable.read_text().strip())
    return folder


@cache
def read(name: str) -> Image:
    """Reads an image; skips as `layout` does.

    Args:
        name: target name of the image.
    """
    folder = layout(name)

    def blob(descriptor: dict[str, Any]) -> bytes:
        path = folder / "blobs" / str(descriptor["digest"]).replace(":", "/")
        return path.read_bytes()

    (described,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    manifest = json.loads(blob(described))
    return Image(
        digest=described["digest"],
        config=json.loads(blob(manifest["config"]))["config"],
        layers=tuple(gzip.decompress(blob(layer)) for layer in manifest["layers"]),
        layer_digests=tuple(layer["digest"] for layer in manifest["layers"]),
        bill=json.loads((_FOLDER / f"{name}.cdx.json").read_text()),
    )
