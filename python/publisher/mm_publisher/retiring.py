"""Removing a version that does not serve."""

from __future__ import annotations

from mm_publisher.api import DEFAULT_LEASE_WAIT_SECS
from mm_publisher.errors import Refused
from mm_publisher.lease import DEFAULT_SECS, Lease
from mm_publisher.progress import Progress
from mm_publisher.report import versions_text
from mm_publisher.repository import config_path, look, remove_version
from mm_publisher.source import check_name
from mm_publisher.state import Records
from mm_publisher.target import open_target


def retire(
    model: str,
    version: int,
    target: str,
    *,
    progress: Progress | None = None,
    lease_secs: float = DEFAULT_SECS,
    lease_wait_secs: float = DEFAULT_LEASE_WAIT_SECS,
) -> int:
    """Removes a version's files, for good.

    Args:
        model: the model's name.
        version: a version that config.pbtxt does not name.
        target: see `api.publish`, as the following.
        progress: as it says.
        lease_secs: as it says.
        lease_wait_secs: as it says.

    Returns:
        How many bytes were freed.

    Raises:
        Refused: it serves, or Triton could serve it, or it is not there.
        UsageError: see `api.publish`, as the following.
        Busy: as it says.
        Unavailable: as it says.
    """
    progress = progress or Progress()
    storage = open_target(target, check_name(model))
    with Lease(storage, model, secs=lease_secs, wait_secs=lease_wait_secs, say=progress.say) as lease:
        storage.fence()
        records = Records(storage)
        present = look(storage, model)
        present.refuse_links(version)
        files = present.files(version)
        if not files and records.manifest(model, version) is None:
            raise Refused(
                f"{model} has no version {version} in {storage.url}; there are {versions_text(present.versions)}"
            )
        pending = records.journal(model).pending
        if pending is not None:
            raise Refused(
                f"{pending.switch.by} began to publish {model} version {pending.switch.version} and did not finish; "
                "publish or roll back first"
            )
        config = present.config
        if present.config_text is not None and (config is None or config.pinned is None):
            raise Refused(
                f"{config_path(model)} does not name its versions, so Triton may serve {version}; publish a version by "
                "mm-publish first"
            )
        if config is not None and version in (config.pinned or ()):
            raise Refused(
                f"{model} version {version} serves; publish or roll back to another first (mm-publish publish --keep 0 "
                "stops all but the new one)"
            )
        lease.check()
        progress.say(f"removing {storage.url}/{model}/{version}")
        # The manifest last: until it is gone, the same command finishes what was begun.
        remove_version(storage, model, version, lease.check)
        records.delete_manifest(model, version)
        return sum(files.values())
