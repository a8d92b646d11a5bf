from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import oci_image
import oci_main
import pytest
from oci_layer import File, Tree, finish

# Stands in for Docker's client: notes its words, and keeps what it is to load.
CLIENT = """\
#!/bin/sh
echo "$@" >> {folder}/calls
case "$1" in
version) {version} ;;
load) cat > {folder}/loaded.tar; {load} ;;
esac
"""


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    tree = Tree()
    tree.add("opt/x", File(b"x"))
    finish(tree, [], tmp_path / "base.tar.gz", tmp_path / "base.json")
    metadata = json.loads((tmp_path / "base.json").read_text())
    layers = [oci_image.Layer("base", tmp_path / "base.tar.gz", metadata)]
    oci_image.write(tmp_path / "oci", "some/image:1.2", {"Labels": {}}, layers)
    return tmp_path / "oci"


def client(folder: Path, *, version: str = ":", load: str = ":") -> Path:
    path = folder / "docker-client"
    path.write_text(CLIENT.format(folder=folder, version=version, load=load))
    path.chmod(0o755)
    return path


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_load(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER", str(client(tmp_path)))
    assert oci_main.main(["load", str(layout)]) == 0
    with tarfile.open(tmp_path / "loaded.tar") as tar:
        assert "manifest.json" in tar.getnames()
    name, digest = capsys.readouterr().out.split()
    assert name == "some/image:1.2"
    assert (layout / "blobs" / digest.replace(":", "/")).exists()


def test_run_is_careful_and_passes_words_on(layout: Path, tmp_path: Path) -> None:
    code = "import sys, oci_main; sys.exit(oci_main.main(sys.argv[1:]))"
    words = ["run", str(layout), "--shm-size=1m", "--", "--env", "A=1", "--", "--help", "two words"]
    env = {**os.environ, "DOCKER": str(client(tmp_path)), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, *words], env=env, check=True, stdin=subprocess.DEVNULL)
    assert calls(tmp_path)[-1] == (
        "run --rm --read-only --tmpfs=/tmp --cap-drop=ALL --security-opt=no-new-privileges --shm-size=1m --env A=1 "
        "some/image:1.2 --help two words"
    )


@pytest.mark.parametrize(
    ("words", "options", "given"),
    [
        (["--"], [], []),
        (["-a", "--", "--help"], ["-a"], ["--help"]),
        (["-a", "--", "-v", "x:y", "--"], ["-a", "-v", "x:y"], []),
        (["--", "--", "sh", "--", "x"], [], ["sh", "--", "x"]),
    ],
)
def test_split(words: list[str], options: list[str], given: list[str]) -> None:
    assert oci_main.split(words) == (options, given)


def test_without_docker_it_says_what_to_do(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER", str(tmp_path / "nowhere"))
    assert oci_main.main(["load", str(layout)]) == 1
    assert "was found: install Docker (Debian: apt-get install docker.io)" in capsys.readouterr().err
    monkeypatch.setenv("DOCKER", str(client(tmp_path, version="echo 'Cannot connect' >&2; exit 1")))
    assert oci_main.main(["load", str(layout)]) == 1
    assert "docker-client reaches no Docker daemon: Cannot connect. Start it" in capsys.readouterr().err


def test_a_load_that_fails_is_not_run(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER", str(client(tmp_path, load="exit 1")))
    assert oci_main.main(["run", str(layout), "--"]) == 1
    assert calls(tmp_path) == ["version", "load --quiet"]


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("registry.example.com", "registry.example.com/some/image:1.2"),
        ("localhost:5000", "localhost:5000/some/image:1.2"),
        ("localhost:5000/team/proxy", "localhost:5000/team/proxy:1.2"),
        ("registry.example.com/team/proxy:latest", "registry.example.com/team/proxy:latest"),
    ],
)
def test_where_a_push_goes(target: str, place: str) -> None:
    assert oci_main.reference(target, "some/image:1.2") == place


@pytest.mark.parametrize("target", ["", "/x", "registry/", "--insecure", "registry/x@sha256:00"])
def test_a_place_that_is_none_is_refused(target: str) -> None:
    with pytest.raises(oci_main.RunError, match="is no place to push to; expected REGISTRY"):
        oci_main.reference(target, "some/image:1.2")


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_push_explains_itself(words: list[str], layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert oci_main.main(["push", str(layout), "crane", *words]) == 1
    assert "expected: bazel run TARGET -- REGISTRY[/REPOSITORY[:TAG]]" in capsys.readouterr().err


def test_an_image_that_could_not_be_built_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "unavailable.txt").write_text("apt-get is not installed\n")
    assert oci_main.main(["push", str(tmp_path), "crane", "localhost:5000"]) == 1
    assert capsys.readouterr().err == "apt-get is not installed\n"
