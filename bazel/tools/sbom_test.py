from __future__ import annotations

import json

import sbom

METADATA = "Metadata-Version: 2.4\nName: Some_Thing.x\nVersion: 1.0+local\n"


def test_a_debian_package_is_named_as_advisories_name_it() -> None:
    control = {
        "Package": "libstdc++6",
        "Version": "1:12.2.0-14+deb12u1",
        "Architecture": "amd64",
        "Source": "gcc-12 (12)",
    }
    described = sbom.debian(control, "12", size=7, sha256="ab")
    assert described["purl"] == (
        "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=gcc-12"
    )
    assert described["version"] == "1:12.2.0-14+deb12u1"
    assert described["hashes"] == [{"alg": "SHA-256", "content": "ab"}]


def test_a_python_distribution() -> None:
    described = sbom.python(METADATA + "License-Expression: MIT OR Apache-2.0\n", size=7, sha256="ab")
    assert (described["name"], described["purl"]) == ("some-thing-x", "pkg:pypi/some-thing-x@1.0%2Blocal")
    assert described["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert sbom.python(METADATA + "License: BSD\n", size=7, sha256="ab")["licenses"] == [{"license": {"name": "BSD"}}]
    for unclear in ("", f"License: {'long ' * 30}\n"):
        assert "licenses" not in sbom.python(METADATA + unclear, size=7, sha256="ab")


def test_a_bill_is_the_same_each_time_and_names_the_image() -> None:
    one = sbom.application("a", "1", size=3)
    two = sbom.python(METADATA, size=9, sha256="ab")
    bill = sbom.bill("some/image:1.2", "sha256:00ff", [one, two])
    assert bill == sbom.bill("some/image:1.2", "sha256:00ff", [two, one])
    document = json.loads(bill)
    assert document["metadata"]["component"]["purl"] == "pkg:oci/image@sha256%3A00ff"
    assert document["metadata"]["component"]["version"] == "1.2"
    assert [item["name"] for item in document["components"]] == ["a", "some-thing-x"]
    assert "timestamp" not in document["metadata"]
    assert document["serialNumber"] != json.loads(sbom.bill("some/image:1.2", "sha256:01", []))["serialNumber"]


def test_what_fills_an_image() -> None:
    found = [sbom.application(str(size), "1", size=size) for size in (3, 30, 10)]
    assert sbom.largest(found, 2) == [("30 1", 30), ("10 1", 10)]
