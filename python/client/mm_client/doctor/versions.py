"""What is installed here: the client, its contract, what it stands on, and a published client beside it."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from mm_client.doctor.finding import Finding, ok, wrong
from multimodal_contract import pb

DISTRIBUTION = "domino-triton-client"
_NEEDED = ("grpcio", "protobuf", "numpy")
_PUBLISHED = "mm_client_api.py"


def check_versions(folders: Sequence[str]) -> Finding:
    """Say what is installed, whether it is as this client needs it, and whether a published client hides it.

    Args:
        folders: those that Python looks for modules in, for scripts that are started here.
    """
    try:
        own = metadata.distribution(DISTRIBUTION)
        client, requirements = own.version, own.requires or []
    except metadata.PackageNotFoundError:
        client, requirements = "from a checkout", []
    installed = {name: _version(name) for name in _NEEDED}
    contract = hashlib.sha256(pb.DESCRIPTOR.serialized_pb).hexdigest()[:12]
    words = ", ".join(
        (
            f"client {client}",
            f"contract {contract}",
            f"Python {platform.python_version()}",
            *(f"{name} {version}" for name, version in installed.items()),
        )
    )
    unfit = [each for each in requirements if not _fits(each, installed)]
    if unfit:
        return wrong(words, ", ".join(unfit), f"pip install --upgrade {DISTRIBUTION}")
    hiding = [str(Path(folder).resolve()) for folder in folders if (Path(folder) / _PUBLISHED).is_file()]
    if hiding:
        return ok(
            f"{words}; the published {_PUBLISHED} lies in {', '.join(dict.fromkeys(hiding))}, and scripts there use it "
            "instead of this library",
            "remove it there with its multimodal_pb2.py and multimodal_pb2_grpc.py; scripts need no change "
            "(docs/upgrading.md)",
        )
    return ok(words)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _fits(requirement: str, installed: dict[str, str]) -> bool:
    """Whether a requirement of the wheel is met: a name, and bounds by >= and <."""
    name = re.match(r"[A-Za-z0-9_.-]+", requirement)
    if name is None or name[0] not in installed or ";" in requirement:
        return True
    version = _numbers(installed[name[0]])
    return all(
        version >= _numbers(bound) if sign == ">=" else version < _numbers(bound)
        for sign, bound in re.findall(r"(>=|<)\s*([0-9.]+)", requirement)
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.match(r"[0-9.]*", version)[0].split(".") if part)  # type: ignore[index]
