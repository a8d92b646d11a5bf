"""What the chart's CronJobs run: one number set, as an account that may do nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from scale_service import set_replicas
from scaler_testing.api_server import NAMESPACE, PROXY, TRITON, ApiServer, Asked

WHY = "schedule 0 20 * * 1-5, Europe/Berlin"


def run(folder: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the audit log."""
    path = folder / "audit.jsonl"
    audit = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        status = set_replicas.main([f"--namespace={NAMESPACE}", f"--reason={WHY}", *words], audit_fd=audit)
    finally:
        os.close(audit)
    return status, [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(autouse=True)
def only_what_the_role_allows(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_URL", api.url)

    def refuse(asked: Asked) -> tuple[int, str] | None:
        allowed = asked.method == "PATCH" and asked.path.partition("?")[0].endswith(f"/deployments/{TRITON}/scale")
        allowed = allowed or (asked.method == "POST" and asked.path.partition("?")[0].endswith("/events"))
        return None if allowed else (403, f"the account cannot {asked.method} {asked.path}")

    api.refuse = refuse


def test_the_number_is_set_whatever_it_was_and_it_is_written_down(api: ApiServer, tmp_path: Path) -> None:
    for replicas in (0, 0, 3):
        assert run(tmp_path, f"--deployment={TRITON}", f"--replicas={replicas}")[0] == 0
        assert api.state.deployments[TRITON]["spec"]["replicas"] == replicas
    assert [event["message"] for event in api.state.events] == [
        f"schedule scaled to 0 replicas: {WHY}",
        f"schedule scaled to 0 replicas: {WHY}",
        f"schedule scaled to 3 replicas: {WHY}",
    ]
    assert {event["involvedObject"]["uid"] for event in api.state.events} == {f"uid-of-{TRITON}"}
    line = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])
    assert (line["principal"], line["credential"], line["result"]) == ("schedule", "none", "OK")
    assert (line["deployment"], line["asked"], line["reason"]) == (TRITON, {"replicas": 3}, WHY)


def test_a_refusal_fails_the_job_in_the_api_servers_words(
    api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, (line,) = run(tmp_path, f"--deployment={PROXY}", "--replicas=0")
    assert status == 1
    assert f"{PROXY} was not scaled to 0 replicas: Kubernetes says: the account cannot PATCH" in capsys.readouterr().err
    assert (line["event"], line["done"]) == ("refused", None)
    assert api.state.deployments[PROXY]["spec"]["replicas"] == 1


def test_a_change_without_an_event_is_made(api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.refuse = lambda asked: (403, "events is forbidden") if asked.method == "POST" else None
    assert run(tmp_path, f"--deployment={TRITON}", "--replicas=2")[0] == 0
    assert "no Event could be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([f"--deployment={TRITON}", "--replicas=-1"], "'-1': expected a whole number from 0 to 1000"),
        (["--deployment=../x", "--replicas=1"], "expected a name of lower-case letters"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, *words)
    assert expected in capsys.readouterr().err
