"""Looking at a repository without changing it: what serves, whether files are what was published, what would change."""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mm_publisher.api import planned
from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.progress import Progress
from mm_publisher.report import size_text
from mm_publisher.repository import Present, config_path, differences, look, models_in
from mm_publisher.state import Journal, Manifest, Records
from mm_publisher.storage import Storage
from mm_publisher.target import open_target
from mm_publisher.write_config import ConfigOptions


@dataclass(frozen=True)
class VersionRow:
    """A version as `list` shows it.

    Attributes:
        model: the model's name.
        version: its number.
        serving: whether config.pbtxt makes it serve.
        size: bytes of its files.
        source: where it came from; "" for one that was put there by hand.
        at: when it was published.
        by: the publisher.
    """

    model: str
    version: int
    serving: bool
    size: int
    source: str
    at: str
    by: str


def list_versions(target: str, model: str | None = None) -> list[VersionRow]:
    """What lies in a repository.

    Args:
        target: see `api.publish`.
        model: one model's name; None takes all.

    Raises:
        Refused: there is no such model.
        UsageError: the target cannot be used.
        Unavailable: the store failed.
    """
    storage = open_target(target)
    records = Records(storage)
    rows = []
    for name in _names(storage, records, model):
        present, manifests = look(storage, name), records.manifests(name)
        for version in present.versions:
            manifest = manifests.get(version)
            rows.append(
                VersionRow(
                    model=name,
                    version=version,
                    serving=version in present.serving,
                    size=sum(present.files(version).values()),
                    source=manifest.source if manifest else "",
                    at=manifest.at if manifest else "",
                    by=manifest.by if manifest else "",
                )
            )
    return rows


def verify(target: str, model: str | None = None, progress: Progress | None = None) -> list[str]:
    """Reads a repository back and holds it against manifests and journals.

    Args:
        target: see `api.publish`.
        model: one model's name; None takes all.
        progress: takes what is being done; None writes lines to standard error.

    Returns:
        A sentence for each thing that is not as it was published.

    Raises:
        Refused: there is no such model.
        UsageError: the target cannot be used.
        Unavailable: the store failed.
    """
    progress = progress or Progress()
    storage = open_target(target)
    records = Records(storage)
    found = [
        f"{item.path} is a link, or else no plain file; mm-publish writes none and follows none"
        for item in storage.list("" if model is None else f"{model}")
        if not item.plain and (model is None or f"{item.path}/".startswith(f"{model}/"))
    ]
    for name in _names(storage, records, model):
        present, manifests = look(storage, name), records.manifests(name)
        for version, manifest in sorted(manifests.items()):
            size = sum(file.size for file in manifest.files)
            with progress.transfer(f"reading {name}/{version}, {size_text(size)}", size) as on_bytes:
                found += differences(storage, name, version, manifest.files, on_bytes)
        found += [
            f"{name}/{version} was not published by mm-publish, or not to the end"
            for version in present.versions
            if version not in manifests
        ]
        found += _config_problems(present, manifests, records.journal(name))
    return found


def diff(
    source: str,
    target: str,
    *,
    name: str | None = None,
    version: int | None = None,
    write_config: ConfigOptions | None = None,
    progress: Progress | None = None,
) -> str:
    """What publishing a source would change of what serves now.

    Args:
        source: see `api.publish`, as the following.
        target: as it says.
        name: as it says.
        version: as it says.
        write_config: as it says.
        progress: as it says.

    Returns:
        A unified diff of config.pbtxt, and a line for each file that differs from the version that serves; "" where
        nothing does.

    Raises:
        PublisherError: as `api.publish`.
    """
    progress = progress or Progress()
    with tempfile.TemporaryDirectory(prefix="mm-publish-") as scratch:
        found, plan, storage = planned(
            source, target, Path(scratch), name=name, version=version, write_config=write_config, progress=progress
        )
    before = "" if plan.before is None else ModelConfig.parse(plan.before).text()
    path = config_path(found.name)
    lines = list(
        difflib.unified_diff(
            before.splitlines(), plan.config.text().splitlines(), f"{path} (now)", f"{path} (new)", lineterm=""
        )
    )
    served = max(plan.was_serving, default=0)
    manifest = Records(storage).manifest(found.name, served) if served else None
    old = {file.path: file for file in manifest.files} if manifest else {}
    new = {file.path: file for file in plan.files}
    for file in sorted(old.keys() | new.keys()):
        if file not in new:
            lines.append(f"only in version {served}: {file}, {size_text(old[file].size)}")
        elif file not in old:
            lines.append(f"only in version {plan.version}: {file}, {size_text(new[file].size)}")
        elif old[file] != new[file]:
            sizes = f"{size_text(old[file].size)}, now {size_text(new[file].size)}"
            lines.append(f"differs from version {served}: {file}, {sizes}")
    return "\n".join(lines)


def _names(storage: Storage, records: Records, model: str | None) -> Sequence[str]:
    names = sorted({*models_in(storage), *records.models()})
    if model is None:
        return names
    if model not in names:
        raise Refused(f"there is no model {model!r} in {storage.url}; there are {', '.join(names) or 'none'}")
    return [model]


def _config_problems(present: Present, manifests: dict[int, Manifest], journal: Journal) -> list[str]:
    path = config_path(present.model)
    problems = []
    if journal.damaged:
        problems.append(f"the journal of {present.model} is damaged, so that nothing can be rolled back to")
    if journal.pending is not None:
        pending = journal.pending.switch
        problems.append(
            f"{pending.by} began to publish {present.model} version {pending.version} at {pending.at} and did not "
            "finish; the next mm-publish of the model does, or cleans it up"
        )
    if present.config_text is None:
        # A model whose very first version did not serve left nothing but a journal.
        return [*problems, f"{path} is missing"] if present.items or manifests else problems
    config = present.config
    if config is None:
        return [*problems, f"{path} does not parse"]
    if config.pinned is None:
        problems.append(f"{path} has no version_policy that names versions, so Triton takes whatever appears")
    problems += [
        f"{path} names version {version}, which is not there"
        for version in config.pinned or ()
        if version not in present.versions
    ]
    current = journal.current
    if manifests and current is not None and journal.pending is None:
        expected = ModelConfig.parse(current.config).text()
        if config.text() != expected:
            problems.append(f"{path} is not what mm-publish wrote at {current.at}; it was changed by hand")
    return problems
