"""Calls by libraries of other languages: each has a small program that makes the call it reads as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from conformance.callers import SERVICE, Place
from conformance.programs import PATIENCE, Outcome, files, run, tool
from multimodal_contract import pb

_SOURCES = Path(__file__).absolute().parent.parent / "foreign"

# Runs the program with what it reads.
Program: TypeAlias = Callable[[str], Outcome]


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
        status: gRPC's number.
        details: the status's text.
        acks: what came before.
        trailers: the trailing metadata.
    """

    status: int
    details: str
    acks: list[pb.Ack]
    trailers: Mapping[str, str]


def call(
    program: Program,
    place: Place,
    method: str,
    packets: Sequence[pb.DataPacket],
    metadata: Mapping[str, str],
    *,
    gzip: bool = False,
) -> Ended:
    """Has a program make a call.

    Raises:
        AssertionError: it failed otherwise than by the call's status.
    """
    asked = {
        "address": place.address,
        "authority": str(place.tls.authority) if place.tls else None,
        "method": f"/{SERVICE}/{method}",
        "stream": method == "Chat",
        "gzip": gzip,
        "seconds": PATIENCE // 2,
        "metadata": dict(metadata),
        "messages": [base64.b64encode(packet.SerializeToString()).decode() for packet in packets],
    }
    outcome = program(json.dumps(asked))
    assert outcome.status == 0, outcome.text
    ended: dict[str, Any] = json.loads(outcome.stdout)
    acks = [pb.Ack.FromString(base64.b64decode(ack)) for ack in ended["messages"]]
    return Ended(ended["status"], ended["details"], acks, ended["trailers"])


def grpc_js() -> Program:
    """grpc-js: see `files`; and Node.js.

    Raises:
        MissingError: one of them is not there.
    """
    node = tool("node", "Node.js is not installed; grpc-js needs it")
    # One file stands for the packages, which lie around it where it really is.
    packages = (files("grpc_js", "node_modules") / ".package-lock.json").resolve().parent
    return lambda asked: run(node, _SOURCES / "caller.js", stdin=asked, environment={"NODE_PATH": str(packages)})


def grpc_java() -> Program:
    """grpc-java: see `files`; and a JDK.

    Raises:
        MissingError: one of them is not there.
    """
    java = tool("java", "Java is not installed; grpc-java needs a JDK, 11 or newer")
    tool("javac", "there is a Java without a compiler; the program that calls grpc-java needs a JDK, 11 or newer")
    jars = files("grpc_java", "files")
    return lambda asked: run(java, "-cp", jars / "*", _SOURCES / "Caller.java", stdin=asked)
