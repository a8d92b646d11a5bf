"""Write an OCI image layout as one tar, which `docker load`, `kind load image-archive`, podman and containerd take."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import IO, Any

UNAVAILABLE = "unavailable.txt"


class ArchiveError(Exception):
    """There is no image to archive; the text says why."""


def _blob(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def image_name(layout: Path) -> str:
    """Name of the image in a layout, REPOSITORY:TAG.

    Args:
        layout: the folder.

    Raises:
        ArchiveError: the image could not be built; the text says why.
    """
    if (layout / UNAVAILABLE).exists():
        raise ArchiveError((layout / UNAVAILABLE).read_text(encoding="utf-8").strip())
    index = json.loads((layout / "index.json").read_bytes())
    name = str(index["manifests"][0]["annotations"]["io.containerd.image.name"])
    return name.removeprefix("docker.io/").removeprefix("library/")


def digest(layout: Path) -> str:
    """Digest of the image's manifest, "sha256:…".

    Args:
        layout: the folder.
    """
    return str(json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"])


def write(layout: Path, output: IO[bytes]) -> None:
    """Writes the archive, the same bytes for the same image.

    Args:
        layout: the folder.
        output: where to write; need not be seekable.

    Raises:
        ArchiveError: as for `image_name`.
    """
    name = image_name(layout)
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads((layout / _blob(index["manifests"][0])).read_bytes())
    # Docker before 25 and kind know only this; it names the same files.
    docker = [
        {
            "Config": _blob(manifest["config"]),
            "RepoTags": [name],
            "Layers": [_blob(layer) for layer in manifest["layers"]],
        }
    ]
    with tarfile.open(fileobj=output, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "manifest.json", io.BytesIO(json.dumps(docker).encode()))
        for path in sorted(path for path in layout.rglob("*") if path.is_file()):
            with path.open("rb") as content:
                _add(tar, path.relative_to(layout).as_posix(), content)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, io.SEEK_END)
    content.seek(0)
    tar.addfile(info, content)


def main() -> int:
    """Archive the layout argv[1] as argv[2]; exit status 1 where the image could not be built."""
    layout, output = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        with output.open("wb") as archive:
            write(layout, archive)
    except ArchiveError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
