"""What lies in a model repository: versions, what serves by config.pbtxt, and whether files are what they should be."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from mm_publisher.config import FILE, ConfigError, ModelConfig
from mm_publisher.errors import Busy, Unavailable
from mm_publisher.layout import versions_in
from mm_publisher.state import File
from mm_publisher.storage import Item, OnBytes, Storage
from mm_publisher.storage.confined import not_plain


@dataclass(frozen=True)
class Present:
    """A model as it lies in the repository.

    Attributes:
        model: its name.
        items: all its files.
        config_text: of config.pbtxt; None where there is none.
    """

    model: str
    items: Sequence[Item]
    config_text: str | None

    @property
    def versions(self) -> list[int]:
        """Numbers of the version folders that hold files, and of links in their place, sorted."""
        below = ((item, item.path.split("/", 2)[1:]) for item in self.items)
        return versions_in(parts[0] for item, parts in below if len(parts) == 2 or not item.plain)

    @property
    def config(self) -> ModelConfig | None:
        """What config.pbtxt says; None where there is none, or none that can be read."""
        try:
            return None if self.config_text is None else ModelConfig.parse(self.config_text)
        except ConfigError:
            return None

    @property
    def serving(self) -> tuple[int, ...]:
        """The versions that Triton serves by config.pbtxt, sorted."""
        config = self.config
        return () if config is None else config.served(self.versions)

    def without(self, version: int) -> Present:
        """The same without a version's files."""
        folder = f"{self.model}/{version}/"
        items = [item for item in self.items if not item.path.startswith(folder)]
        return dataclasses.replace(self, items=items)

    def files(self, version: int) -> dict[str, int]:
        """Sizes of a version's files by their path in the version folder, without links."""
        folder = f"{self.model}/{version}/"
        found = (item for item in self.items if item.plain and item.path.startswith(folder))
        return {item.path[len(folder) :]: item.size for item in found}

    def refuse_links(self, version: int) -> None:
        """Makes sure that a version neither is nor holds a link.

        Raises:
            Refused: it does.
        """
        for item in self.items:
            if not item.plain and f"{item.path}/".startswith(f"{self.model}/{version}/"):
                raise not_plain(item.path)


def config_path(model: str) -> str:
    """Where a model's config.pbtxt is."""
    return f"{model}/{FILE}"


def look(storage: Storage, model: str) -> Present:
    """Lists a model and reads its config.pbtxt."""
    text = storage.read(config_path(model))
    return Present(model, storage.list(f"{model}/"), None if text is None else text.decode(errors="replace"))


def models_in(storage: Storage) -> list[str]:
    """Names of the folders at the root, sorted: what Triton takes for models."""
    paths = (item.path.split("/", 1) for item in storage.list(""))
    return sorted({parts[0] for parts in paths if len(parts) == 2})


def differences(storage: Storage, model: str, version: int, files: Iterable[File], on_bytes: OnBytes) -> list[str]:
    """Reads a version back from the store and holds it against what it should be.

    Args:
        storage: the repository.
        model: the model's name.
        version: its version.
        files: what the version should consist of.
        on_bytes: gets how many bytes more were read.

    Returns:
        A sentence for each file that is missing, too many, or not what it should be.
    """
    folder = f"{model}/{version}/"
    sizes = _version(storage, model, version).files(version)
    found = []
    for file in files:
        size = sizes.pop(file.path, None)
        path = f"{folder}{file.path}"
        if size is None:
            found.append(f"{path} is missing")
        elif size != file.size:
            found.append(f"{path} has {size} bytes, expected {file.size}")
        else:
            sha256 = _sha256(storage, path, on_bytes)
            if sha256 != file.sha256:
                found.append(f"{path} has SHA-256 {sha256[:12]}…, expected {file.sha256[:12]}…")
    return found + [f"{folder}{path} was not published" for path in sizes]


def look_again(storage: Storage, model: str, version: int, files: Iterable[File], config_text: str) -> None:
    """Reads once more, after a switch: a process that writes without a lease may have come between.

    Args:
        storage: the repository.
        model: the model's name.
        version: the version that was switched to.
        files: what it consists of.
        config_text: what config.pbtxt was made to say.

    Raises:
        Busy: config.pbtxt says something else now.
        Unavailable: the version has other files now.
    """
    present = look(storage, model)
    if present.config_text != config_text:
        raise Busy(
            f"{model} version {version} was switched to, and then somebody else changed {config_path(model)}; see "
            "`mm-publish list` for what serves now"
        )
    if present.files(version) != {file.path: file.size for file in files}:
        raise Unavailable(
            f"{model} version {version} was switched to, and then somebody else changed its files; see `mm-publish "
            "verify`"
        )


def remove_version(
    storage: Storage,
    model: str,
    version: int,
    confirm: Callable[[], None],
    written: Sequence[File] | None = None,
) -> list[str]:
    """Removes a version's files.

    Args:
        storage: the repository.
        model: the model's name.
        version: its version.
        confirm: makes sure, before each file, that this process still holds the model's lease.
        written: what the publisher wrote, or began to: nothing else is removed; None for all there is.

    Returns:
        Paths of what was left.

    Raises:
        Refused: the version is or holds a link.
        Busy: somebody else has taken the lease.
    """
    left, removed = [], ""
    sizes = None if written is None else {file.path: file.size for file in written}
    present = _version(storage, model, version)
    present.refuse_links(version)
    try:
        for path, size in sorted(present.files(version).items()):
            if sizes is None or size <= sizes.get(path, -1):
                confirm()
                removed = f"{model}/{version}/{path}"
                storage.delete(removed)
            else:
                left.append(f"{model}/{version}/{path}")
        confirm()
    except Busy as lost:
        # A store has nothing that removes a file only while a lease is held.
        last = f" Its last step, the removal of {removed}, may have come after that: see `mm-publish verify`."
        raise Busy(f"{lost}.{last if removed else ''}") from lost
    return left


def _version(storage: Storage, model: str, version: int) -> Present:
    return Present(model, storage.list(f"{model}/{version}"), None)


def _sha256(storage: Storage, path: str, on_bytes: OnBytes) -> str:
    digest = hashlib.sha256()
    for chunk in storage.chunks(path):
        digest.update(chunk)
        on_bytes(len(chunk))
    return digest.hexdigest()
