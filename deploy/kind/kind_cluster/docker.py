"""The Docker daemon: found, or started where nobody else would start one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from kind_cluster import files, network
from kind_cluster.command import KindError, run, succeeds
from kind_cluster.machine import Machine

# Where docker.io puts it, beside its dockerd.
DEBIAN_CLIENT = Path("/usr/bin/docker")
_WRAPPER = "runc_within_limits.py"
_START_SECONDS = 60
# On two busy cores it was seen to take more than 30 s.
_STOP_SECONDS = 180


def answers(client: Path) -> bool:
    """Whether a daemon answers this client."""
    return succeeds([client, "info"])


def client() -> Path | None:
    """The Docker client whose daemon answers, else the first there is, else None.

    Debian's own goes first: another one on PATH may be a client without a daemon.
    """
    candidates = [DEBIAN_CLIENT]
    if found := shutil.which("docker"):
        candidates.append(Path(found))
    there = [candidate for candidate in candidates if candidate.exists()]
    return next((one for one in there if answers(one)), there[0] if there else None)


def _pid_file() -> Path:
    return files.cache() / "dockerd.pid"


def own_pid() -> int | None:
    """Process id of the daemon that `start` started, None when it does not run any more."""
    try:
        pid = int(_pid_file().read_text(encoding="ascii"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(_pid_file()) in words else None


def _runtime_words(machine: Machine) -> list[str]:
    if machine.sys_resource:
        return []
    # A copy that outlives Bazel's runfiles and the virtual environment that this process runs in.
    wrapper = files.cache() / _WRAPPER
    source = Path(__file__).with_name(_WRAPPER).read_text(encoding="utf-8")
    wrapper.write_text(f"#!{Path(sys.executable).resolve()} -IS\n{source}", encoding="utf-8")
    wrapper.chmod(0o755)
    return ["--add-runtime", f"within-limits={wrapper}", "--default-runtime", "within-limits"]


def start(machine: Machine) -> str:
    """Starts a daemon that goes on after this process.

    Args:
        machine: what is known of this machine.

    Returns:
        A word about it for the user.

    Raises:
        KindError: it ended, or does not answer, or the firewall can't be read.
    """
    log = files.cache() / "dockerd.log"
    words = ["dockerd", "--pidfile", str(_pid_file()), *_runtime_words(machine)]
    network.remember()
    with log.open("wb") as output:
        daemon = subprocess.Popen(  # noqa: S603
            words, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + _START_SECONDS
    while daemon.poll() is None and time.monotonic() < deadline:
        if answers(DEBIAN_CLIENT):
            return f"started dockerd, process {daemon.pid}; its log: {log}"
        time.sleep(0.2)
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
    what = "ended by itself; the kernel may lack what it names (overlay, nf_tables, cgroups)"
    if daemon.poll() is None:
        daemon.terminate()
        what = f"did not answer within {_START_SECONDS} s and was stopped"
    raise KindError(f"dockerd {what}. Its log, {log}, ends:\n{tail}")


def stop(docker: Path) -> str | None:
    """Stops the daemon that `start` started, unless it has containers.

    Returns:
        A word about it for the user; None where no daemon of ours runs.

    Raises:
        KindError: it does not end, or something that it set up can't be removed.
    """
    pid = own_pid()
    if pid is None:
        return None
    if containers := run([docker, "ps", "--all", "--quiet"]).split():
        return f"dockerd (process {pid}) was left: it has {len(containers)} other containers"
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    # Its pid file goes a moment before it does.
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise KindError(f"dockerd, process {pid}, has not ended {_STOP_SECONDS} s after SIGTERM")
        time.sleep(0.1)
    network.put_back()
    return f"stopped dockerd, process {pid}"


def remove_images(docker: Path, label: str) -> int:
    """Removes all stopped containers and unused images with a label, NAME or NAME=VALUE.

    Returns:
        How many names of images are gone.
    """
    # Containers of a build that was killed.
    run([docker, "container", "prune", "--force", "--filter", f"label={label}"])
    pruned = run([docker, "image", "prune", "--all", "--force", "--filter", f"label={label}"])
    return pruned.count("untagged: ")


def has_image(docker: Path, name: str) -> bool:
    """Whether the daemon has an image of this name."""
    return succeeds([docker, "image", "inspect", name])


def root_folder(docker: Path) -> Path:
    """Where the daemon keeps images."""
    return Path(str(json.loads(run([docker, "info", "--format", "{{json .DockerRootDir}}"]))))
