"""The command, as people use it, against the real scale service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

from mm_scale import __main__ as command
from scaler_testing.api_server import TRITON, ApiServer, unscheduled
from scaler_testing.service import ADMIN_KEY, TIMEOUT, USER_KEY, Service

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."


@pytest.fixture(autouse=True)
def environment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOMINO_USER_TOKEN", "DOMINO_API_PROXY", "Authorization", "MM_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOMINO_USER_API_KEY", ADMIN_KEY)
    monkeypatch.setenv("MM_SCALE_URL", f"http://127.0.0.1:{service.port}")


def test_status_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["DEPLOYMENT", "STATUS", "READY", "UPDATED", "AVAILABLE", "NAME", "YOU", "MAY"]
    assert lines[1].split()[:6] == ["inference-server", "ready", "1/1", "1", "1", f"inference/{TRITON}"]
    assert lines[1].endswith("view, logs, scale, resources, restart")


def test_status_of_one_has_pods_and_events(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["scale", "2", "--reason", "demo"])
    api.add_pod(TRITON, "p", **unscheduled(NO_GPU))
    assert command.main(["status", "-d", "inference-server"]) == 0
    text = capsys.readouterr().out
    assert f"inference-server: p: Unschedulable: {NO_GPU}" in text
    assert "root scaled from 1 to 2 replicas: demo" in text
    assert command.main(["status", "-d", "inference-server", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"]["desired"] == 2


def test_scale_waits_with_progress(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    timer = threading.Timer(0.3, api.rolled_out, [TRITON])
    timer.start()
    assert command.main(["scale", "2", "--wait"]) == 0
    timer.join()
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "inference-server is scaled to 2 replicas",
        "inference-server is ready with 2 replicas",
    ]
    assert said.err.splitlines()[0] == ("inference-server [##########..........] 1/2 available, 1 pods, progressing")
    assert said.err.splitlines()[-1].endswith("2/2 available, 2 pods, ready")


def test_a_stuck_rollout_ends_with_status_1_and_the_reason(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    api.add_pod(TRITON, "p", **unscheduled(NO_GPU))
    assert command.main(["scale", "2", "--wait"]) == 1
    assert f"mm-scale:   - p: Unschedulable: {NO_GPU}" in capsys.readouterr().err


def test_resources_are_shown_and_set(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["resources", "-d", "proxy", "set", "--requests", "cpu=1,memory=1Gi", "--limits", "memory=2Gi"]
    assert command.main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["CONTAINER", "RESOURCE", "REQUEST", "LIMIT"],
        ["proxy", "cpu", "1", "-"],
        ["proxy", "memory", "1Gi", "2Gi"],
        ["proxy", "gpu", "-", "-"],
    ]
    assert command.main(["resources", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["container_name"] == "triton"


def test_a_dry_run_says_what_would_be(api: ApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["scale", "3", "--dry-run", "--wait"]) == 0
    assert command.main(["restart", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "inference-server would be scaled to 3 replicas",
        "inference-server would be restarted",
    ]
    assert api.state.deployments[TRITON]["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("words", "changes", "status", "error"),
    [
        (["scale", "9"], {}, 3, "root may not scale inference-server to 9 replicas: the scale policy allows 0 to 4"),
        (["restart"], {"DOMINO_USER_API_KEY": USER_KEY}, 3, "ann may not restart inference-server: the scale policy"),
        (
            ["status"],
            {"DOMINO_USER_API_KEY": USER_KEY},
            1,
            "you may see nothing here; ask the",
        ),
        (["status"], {"DOMINO_USER_API_KEY": "s3cret-of-nobody"}, 3, "Domino does not accept these credentials"),
        (["status"], {"DOMINO_USER_API_KEY": ""}, 3, "no Domino credentials found"),
        (["status"], {"MM_SCALE_URL": ""}, 2, "the scale service's address is not set; expected http://{inference"),
        (["status"], {"MM_SCALE_URL": "triton:8000"}, 2, "the scale service's address can't be used; expected"),
        (["scale", "2", "--resource-version", "1"], {}, 1, "inference-server has changed: its resource_version is"),
    ],
)
def test_what_is_wrong_is_told_with_its_exit_status(
    words: list[str],
    changes: dict[str, str],
    status: int,
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    assert command.main(words) == status
    said = capsys.readouterr()
    assert (said.out, said.err[: len("mm-scale: ") + len(error)]) == ("", f"mm-scale: {error}")
    assert "s3cret" not in said.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["scale", "-1"], "error: "),
        (["scale", "many"], "'many' is none; expected a whole number from 0 to 9999"),
        (["logs", "--tail", "5001"], "expected a whole number from 1 to 5000"),
        (["resources", "set", "--limits", "disk=1"], "'disk=1' can't be used; expected cpu, memory and gpu"),
        (["resources", "set", "--limits", "cpu=1,cpu=2"], "'cpu=2' can't be used"),
        (["scale", "2", "--timeout", "soon"], "'soon' is no time; expected seconds"),
        (["scale", "2", "-d", "triton"], "invalid choice: 'triton'"),
    ],
)
def test_wrong_words_are_told(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2
    assert error in capsys.readouterr().err


def test_help_has_examples_that_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])
    assert caught.value.code == 0
    assert "mm-scale scale 2 --wait" in capsys.readouterr().out


def test_logs_are_printed_and_followed(api: ApiServer) -> None:
    log = f"{TRITON}-abc-0"
    api.state.logs[log] = "2026-11-26T00:00:00.000000001Z one\n2026-11-26T00:00:00.000000002Z two\n"
    followed = subprocess.Popen(
        [sys.executable, "-P", "-m", "mm_scale", "logs", "-f"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert followed.stdout is not None
        assert [followed.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
        api.state.logs[log] += "2026-11-26T00:00:00.000000003Z three\n"
        assert followed.stdout.readline() == "three\n"
    finally:
        followed.terminate()
        followed.communicate(timeout=TIMEOUT)


def test_a_reader_that_has_had_enough_is_no_error(api: ApiServer) -> None:
    api.state.logs[f"{TRITON}-abc-0"] = "line\n" * 5000
    done = subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {sys.executable} -P -m mm_scale logs --tail 5000 | head -1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    assert (done.stdout, done.stderr) == ("line\n", "")
