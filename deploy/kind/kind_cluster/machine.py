"""What this machine has, and in words what a cluster would lack on it."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

GIB = 1 << 30
_CAP_SYS_RESOURCE = 24
_CGROUPS = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")


class Mode(Enum):
    """Where the node image comes from."""

    STOCK = "stock"
    AIRGAP = "airgap"


# GiB that must be free. Measured: docs/kind.md.
_DISK = {Mode.STOCK: 4, Mode.AIRGAP: 8}
_MEMORY = {Mode.STOCK: 2, Mode.AIRGAP: 3}


@dataclass(frozen=True)
class Machine:
    """Facts about this machine.

    Attributes:
        root: this process is root's.
        service_manager: systemd runs, and starting Docker is its work.
        apt: apt-get is there.
        sys_resource: containers can be given CAP_SYS_RESOURCE.
        overlay: the kernel has overlayfs.
        cgroup: version of the control groups, 1 or 2.
        controllers: control group controllers of version 1 that the kernel has.
        memory: bytes that programs can still have.
        disk: bytes free where images and caches go.
    """

    root: bool
    service_manager: bool
    apt: bool
    sys_resource: bool
    overlay: bool
    cgroup: int
    controllers: frozenset[str]
    memory: int
    disk: int


def bounding_capabilities(status: str) -> int:
    """The set of capabilities that nothing started from here can leave, from the text of /proc/self/status."""
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))


def available_memory(meminfo: str) -> int:
    """Bytes that programs can still have without swapping, from the text of /proc/meminfo."""
    return next(int(line.split()[1]) << 10 for line in meminfo.splitlines() if line.startswith("MemAvailable:"))


def enabled_controllers(cgroups: str) -> frozenset[str]:
    """Names of the enabled control group controllers, from the text of /proc/cgroups."""
    rows = [line.split() for line in cgroups.splitlines() if not line.startswith("#")]
    return frozenset(row[0] for row in rows if row[3:4] == ["1"])


def this_machine(folder: Path) -> Machine:
    """Looks at this machine.

    Args:
        folder: where images and caches go; it, or a parent of it, exists.

    Returns:
        What was found.
    """
    proc = Path("/proc")
    while not folder.exists():
        folder = folder.parent
    return Machine(
        root=os.geteuid() == 0,
        service_manager=Path("/run/systemd/system").is_dir(),
        apt=shutil.which("apt-get") is not None,
        sys_resource=bool(bounding_capabilities((proc / "self/status").read_text()) >> _CAP_SYS_RESOURCE & 1),
        overlay="\toverlay\n" in (proc / "filesystems").read_text() or Path("/sys/module/overlay").exists(),
        cgroup=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        controllers=enabled_controllers((proc / "cgroups").read_text()) if (proc / "cgroups").exists() else frozenset(),
        memory=available_memory((proc / "meminfo").read_text()),
        disk=shutil.disk_usage(folder).free,
    )


def lacks(machine: Machine, mode: Mode) -> list[str]:
    """Says what keeps a cluster from running here.

    Args:
        machine: what this machine has.
        mode: where the node image comes from.

    Returns:
        One sentence for each thing that is missing: what was found, what is needed, what to do.
    """
    found = []
    if machine.memory < (needed := _MEMORY[mode] * GIB):
        found.append(
            f"{machine.memory / GIB:.1f} GiB of memory are available and {needed / GIB:.0f} GiB are needed: "
            "end other programs or take a larger machine."
        )
    if machine.disk < (needed := _DISK[mode] * GIB):
        found.append(
            f"{machine.disk / GIB:.1f} GiB of disk are free and {needed / GIB:.0f} GiB are needed: "
            "free some, for instance with `docker system prune`."
        )
    if not machine.overlay:
        found.append("The kernel has no overlayfs, which the nodes' images need: `modprobe overlay` as root.")
    if mode is Mode.AIRGAP and machine.cgroup != 1:
        found.append(
            "The node image that is built here is for control groups of version 1 and this machine has version 2: "
            "let Docker pull the stock image (--stock), or `docker load` it from a file of `docker save`."
        )
    elif mode is Mode.AIRGAP and (missing := sorted(set(_CGROUPS) - machine.controllers)):
        found.append(f"The kernel has no control group {', '.join(missing)}: all of {', '.join(_CGROUPS)} are needed.")
    if mode is Mode.AIRGAP and not machine.root:
        found.append("Building a node image needs root, for mmdebstrap and for Docker: run the same as root.")
    return found
