"""Publishing and rolling back, as a notebook calls them; the command line calls the same."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from mm_publisher import registry
from mm_publisher.checks import Checked, check
from mm_publisher.config import ModelConfig
from mm_publisher.errors import Busy, Refused, Unavailable, UsageError
from mm_publisher.layout import model_folder, versions_of
from mm_publisher.lease import DEFAULT_SECS, Lease, me
from mm_publisher.plan import DEFAULT_KEEP, Plan, make_plan
from mm_publisher.progress import Progress
from mm_publisher.report import Action, PublishReport, size_text, versions_text
from mm_publisher.repository import differences, look, look_again
from mm_publisher.serving import Server
from mm_publisher.source import Source, check_name, from_folder
from mm_publisher.state import File, Manifest, Records, Switch, now
from mm_publisher.steps import check_steps
from mm_publisher.storage import Storage
from mm_publisher.switching import Change, Prepare, Switcher
from mm_publisher.target import open_target
from mm_publisher.write_config import ConfigOptions

DEFAULT_LEASE_WAIT_SECS = 60.0


def publish(
    source: str,
    target: str,
    *,
    server: Server | None,
    name: str | None = None,
    version: int | None = None,
    write_config: ConfigOptions | None = None,
    keep: int = DEFAULT_KEEP,
    dry_run: bool = False,
    progress: Progress | None = None,
    lease_secs: float = DEFAULT_SECS,
    lease_wait_secs: float = DEFAULT_LEASE_WAIT_SECS,
) -> PublishReport:
    """Publishes a model: checked, uploaded, verified, switched to, and seen to serve, or else rolled back.

    Args:
        source: `models:/NAME/VERSION`, `models:/NAME@ALIAS`, or the path of a folder.
        target: `s3://BUCKET/PREFIX` or the path of a folder: the root of Triton's model repository.
        server: the proxy to see the version serve through, `serving.Proxy("HOST:PORT")`; None asks nobody, for a
            repository that no Triton reads yet.
        name: the model's name; None takes config.pbtxt's, else the registered model's or the folder's.
        version: its number; None takes the registered one, or the next one for a folder.
        write_config: how to make config.pbtxt from model.onnx; None takes the source's own.
        keep: how many of the versions that serve now go on serving beside the new one, for callers who name them.
        dry_run: only tell what would be done.
        progress: takes what is being done; None writes lines to standard error.
        lease_secs: how long this process may be silent before another may take over.
        lease_wait_secs: longest wait for another publisher of the same model.

    Raises:
        UsageError: an argument cannot be used.
        Refused: a check failed; nothing was written.
        RolledBack: the version does not serve; what served before does.
        Busy: somebody else publishes this model.
        Unavailable: the store, registry or proxy failed; the text says what state that leaves.
    """
    started = time.monotonic()
    progress = progress or Progress()
    # A target that cannot be used is refused before a long download.
    open_target(target)
    with tempfile.TemporaryDirectory(prefix="mm-publish-") as scratch:
        found, checked, files = _read(source, Path(scratch), name, version, write_config, progress)
        storage = open_target(target, found.name)

        def report(action: Action, plan: Plan, config: str, seen: str) -> PublishReport:
            return PublishReport(
                action=action,
                model=found.name,
                version=plan.version,
                source=found.text,
                target=storage.url,
                serving=plan.serving,
                was_serving=plan.was_serving,
                files=tuple(file.path for file in files),
                size=plan.size,
                config=config,
                notes=(*found.notes, *checked.notes, *plan.notes),
                seen=seen,
                seconds=time.monotonic() - started,
            )

        # Where somebody did not finish, it is not known yet what will be there.
        finished = Records(storage).journal(found.name).pending is None
        plan = _plan(storage, found, checked, files, keep) if dry_run or finished else None
        if plan is not None and dry_run:
            return report("planned", plan, plan.config.text(), "nothing was written")
        if server is not None:
            server.check(found.name, found.version or (plan.version if plan else 1), checked.config)
        lease = Lease(storage, found.name, secs=lease_secs, wait_secs=lease_wait_secs, say=progress.say)
        with lease:
            storage.fence()
            switcher = Switcher(storage, lease, found.name, server, progress.say)
            switcher.recover()
            # What was found before the lease may have changed.
            plan = _plan(storage, found, checked, files, keep)
            if plan.nothing_to_do and server is not None:
                seen = server.wait(found.name, plan.version, checked.config)
                return report("already serving", plan, plan.before or "", seen)
            before = plan.before
            if plan.pinned is not None and before is not None:
                before = switcher.pin(plan.pinned, before)
            writes = plan.files if plan.upload else ()
            change = Change(plan.version, found.text, plan.config, before, writes, plan.stops)
            switch, seen = switcher.switch(change, _preparation(storage, lease, found, plan, progress))
            look_again(storage, found.name, switch.version, plan.files, switch.config)
        return report("published", plan, switch.config, seen)


def rollback(
    model: str,
    target: str,
    *,
    server: Server | None,
    to_version: int | None = None,
    progress: Progress | None = None,
    lease_secs: float = DEFAULT_SECS,
    lease_wait_secs: float = DEFAULT_LEASE_WAIT_SECS,
) -> PublishReport:
    """Makes an earlier version serve again, with the configuration that it had then.

    Args:
        model: the model's name.
        target: see `publish`.
        server: see `publish`.
        to_version: the version; None takes the one that served before the present one.
        progress: see `publish`.
        lease_secs: see `publish`.
        lease_wait_secs: see `publish`.

    Raises:
        Refused: there is nothing to go back to, or its files are not what they were.
        RolledBack: that version does not serve either; what served before does.
        UsageError: see `publish`, as the following.
        Busy: as it says.
        Unavailable: as it says.
    """
    started = time.monotonic()
    progress = progress or Progress()
    storage = open_target(target, check_name(model))
    lease = Lease(storage, model, secs=lease_secs, wait_secs=lease_wait_secs, say=progress.say)
    with lease:
        storage.fence()
        switcher = Switcher(storage, lease, model, server, progress.say)
        switcher.recover()
        earlier = _earlier(switcher.journal.switches, model, to_version)
        present = look(storage, model)
        wanted = ModelConfig.parse(earlier.config)
        serving = tuple(version for version in wanted.served(present.versions) if version <= earlier.version)
        manifest = Records(storage).manifest(model, earlier.version)
        if manifest is None or earlier.version not in serving:
            raise Refused(f"{model} version {earlier.version} is not in {storage.url} any more; publish it again")
        size = sum(file.size for file in manifest.files)
        with progress.transfer(f"verifying version {earlier.version}, {size_text(size)}", size) as on_bytes:
            wrong = differences(storage, model, earlier.version, manifest.files, on_bytes)
        if wrong:
            raise Refused(f"{model} version {earlier.version} is not what was published:", wrong)
        stops = tuple(version for version in present.serving if version not in serving)
        change = Change(earlier.version, "rollback", wanted.with_versions(serving), present.config_text, stops=stops)
        switch, seen = switcher.switch(change)
        look_again(storage, model, switch.version, manifest.files, switch.config)
    return PublishReport(
        action="rolled back to",
        model=model,
        version=earlier.version,
        source=manifest.source,
        target=storage.url,
        serving=serving,
        was_serving=present.serving,
        files=tuple(file.path for file in manifest.files),
        size=size,
        config=switch.config,
        notes=tuple(f"version {version} stops serving" for version in stops),
        seen=seen,
        seconds=time.monotonic() - started,
    )


def planned(
    source: str,
    target: str,
    scratch: Path,
    *,
    name: str | None,
    version: int | None,
    write_config: ConfigOptions | None,
    progress: Progress,
) -> tuple[Source, Plan, Storage]:
    """Finds out what publishing would do; the arguments are those of `publish`, and an empty folder."""
    found, checked, files = _read(source, scratch, name, version, write_config, progress)
    storage = open_target(target, found.name)
    return found, _plan(storage, found, checked, files, DEFAULT_KEEP), storage


def _read(
    source: str,
    scratch: Path,
    name: str | None,
    version: int | None,
    write_config: ConfigOptions | None,
    progress: Progress,
) -> tuple[Source, Checked, tuple[File, ...]]:
    try:
        found = _source(source, scratch / "downloaded", name, version, progress).without_links(scratch / "copied")
        count = len(found.files)
        progress.say(f"checking {found.text}, {size_text(found.size)} in {count} file{'' if count == 1 else 's'}")
        checked = check(found, write_config)
        with progress.transfer("taking SHA-256 of its files", found.size) as on_bytes:
            return found, checked, found.hashed(on_bytes)
    except OSError as error:
        raise Refused(
            f"{source} cannot be read: {error}; check that its files are there, and that you may read them"
        ) from error


def _source(source: str, scratch: Path, name: str | None, version: int | None, progress: Progress) -> Source:
    if not source.startswith(registry.SCHEME):
        # As a path, a URL would lose a "/", and with it what tells a password; nothing would be the working directory.
        if not source or "://" in source:
            raise UsageError(
                f"the source is {source!r}; expected models:/NAME/VERSION, models:/NAME@ALIAS or the path of a folder"
            )
        return from_folder(Path(source).expanduser(), name=name, version=version)
    progress.say(f"downloading {source}")
    scratch.mkdir()
    found = registry.fetch(source, scratch)
    # The registry's number is the version's, whatever folders there are in it; if these are several, one is asked for.
    chosen = version if version in versions_of(model_folder(found.folder)) else None
    read = from_folder(found.folder, name=name, version=chosen, text=found.uri, registered=found.name)
    return dataclasses.replace(read, version=version or found.version)


def _plan(storage: Storage, source: Source, checked: Checked, files: tuple[File, ...], keep: int) -> Plan:
    records = Records(storage)
    present, manifests = look(storage, source.name), records.manifests(source.name)
    pending = records.journal(source.name).pending
    if pending is not None and pending.files and pending.switch.version not in manifests:
        # What a killed publisher left incomplete is removed before anything else.
        present = present.without(pending.switch.version)
    check_steps(storage, source, checked.config)
    plan = make_plan(present, checked.config, files, source.version, manifests, keep=keep)
    free = storage.free_bytes()
    if plan.upload and free is not None and free < plan.size:
        raise Refused(
            f"{storage.url} has {size_text(free)} free, and the version needs {size_text(plan.size)}; free some, "
            "for instance by `mm-publish retire`"
        )
    return plan


def _preparation(storage: Storage, lease: Lease, source: Source, plan: Plan, progress: Progress) -> Prepare:
    folder = f"{source.name}/{plan.version}"

    def prepare(written: set[str]) -> None:
        if plan.upload:
            with progress.transfer(f"writing {storage.url}/{folder}, {size_text(plan.size)}", plan.size) as on_bytes:
                for path, file in source.files.items():
                    written.add(path)
                    if not storage.create(f"{folder}/{path}", file, on_bytes, lease.check):
                        written.remove(path)
                        lease.check()
                        raise Busy(
                            f"{storage.url}/{folder}/{path} appeared while this process wrote the version, and was "
                            "left as it is. Look what else writes there, and publish again"
                        )
        with progress.transfer("reading it back", plan.size) as on_bytes:
            wrong = differences(storage, source.name, plan.version, plan.files, on_bytes)
        if wrong and plan.upload:
            raise Unavailable(f"{storage.url} does not hold what was written to it: {'; '.join(wrong)}")
        if wrong:
            raise Refused(f"{folder} is there already and differs; publish this as a new version:", wrong)
        records = Records(storage)
        if records.manifest(source.name, plan.version) is None:
            records.write_manifest(Manifest(source.name, plan.version, source.text, now(), me(), plan.files))

    return prepare


def _earlier(switches: tuple[Switch, ...], model: str, to_version: int | None) -> Switch:
    stood = [switch for switch in switches if switch.stands]
    if not stood:
        raise Refused(f"{model} was never published here by mm-publish, so there is nothing to go back to")
    current = stood[-1].version
    if to_version == current:
        raise Refused(f"{model} version {current} is the one that serves")
    candidates = [
        switch for switch in stood if switch.version == to_version or (to_version is None and switch.version != current)
    ]
    if not candidates:
        there = versions_text(sorted({switch.version for switch in stood} - {current}))
        wanted = "an earlier version" if to_version is None else f"version {to_version}"
        raise Refused(f"{model} has not served {wanted} here; it has served {there} besides version {current}")
    return candidates[-1]
