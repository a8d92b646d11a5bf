"""What a dockerd changes in the machine's network, and does not undo when it ends: chains, a bridge, forwarding."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
from pathlib import Path

from kind_cluster import files
from kind_cluster.command import run

BRIDGE = "docker0"
_CHAIN = "DOCKER"
_TABLES = ("nat", "filter")
# Which program, and the switch that dockerd turns on when it finds it off.
_FAMILIES = {"iptables": "net/ipv4/ip_forward", "ip6tables": "net/ipv6/conf/all/forwarding"}
_SETTINGS = Path("/proc/sys")


def _note() -> Path:
    return files.cache() / "network.json"


def remember() -> None:
    """Notes how forwarding is set, before a dockerd is started. It drops all that it does not forward itself.

    Raises:
        KindError: the firewall can't be read.
    """
    note = {}
    for program, switch in _FAMILIES.items():
        if shutil.which(program) and (_SETTINGS / switch).exists():
            policy = _rules(program, "filter", "FORWARD")[0]
            note[program] = [policy, (_SETTINGS / switch).read_text(encoding="ascii").strip()]
    _note().write_text(json.dumps(note), encoding="utf-8")


def put_back() -> None:
    """Removes what a dockerd that has ended left, and sets forwarding as `remember` found it.

    Raises:
        KindError: something could not be removed.
    """
    if not _note().exists():
        return
    for program, (policy, forwarding) in json.loads(_note().read_text(encoding="utf-8")).items():
        for table in _TABLES:
            _remove_chains(program, table)
        run([program, "-w", *shlex.split(policy)])
        (_SETTINGS / _FAMILIES[program]).write_text(forwarding, encoding="ascii")
    if BRIDGE in (name for _, name in socket.if_nameindex()) and shutil.which("ip"):
        run(["ip", "link", "delete", BRIDGE])
    _note().unlink()


def _rules(program: str, table: str, *chain: str) -> list[str]:
    return run([program, "-w", "-t", table, "-S", *chain]).splitlines()


def _remove_chains(program: str, table: str) -> None:
    """Removes dockerd's chains from a table, and first all rules that lead there or name its bridge."""
    rules = [shlex.split(rule) for rule in _rules(program, table)]
    for kind, chain, *rest in rules:
        ours = BRIDGE in rest or any(word.startswith(_CHAIN) for word in rest)
        if kind == "-A" and ours and not chain.startswith(_CHAIN):
            run([program, "-w", "-t", table, "-D", chain, *rest])
    chains = [chain for kind, chain, *_ in rules if kind == "-N" and chain.startswith(_CHAIN)]
    for action in ("-F", "-X"):
        for chain in chains:
            run([program, "-w", "-t", table, action, chain])
