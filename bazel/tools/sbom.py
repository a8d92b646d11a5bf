"""Describe software in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), the same way each time."""

from __future__ import annotations

import email.parser
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

# Bytes in the image; the standard has no field for it.
SIZE = "multimodal:size_bytes"
_NAMESPACE = uuid.UUID("1b0c1a4e-3d5c-5a6e-9d0e-6f1a53c2b7d4")
_LONGEST_LICENSE = 60


def _purl(kind: str, name: str, version: str, **qualifiers: str) -> str:
    # https://github.com/package-url/purl-spec: qualifiers are sorted, and everything is percent-encoded.
    text = f"pkg:{kind}/{quote(name)}@{quote(version, safe='.-~')}"
    pairs = [f"{key}={quote(value, safe='.-~')}" for key, value in sorted(qualifiers.items())]
    return f"{text}?{'&'.join(pairs)}" if pairs else text


def component(
    name: str, version: str, purl: str, *, size: int, sha256: str = "", kind: str = "library"
) -> dict[str, Any]:
    """One piece of software.

    Args:
        name: its name.
        version: its version.
        purl: its package URL.
        size: bytes that it has in the image.
        sha256: hash of the package it came from, in hexadecimal, where it came from one.
        kind: CycloneDX's type, such as "library" or "application".
    """
    described: dict[str, Any] = {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if sha256:
        described["hashes"] = [{"alg": "SHA-256", "content": sha256}]
    described["properties"] = [{"name": SIZE, "value": str(size)}]
    return described


def debian(control: Mapping[str, str], release: str, *, size: int, sha256: str) -> dict[str, Any]:
    """A Debian package.

    Args:
        control: its control fields.
        release: Debian's release, such as "12".
        size: bytes that it has in the image.
        sha256: hash of the .deb file.
    """
    name, version = control["Package"], control["Version"]
    qualifiers = {"arch": control["Architecture"], "distro": f"debian-{release}"}
    if "Source" in control:
        # Advisories name the source package.
        qualifiers["upstream"] = control["Source"].split(" ")[0]
    return component(name, version, _purl("deb/debian", name, version, **qualifiers), size=size, sha256=sha256)


def distribution(metadata: str) -> tuple[str, str]:
    """Name, in the one spelling of PEP 503, and version of a Python distribution.

    Args:
        metadata: text of its METADATA.
    """
    fields = email.parser.Parser().parsestr(metadata, headersonly=True)
    return re.sub(r"[-_.]+", "-", fields["Name"]).lower(), fields["Version"]


def python(metadata: str, *, size: int, sha256: str) -> dict[str, Any]:
    """A Python distribution.

    Args:
        metadata: text of its METADATA.
        size: bytes that it has in the image.
        sha256: hash of the wheel.
    """
    fields = email.parser.Parser().parsestr(metadata, headersonly=True)
    name, version = distribution(metadata)
    described = component(name, version, _purl("pypi", name, version), size=size, sha256=sha256)
    if expression := fields["License-Expression"]:
        described["licenses"] = [{"expression": expression}]
    elif (told := (fields["License"] or "").strip()) and len(told) <= _LONGEST_LICENSE and "\n" not in told:
        described["licenses"] = [{"license": {"name": told}}]
    return described


def application(name: str, version: str, *, size: int) -> dict[str, Any]:
    """A program of this repository.

    Args:
        name: its name.
        version: its version.
        size: bytes that it has in the image.
    """
    return component(name, version, _purl("generic", name, version), size=size, kind="application")


def bill(image: str, digest: str, components: Iterable[dict[str, Any]]) -> str:
    """The bill of materials of an image.

    Args:
        image: REPOSITORY:TAG.
        digest: digest of its manifest, "sha256:…".
        components: what is in it.

    Returns:
        JSON, the same for the same image: no time, and a serial number that follows from the digest.
    """
    repository, _, version = image.rpartition(":")
    subject = {
        "type": "container",
        "bom-ref": image,
        "name": repository,
        "version": version,
        "purl": _purl("oci", repository.rpartition("/")[2], digest),
    }
    sorted_components = sorted(components, key=lambda item: str(item["bom-ref"]))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {"component": subject},
        "components": sorted_components,
        "dependencies": [{"ref": image, "dependsOn": [item["bom-ref"] for item in sorted_components]}],
    }
    return json.dumps(document, indent=2) + "\n"


def largest(components: Iterable[dict[str, Any]], number: int) -> list[tuple[str, int]]:
    """What fills an image.

    Args:
        components: what is in it.
        number: how many to name.

    Returns:
        Name and bytes of the largest components.
    """
    sizes = [
        (f"{item['name']} {item['version']}", int(prop["value"]))
        for item in components
        for prop in item["properties"]
        if prop["name"] == SIZE
    ]
    return sorted(sizes, key=lambda pair: -pair[1])[:number]
