"""A reader of a repository in Triton's place: it serves what config.pbtxt names, and sees half a model as one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.serving import NotGoneError, NotReadyError


class Reader:
    """A `serving.Server` that looks into the folder when it is asked.

    Args:
        root: the repository.
        broken: versions that do not load.
        forbidden: whether nobody may ask.
    """

    def __init__(self, root: Path, *, broken: frozenset[int] = frozenset(), forbidden: bool = False) -> None:
        self._root = root
        self._broken = broken
        self._forbidden = forbidden
        self.checked: list[tuple[str, int]] = []
        self.waited: list[tuple[str, int]] = []

    def check(self, model: str, version: int, config: ModelConfig) -> None:
        """See `Server.check`."""
        self.checked.append((model, version))
        if self._forbidden:
            raise Refused("the proxy does not let it be asked")

    def wait(self, model: str, version: int, config: ModelConfig) -> str:
        """See `Server.wait`."""
        self.waited.append((model, version))
        if version in self._broken or version not in served(self._root, model):
            raise NotReadyError(f"Request for unknown model: '{model}' version {version} is not at ready state")
        return f"version {version} answered"

    def wait_gone(self, model: str, version: int, config: ModelConfig) -> None:
        """See `Server.wait_gone`."""
        if version in served(self._root, model):
            raise NotGoneError(f"version {version} still answers")


def served(root: Path, model: str) -> Mapping[int, Mapping[str, bytes]]:
    """The files of each version that Triton would serve now, by version and path.

    Raises:
        ConfigError: config.pbtxt is none.
    """
    config_file = root / model / "config.pbtxt"
    if not config_file.exists():
        return {}
    folders = [path for path in (root / model).iterdir() if path.is_dir()]
    versions = ModelConfig.parse(config_file.read_text()).served(int(path.name) for path in folders)
    return {version: files(root / model / str(version)) for version in versions}


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files of a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
