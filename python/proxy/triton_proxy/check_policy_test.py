from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from triton_proxy.check_policy import main

PAGE = Path(__file__).parents[3] / "docs" / "access-policy.md"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(PAGE.read_text().partition("```yaml\n")[2].partition("```")[0])
    return str(path)


def test_allowed_as_documented(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = PAGE.read_text().partition("```console\n$ ")[2].partition("```")[0]
    command, _, expected = shown.partition("\n")
    words = shlex.split(command)
    assert words[:3] == ["triton_proxy", "check-policy", "policy.yaml"]
    assert main([file, *words[3:]]) == 0
    assert capsys.readouterr().out == expected


def test_denied(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([file, "--user", "cleo", "--model", "yolov8n"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(
        "denied: model yolov8n in the version that Triton chooses\n"
        "  to user cleo, no administrator, no groups (as with an API key)\n"
        "the caller reads: cleo may not use model 'yolov8n' in Triton's version: "
    )
    assert "no rule allows it:\n  rules[0] (line 3: Everybody may try the demo models): is about other models: " in out
    assert 'is about other versions: 3; only "*" holds for a version that Triton is to choose' in out


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--user", "x", "--admin", "--model", "vision-a"], 0),
        (["--user", "x", "--model", "vision-a"], 1),
        (["--user", "x", "--group", "/a", "--group", "/organizations/acme/vision", "--model", "vision-a"], 0),
        (["--user", "ana", "--model", "a-candidate", "--version", "2"], 0),
        (["--user", "x", "--model", "demo-a\0"], 1),
    ],
)
def test_status(file: str, words: list[str], status: int) -> None:
    assert main([file, *words]) == status


def test_a_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "policy.yaml"
    question = ["--user", "x", "--model", "m"]
    assert main([str(path), *question]) == 2
    assert "can't be read (No such file or directory)" in capsys.readouterr().err
    path.write_text("rules: []")
    assert main([str(path), *question]) == 2
    assert capsys.readouterr().err == (
        f"triton_proxy check-policy: {path} can't be used\nline 1: rules is []; expected a list of at least one rule\n"
    )


@pytest.mark.parametrize("words", [[], ["--user", "x"], ["--user", "x", "--model", "m", "--group", "ml"]])
def test_wrong_arguments(file: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([file, *words])
    assert caught.value.code == 2
    assert "usage: triton_proxy check-policy" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    assert "--group /organizations/acme/ml" in capsys.readouterr().out
