"""The Go client's own tests, and that nothing of the module is left out."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

# In Bazel's runfiles.
BUILT = Path("../go_client").absolute()
GO = Path("../go_sdk/go/bin/go").absolute()
TESTS = BUILT / "bin/mmclient.test"
SOURCES = sorted(Path("go").rglob("*.go"))
GENERATED = {"multimodalpb/multimodal.pb.go", "multimodalpb/multimodal_grpc.pb.go"}


def run(program: Path, *words: str | Path) -> str:
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", run(TESTS, "-test.list", ".").split())
def test_go(name: str) -> None:
    assert f"--- PASS: {name} " in run(TESTS, "-test.v", "-test.run", f"^{name}$")


def test_sources_are_formatted() -> None:
    # Beside Go, which lies among its files where it really is.
    assert run(GO.resolve().with_name("gofmt"), "-l", *SOURCES) == ""


def test_every_source_is_built() -> None:
    built = {str(path.relative_to(BUILT / "module")) for path in (BUILT / "module").rglob("*.go")}
    assert built == {str(path.relative_to("go")) for path in SOURCES} | GENERATED, "WORKSPACE lists the sources"


def test_every_package_with_tests_is_tested() -> None:
    tested = {path.stem for path in (BUILT / "bin").glob("*.test")}
    assert tested == {path.parent.name for path in SOURCES if path.name.endswith("_test.go")}, "WORKSPACE lists them"


def test_the_archive_is_the_module_and_its_licence() -> None:
    with tarfile.open("go/multimodal-go.tar.gz") as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    sources = {str(path.relative_to("go")) for path in SOURCES}
    beside = {"LICENSE", "buf.gen.yaml", "go.mod", "go.sum"}
    assert {member.name for member in members} == {f"multimodal-go/{name}" for name in sources | GENERATED | beside}
