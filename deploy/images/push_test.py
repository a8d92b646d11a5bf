from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import oci_archive
import oci_main
import pytest
from image_files import layout, read

CRANE = Path("../crane/bin/crane").absolute()


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry in memory, gone with the test."""
    command = [str(CRANE), "registry", "serve", "--address", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if found := re.search(r"serving on port (\d+)", line):
                break
        else:
            pytest.fail(f"the registry did not start: {output}")
        yield f"127.0.0.1:{found[1]}"
        process.terminate()


def crane(*words: str) -> str:
    return subprocess.run([str(CRANE), *words], capture_output=True, text=True, check=True).stdout.strip()


def push(name: str, target: str, capfd: pytest.CaptureFixture[str]) -> str:
    """Pushes as `bazel run` does; returns what was said."""
    capfd.readouterr()
    status = oci_main.main(["push", str(layout(name)), str(CRANE), target])
    output = capfd.readouterr()
    assert status == 0, output.err
    return output.out + output.err


def test_a_push_arrives_and_a_second_one_sends_nothing(registry: str, capfd: pytest.CaptureFixture[str]) -> None:
    digest = oci_archive.digest(layout("proxy"))
    layers = read("proxy").layer_digests
    place = f"{registry}/domino-triton-proxy"

    first = push("proxy", registry, capfd)
    assert f"{place}@{digest}" in first
    assert all(f"pushed blob: {layer}" in first for layer in layers)
    assert crane("digest", f"{place}:0.1.0") == digest
    crane("validate", "--remote", f"{place}:0.1.0")

    second = push("proxy", f"{place}:0.1.0", capfd)
    assert f"{place}@{digest}" in second
    assert f"existing manifest: 0.1.0@{digest}" in second
    assert "pushed blob" not in second


def test_another_image_brings_only_its_own_layers(registry: str, capfd: pytest.CaptureFixture[str]) -> None:
    push("proxy", f"{registry}/team/images:proxy", capfd)
    output = push("client", f"{registry}/team/images:client", capfd)
    base, *own = read("client").layer_digests
    assert f"existing blob: {base}" in output
    assert all(f"pushed blob: {layer}" in output for layer in own)
    assert sorted(crane("ls", f"{registry}/team/images").split()) == ["client", "proxy"]


def test_a_registry_that_is_not_there_is_reported(capfd: pytest.CaptureFixture[str]) -> None:
    assert oci_main.main(["push", str(layout("proxy")), str(CRANE), "127.0.0.1:9/x"]) == 1
    assert "connection refused" in capfd.readouterr().err
