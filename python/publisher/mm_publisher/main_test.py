"""The command as people use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mm_publisher.__main__ import main
from publisher_testing.faults import wait_until
from publisher_testing.models import CONFIG, NAME, write_source
from publisher_testing.proxy import KEY, FakeProxy
from publisher_testing.reader import served


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for number in (1, 2, 3):
        write_source(tmp_path / str(number), float(number))
    return tmp_path / "models"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeProxy]:
    with FakeProxy() as fake:
        monkeypatch.setenv("MM_ADDR", fake.addr)
        monkeypatch.setenv("DOMINO_USER_API_KEY", KEY)
        yield fake


def _publish(root: Path, number: int, *words: str) -> int:
    return main(["publish", str(root.parent / str(number)), str(root), "--name", NAME, *words])


def test_a_version_is_published_and_rolled_back(
    root: Path, proxy: FakeProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.state.ready = {"1": ("Y",), "2": ("Y",)}
    assert _publish(root, 1) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"published {NAME} version 1\n")
    for line in ("mm-publish: checking", "mm-publish: writing", "mm-publish: reading it back"):
        assert line in err
    assert _publish(root, 2, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["action"], report["serving"], report["was_serving"]) == ("published", [1, 2], [1])
    del proxy.state.ready["2"]
    assert main(["rollback", NAME, str(root)]) == 0
    assert capsys.readouterr().out.startswith(f"rolled back to {NAME} version 1\n")
    assert list(served(root, NAME)) == [1]


def test_the_same_again_is_only_asked_for(root: Path, proxy: FakeProxy, capsys: pytest.CaptureFixture[str]) -> None:
    proxy.state.ready = {"1": ("Y",)}
    assert _publish(root, 1, "--version", "1") == 0
    before = (root / NAME / "config.pbtxt").stat().st_mtime_ns
    capsys.readouterr()
    assert _publish(root, 1, "--version", "1") == 0
    assert capsys.readouterr().out.startswith(f"already serving {NAME} version 1\n")
    assert (root / NAME / "config.pbtxt").stat().st_mtime_ns == before


def test_what_does_not_serve_is_rolled_back(root: Path, proxy: FakeProxy, capsys: pytest.CaptureFixture[str]) -> None:
    proxy.state.ready = {"1": ("Y",)}
    assert _publish(root, 1) == 0
    assert _publish(root, 2, "--ready-timeout", "0.5") == 4
    err = capsys.readouterr().err
    assert f"{NAME} version 2 was rolled back, and what served before still does" in err
    assert "Request for unknown model: 'm' version 2 is not at ready state" in err
    assert list(served(root, NAME)) == [1]


def test_a_first_version_that_does_not_serve_leaves_nothing(
    root: Path, proxy: FakeProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    proxy.state.ready = {}
    assert _publish(root, 1, "--ready-timeout", "0.5") == 4
    assert f"{NAME} version 1 was rolled back, and nothing was served before" in capsys.readouterr().err
    assert not (root / NAME).exists()
    assert main(["verify", str(root)]) == 0
    assert capsys.readouterr().out == "all is as it was published\n"


def test_a_dry_run_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _publish(root, 1, "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"planned {NAME} version 1\n")
    assert 'name: "adder"\nversion_policy {\n  specific {\n    versions: 1\n  }\n}' in out
    assert list(root.iterdir()) == []


def test_list_diff_verify_and_retire(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        assert _publish(root, number, "--no-wait", "--keep", "0") == 0
    capsys.readouterr()
    assert main(["list", str(root)]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["MODEL", "VERSION", "SERVES", "SIZE", "PUBLISHED", "BY", "FROM"]
    assert first.split()[:3] == [NAME, "1", "no"]
    assert second.split()[:3] == [NAME, "2", "yes"]
    assert main(["list", str(root), "--model", NAME, "--json"]) == 0
    assert [row["serving"] for row in json.loads(capsys.readouterr().out)] == [False, True]

    assert main(["diff", str(root.parent / "3"), str(root), "--name", NAME]) == 1
    out = capsys.readouterr().out
    assert "-    versions: 2\n" not in out
    assert "+    versions: 3\n" in out
    assert f"differs from version 2: model.onnx, {(root / NAME / '2/model.onnx').stat().st_size} bytes" in out

    assert main(["verify", str(root)]) == 0
    assert capsys.readouterr().out == "all is as it was published\n"
    assert main(["retire", NAME, "2", str(root)]) == 3
    assert "adder version 2 serves; publish or roll back to another first" in capsys.readouterr().err
    assert main(["retire", NAME, "1", str(root)]) == 0
    assert capsys.readouterr().out.startswith("retired adder version 1, ")
    assert not (root / NAME / "1").exists()
    assert main(["retire", NAME, "1", str(root)]) == 3
    assert "adder has no version 1" in capsys.readouterr().err

    (root / NAME / "2/model.onnx").write_bytes(b"meddled")
    (root / NAME / "config.pbtxt").write_text(CONFIG)
    (root / NAME / "5").mkdir()
    (root / NAME / "5/model.onnx").write_bytes(b"by hand")
    capsys.readouterr()
    assert main(["verify", str(root), "--json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    for part in (
        "adder/2/model.onnx has 7 bytes, expected",
        "adder/5 was not published by mm-publish, or not to the end",
        "adder/config.pbtxt has no version_policy that names versions",
        "adder/config.pbtxt is not what mm-publish wrote at",
    ):
        assert any(text.startswith(part) for text in problems), (part, problems)
    assert main(["rollback", NAME, str(root), "--no-wait"]) == 3


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["publish", "{1}", "{root}"], 2, "no proxy is given to see the version serve through"),
        (["publish", "{1}", "{root}", "--no-wait", "--version", "01"], 2, "without leading zeros"),
        (["publish", "{1}", "{root}", "--no-wait", "--name", "a/b"], 2, "give another with --name"),
        (
            ["publish", "https://ann:s3cret@x/y", "{root}", "--no-wait"],
            2,
            "the source is 'https://***@x/y'; expected m",
        ),
        (["publish", "", "{root}", "--no-wait"], 2, "the source is ''; expected models:/NAME/VERSION"),
        (
            ["publish", "{1}", "", "--no-wait"],
            2,
            "the target is ''; expected s3://BUCKET/PREFIX or the path of a folder",
        ),
        (["publish", "{1}", "gs://x/y", "--no-wait"], 2, "expected s3://BUCKET/PREFIX or the path of a folder"),
        (["publish", "{1}", "{root}/none", "--no-wait"], 2, "is not a folder; expected the root of a model repository"),
        (["publish", "models:/a/1", "{root}/none", "--no-wait"], 2, "{root}/none is not a folder"),
        (["publish", "{1}", "{root}", "--no-wait", "--gpu"], 2, "need --write-config"),
        (["publish", "models:/a/b", "{root}", "--no-wait"], 2, "expected models:/NAME/VERSION or models:/NAME@ALIAS"),
        (["publish", "models:/a/1", "{root}", "--no-wait"], 2, "expected MLFLOW_TRACKING_URI"),
        (["publish", "{1}", "{root}", "--addr", "x:1", "--sample", "{1}/model.onnx"], 2, "expected a .npz file"),
        (["publish", "{1}", "{root}", "--addr", "x:1", "--tls", "maybe"], 2, "MM_TLS (--tls) is 'maybe'"),
        (
            ["publish", "{1}", "{root}", "--name", "a", "--no-wait", "--write-config"],
            3,
            "has a config.pbtxt of its own",
        ),
        (["rollback", "adder", "{root}", "--no-wait"], 3, "adder was never published here by mm-publish"),
        (["list", "{root}", "--model", "adder"], 3, "there is no model 'adder' in {root}; there are none"),
        (["verify", "s3://UPPER/x"], 2, "expected s3://BUCKET/PREFIX, such as s3://models/triton"),
    ],
)
def test_each_mistake_has_its_status_and_words(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, expected: str
) -> None:
    places = {"{root}": str(root), "{1}": str(root.parent / "1")}
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
        expected = expected.replace(name, place)
    assert main([*words, "--json"]) == status
    out, err = capsys.readouterr()
    assert expected in err
    answer = json.loads(out)
    assert answer["exit_status"] == status
    assert expected in answer["error"]
    assert "s3cret" not in out + err
    assert not any(path.name.startswith(NAME) for path in root.iterdir())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--keep", "-1"], "argument --keep: '-1' is no whole number from 0"),
        (["--instances", "two"], "argument --instances: 'two' is no whole number from 1"),
        (["--max-batch-size", "9999999999"], "argument --max-batch-size: '9999999999' is no whole number from 0"),
        (["--preferred-batch-sizes", "4,,8"], "argument --preferred-batch-sizes: '' is no whole number from 1"),
        (["--ready-timeout", "nan"], "argument --ready-timeout: 'nan' is no number of seconds above 0, of at most a"),
        (["--lease-secs", "1m"], "argument --lease-secs: '1m' is no number of seconds above 0, of at most a day"),
    ],
)
def test_wrong_numbers_are_refused_in_words(
    capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["publish", "source", "target", *words])
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err


def test_a_source_that_cannot_be_read_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root.parent / "1/config.pbtxt").unlink()
    # Of this process, whose first page no user may read.
    (root.parent / "1/config.pbtxt").symlink_to("/proc/self/mem")
    assert _publish(root, 1, "--no-wait") == 3
    assert f"mm-publish: {root.parent / '1'} cannot be read: [Errno 5] Input/output error" in capsys.readouterr().err
    assert list(root.iterdir()) == []


def test_help_has_examples_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for part in ("examples:", "mm-publish publish models:/churn@champion", "exit status:", "rolled back"):
        assert part in out
    assert all(len(line) <= 120 for line in out.splitlines())


def test_a_sample_is_sent(root: Path, proxy: FakeProxy, tmp_path: Path) -> None:
    proxy.state.ready = {"1": ("Y",)}
    np.savez(tmp_path / "sample.npz", X=np.zeros((3, 1), np.float32))
    assert _publish(root, 1, "--sample", str(tmp_path / "sample.npz")) == 0
    assert list(proxy.state.packets[-1].control.inputs[0].shape.dims) == [3, 1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_one_lets_go_of_the_model(
    root: Path, proxy: FakeProxy, number: signal.Signals, status: int
) -> None:
    command = [sys.executable, "-P", "-m", "mm_publisher", "publish", str(root.parent / "1"), str(root), "--name", NAME]
    command.append("--json")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        config = root / NAME / "config.pbtxt"
        wait_until(lambda: config.exists() and len(proxy.state.packets) > 1, 60)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == status
    expected = "interrupted; the next mm-publish of this model finishes or undoes what was begun"
    assert err.splitlines()[-1] == f"mm-publish: {expected}"
    assert json.loads(out) == {"error": expected, "problems": [], "exit_status": status}
    lease = json.loads(next(root.glob(".mm-publish.lease.*")).read_text())
    assert lease["released"] is True
    proxy.state.ready = {"1": ("Y",), "2": ("Y",)}
    assert _publish(root, 2, "--wait-for-lease", "1") == 0
    assert list(served(root, NAME)) == [1, 2]
