"""What publishing a source would change, found out by reading alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.repository import Present, config_path
from mm_publisher.state import File, Manifest

DEFAULT_KEEP = 1


@dataclass(frozen=True)
class Plan:
    """What is going to be done.

    Attributes:
        version: the version's number.
        files: its files.
        upload: whether they are still to be written.
        config: the new configuration.
        before: config.pbtxt as it is; None where there is none.
        pinned: what config.pbtxt must say first, so that Triton does not take the new version half-written; None where
            it says so.
        was_serving: versions that serve now.
        serving: versions that will serve.
        notes: what the user should know.
    """

    version: int
    files: tuple[File, ...]
    upload: bool
    config: ModelConfig
    before: str | None
    pinned: ModelConfig | None
    was_serving: tuple[int, ...]
    serving: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def stops(self) -> tuple[int, ...]:
        """Versions that serve now and will not."""
        return tuple(version for version in self.was_serving if version not in self.serving)

    @property
    def nothing_to_do(self) -> bool:
        """Whether all of it is as it should be already."""
        return (
            not self.upload and self.before is not None and ModelConfig.parse(self.before).text() == self.config.text()
        )


def make_plan(
    present: Present,
    config: ModelConfig,
    files: tuple[File, ...],
    version: int | None,
    manifests: Mapping[int, Manifest],
    *,
    keep: int,
) -> Plan:
    """Holds a source against what lies in the repository.

    Args:
        present: the model as it lies there.
        config: the checked configuration.
        files: the version's files.
        version: its number; None takes the next one.
        manifests: of the versions that were published before.
        keep: how many of the versions that serve now go on serving beside the new one.

    Raises:
        Refused: the version is there with other files, or Triton could take it half-written.
    """
    number = version or max([0, *present.versions]) + 1
    upload = _needs_upload(present, number, files, manifests.get(number))
    before = present.config
    by_hand = [found for found in present.versions if found not in manifests]
    if present.config_text is None and by_hand:
        raise Refused(
            f"{present.model} has {_listed(by_hand)} and no config.pbtxt: a Triton that completes configurations by "
            "itself would take the new version half-written. Write its config.pbtxt first, or remove the folder"
        )
    if present.config_text is not None and before is None:
        raise Refused(
            f"{config_path(present.model)} in the repository does not parse, so nobody can tell what it serves; mend "
            "or remove it first"
        )
    new = config.for_model(present.model, number)
    was_serving = present.serving
    own = _named(config, files)
    alike = [v for v in was_serving if v < number and (not own or own == _named(config, _files(manifests.get(v))))]
    kept, notes = _kept(new, before, alike, keep)
    if keep and not kept and not notes and any(v < number for v in was_serving):
        notes.append(
            f"{_listed([v for v in was_serving if v < number])} can't go on serving: config.pbtxt names one "
            f"{', '.join(sorted(config.own_files))} for all versions, and theirs differs"
        )
    pinned = None
    if before is not None and upload and (before.pinned is None or number in before.pinned):
        if not was_serving:
            raise Refused(
                f"{config_path(present.model)} would make Triton take version {number} as soon as its first file is "
                "there, and there is no other version to name instead; remove that config.pbtxt first"
            )
        pinned = before.with_versions(was_serving)
        notes.append(f"config.pbtxt is first made to name {_listed(was_serving)}, instead of whatever version appears")
    serving = (*kept, number)
    if number in was_serving:
        notes.append(f"version {number} serves already; when Triton takes the new config.pbtxt over can't be seen")
    notes += [f"version {v} stops serving" for v in was_serving if v not in serving]
    return Plan(
        number,
        files,
        upload,
        new.with_versions(serving),
        present.config_text,
        pinned,
        was_serving,
        serving,
        tuple(notes),
    )


def _needs_upload(present: Present, version: int, files: tuple[File, ...], manifest: Manifest | None) -> bool:
    present.refuse_links(version)
    there = present.files(version)
    if manifest is not None and manifest.files != files:
        known = {file.path: file for file in manifest.files}
        wanted = {file.path: file for file in files}
        raise Refused(
            f"{present.model} version {version} was published before, with other files, and a version never changes; "
            "publish this as a new version:",
            [
                f"{path} {'is new' if path not in known else 'differs' if path in wanted else 'was there'}"
                for path in sorted(known.keys() | wanted.keys())
                if known.get(path) != wanted.get(path)
            ],
        )
    if not there:
        return True
    if there != {file.path: file.size for file in files}:
        raise Refused(
            f"{present.model}/{version} is there already, with other files"
            f"{'' if manifest else ', put there by hand'}; publish this as a new version, or remove that folder "
            "(mm-publish retire)"
        )
    return False


def _named(config: ModelConfig, files: Collection[File]) -> set[File]:
    """Those of a version's files that its configuration names, and that are one for all versions therefore."""
    return {file for file in files if any(f"{file.path}/".startswith(f"{own}/") for own in config.own_files)}


def _files(manifest: Manifest | None) -> tuple[File, ...]:
    return () if manifest is None else manifest.files


def _kept(
    new: ModelConfig, before: ModelConfig | None, candidates: list[int], keep: int
) -> tuple[list[int], list[str]]:
    if before is None or not candidates or not keep:
        return [], []
    # One config.pbtxt is for all versions: what does not fit it would keep the new one from loading, too.
    if not new.serves_like(before):
        return [], [f"{_listed(candidates)} can't go on serving: config.pbtxt has other inputs, outputs or files now"]
    return candidates[-keep:], []


def _listed(versions: list[int] | tuple[int, ...]) -> str:
    return f"version{'s' if len(versions) > 1 else ''} {', '.join(map(str, versions))}"
