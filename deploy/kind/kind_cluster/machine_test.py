from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kind_cluster import machine
from kind_cluster.machine import GIB, Machine, Mode, lacks

ENOUGH = Machine(
    root=True,
    service_manager=False,
    apt=True,
    sys_resource=True,
    overlay=True,
    cgroup=1,
    controllers=frozenset({"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"}),
    memory=4 * GIB,
    disk=10 * GIB,
)


@pytest.mark.parametrize("mode", Mode)
def test_a_machine_with_everything_lacks_nothing(mode: Mode) -> None:
    assert lacks(ENOUGH, mode) == []


@pytest.mark.parametrize(
    ("change", "modes", "said"),
    [
        ({"memory": GIB}, set(Mode), "1.0 GiB of memory are available and"),
        ({"disk": 3 * GIB}, set(Mode), "3.0 GiB of disk are free and"),
        ({"disk": 5 * GIB}, {Mode.AIRGAP}, "5.0 GiB of disk are free and 8 GiB are needed"),
        ({"overlay": False}, set(Mode), "modprobe overlay"),
        ({"cgroup": 2}, {Mode.AIRGAP}, "this machine has version 2: let Docker pull"),
        ({"controllers": frozenset({"cpu"})}, {Mode.AIRGAP}, "no control group blkio, cpuacct, cpuset,"),
        ({"root": False}, {Mode.AIRGAP}, "run the same as root"),
    ],
)
def test_one_thing_that_is_missing_is_the_one_thing_said(
    change: dict[str, object], modes: set[Mode], said: str
) -> None:
    poorer = dataclasses.replace(ENOUGH, **change)  # type: ignore[arg-type]  # a row of the table above
    for mode in Mode:
        found = lacks(poorer, mode)
        assert len(found) == (mode in modes)
        assert all(said in sentence for sentence in found)


@given(st.integers(0, 8 * GIB), st.integers(0, 20 * GIB), st.integers(0, GIB), st.sampled_from(Mode))
def test_more_of_a_thing_never_lacks_more(memory: int, disk: int, more: int, mode: Mode) -> None:
    poorer = dataclasses.replace(ENOUGH, memory=memory, disk=disk)
    richer = dataclasses.replace(ENOUGH, memory=memory + more, disk=disk + more)
    assert len(lacks(richer, mode)) <= len(lacks(poorer, mode))


@given(st.integers(0, (1 << 41) - 1))
def test_capabilities_are_read_as_the_kernel_writes_them(bits: int) -> None:
    status = f"Name:\tx\nCapEff:\t0000000000000000\nCapBnd:\t{bits:016x}\nSeccomp:\t0\n"
    assert machine.bounding_capabilities(status) == bits


@given(st.integers(0, 1 << 40))
def test_memory_is_read_as_the_kernel_writes_it(kib: int) -> None:
    assert machine.available_memory(f"MemTotal:  1 kB\nMemAvailable:   {kib} kB\n") == kib * 1024


def test_only_enabled_controllers_count() -> None:
    text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t1\t0\npids\t8\t1\t1\n"
    assert machine.enabled_controllers(text) == {"cpu", "pids"}


def test_this_machine_is_looked_at(tmp_path: Path) -> None:
    found = machine.this_machine(tmp_path / "not" / "there")
    assert found.memory > 0
    assert found.disk > 0
    assert found.cgroup in (1, 2)
