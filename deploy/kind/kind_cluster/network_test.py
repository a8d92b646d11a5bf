"""Against the kernel's own firewall, in a network of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OWN_NETWORK = ("unshare", "--user", "--map-root-user", "--net")
# What Debian's dockerd 20.10 sets up for itself.
AS_DOCKERD = """
iptables -P FORWARD DROP
iptables -N DOCKER
iptables -N DOCKER-USER
iptables -t nat -N DOCKER
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -A DOCKER-USER -j RETURN
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables -t nat -A DOCKER -i docker0 -j RETURN
ip link add docker0 type bridge
echo 1 >/proc/sys/net/ipv4/ip_forward
"""
# What the machine's owner had there.
BEFORE = """
iptables -A FORWARD -s 10.1.0.0/16 -m comment --comment "not ours" -j ACCEPT
iptables -t nat -A POSTROUTING -s 10.1.0.0/16 -j MASQUERADE
echo 0 >/proc/sys/net/ipv4/ip_forward
"""
STATE = """
iptables-save | grep -v '^#' | sed 's/ \\[.*//'
ip -brief link show type bridge
cat /proc/sys/net/ipv4/ip_forward
"""
ENVIRONMENT = {**os.environ, "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}


def inside(tmp_path: Path, script: str) -> str:
    words = [*OWN_NETWORK, "sh", "-ec", script]
    environment = {**ENVIRONMENT, "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout


def called(function: str) -> str:
    return f'{sys.executable} -c "from kind_cluster import network; network.{function}()"\n'


@pytest.fixture(autouse=True)
def _possible(tmp_path: Path) -> None:
    try:
        inside(tmp_path, "iptables -t nat -L\nip link add x type bridge\nip link delete x\n" + BEFORE)
    except (OSError, subprocess.CalledProcessError) as error:
        why = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else error
        pytest.skip(f"no network of our own with iptables and ip here: {why}")


def test_what_dockerd_set_up_is_removed_and_nothing_else(tmp_path: Path) -> None:
    seen = inside(
        tmp_path,
        f"{BEFORE}{STATE}echo ----\n{called('remember')}{AS_DOCKERD}{STATE}echo ----\n{called('put_back')}{STATE}",
    )
    before, meanwhile, after = seen.split("----\n")
    assert "DOCKER" in meanwhile
    assert "docker0" in meanwhile
    # A table that was looked at exists from then on, without rules.
    assert [line for line in after.splitlines() if line in before.splitlines()] == before.splitlines()
    assert "DOCKER" not in after
    assert "docker0" not in after
    assert after.splitlines()[-1] == "0"


def test_without_a_note_nothing_is_touched(tmp_path: Path) -> None:
    assert "DOCKER" in inside(tmp_path, f"{AS_DOCKERD}{called('put_back')}{STATE}")
