"""Write an OCI image layout, and the list of what is in the image.

The formats: https://github.com/opencontainers/image-spec (image-layout.md, manifest.md, config.md).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sbom
from oci_archive import UNAVAILABLE

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# The same for the same contents; who built it when is for provenance to say.
_CREATED = "1970-01-01T00:00:00Z"
_LARGEST = 12


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        name: for the image's history.
        blob: the compressed tar.
        metadata: what oci_layer.finish wrote beside it.
    """

    name: str
    blob: Path
    metadata: dict[str, Any]


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


class Layout:
    """An OCI image layout that is being written.

    Args:
        folder: where; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)

    def add_file(self, source: Path, media_type: str) -> dict[str, Any]:
        """Adds a blob from a file and returns its descriptor."""
        with source.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        shutil.copyfile(source, self._folder / "blobs/sha256" / digest)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": source.stat().st_size}

    def add(self, data: bytes, media_type: str) -> dict[str, Any]:
        """Adds a blob and returns its descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self._folder / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def close(self, manifest: dict[str, Any], image: str) -> None:
        """Writes what points to the one manifest.

        Args:
            manifest: its descriptor.
            image: REPOSITORY:TAG.
        """
        # What kubelet looks for when a pod's image has no registry and no folder.
        folder = "" if "/" in image else "library/"
        annotations = {
            # containerd (so `kind load`) takes the first for the whole name, everybody else the second for the tag.
            "io.containerd.image.name": f"docker.io/{folder}{image}",
            "org.opencontainers.image.ref.name": image.rpartition(":")[2],
        }
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}
        platform = {"architecture": "amd64", "os": "linux"}
        manifests = [{**manifest, "platform": platform, "annotations": annotations}]
        (self._folder / "index.json").write_bytes(_json({**index, "manifests": manifests}))
        (self._folder / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def write(folder: Path, image: str, settings: dict[str, Any], layers: list[Layer]) -> str:
    """Writes an image layout.

    Args:
        folder: where.
        image: REPOSITORY:TAG.
        settings: the `config` object of the image's configuration.
        layers: the lowest first.

    Returns:
        The manifest's digest, "sha256:…".
    """
    layout = Layout(folder)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": _CREATED,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [layer.metadata["diff_id"] for layer in layers]},
        "history": [{"created": _CREATED, "created_by": f"bazel build {layer.name}"} for layer in layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": layout.add(_json(config), _CONFIG),
        "layers": [layout.add_file(layer.blob, _LAYER) for layer in layers],
        "annotations": settings["Labels"],
    }
    described = layout.add(_json(manifest), _MANIFEST)
    layout.close(described, image)
    return str(described["digest"])


def over_budget(image: str, max_mb: int, layers: list[Layer]) -> str | None:
    """Holds an image against its budget.

    Args:
        image: REPOSITORY:TAG.
        max_mb: most megabytes of 10^6 bytes, uncompressed.
        layers: its layers.

    Returns:
        What fills it, when it is larger; otherwise None.
    """
    total = sum(layer.metadata["size"] for layer in layers)
    if total <= max_mb * 10**6:
        return None
    lines = [f"{image} has {total / 1e6:.1f} MB uncompressed, its max_mb allows {max_mb}. What fills it:"]
    lines += [f"  {layer.metadata['size'] / 1e6:8.1f} MB  layer {layer.name}" for layer in layers]
    components = [component for layer in layers for component in layer.metadata["components"]]
    lines += [f"  {size / 1e6:8.1f} MB  {name}" for name, size in sbom.largest(components, _LARGEST)]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the image that the command line describes; exit status 1 when it is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--output", "--sbom", "--config"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--name", required=True, metavar="REPOSITORY:TAG")
    parser.add_argument("--max-mb", type=int, required=True)
    parser.add_argument("--layer", action="append", required=True, metavar="METADATA=BLOB")
    options = parser.parse_args()
    layers = []
    for metadata, _, blob in (item.partition("=") for item in options.layer):
        layers.append(Layer(Path(metadata).stem, Path(blob), json.loads(Path(metadata).read_text(encoding="utf-8"))))
    for layer in layers:
        if reason := layer.metadata.get("unavailable"):
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / UNAVAILABLE).write_text(f"{reason}\n", encoding="utf-8")
            options.sbom.write_text(json.dumps({"unavailable": reason}), encoding="utf-8")
            return 0
    if complaint := over_budget(options.name, options.max_mb, layers):
        sys.stderr.write(complaint)
        return 1
    settings = json.loads(options.config.read_text(encoding="utf-8"))
    digest = write(options.output, options.name, settings, layers)
    components = [component for layer in layers for component in layer.metadata["components"]]
    options.sbom.write_text(sbom.bill(options.name, digest, components), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
