from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from count_tests import Event, Run, main, read

XML = {
    "passed": "<testcase classname='m' name='{}'/>",
    "failed": "<testcase classname='m' name='{}'><failure message='x'/></testcase>",
    "error": "<testcase classname='m' name='{}'><error message='x'/></testcase>",
    "skipped": "<testcase classname='m' name='{}'><skipped message='no Go'/></testcase>",
}
END: Event = {"id": {"buildFinished": {}}, "finished": {"exitCode": {"name": "SUCCESS"}}}


def result(folder: Path, label: str, status: str, *cases: str, **key: int) -> Event:
    """A testResult event whose XML holds the cases, or with no case no XML at all."""
    outputs: list[dict[str, str]] = [{"name": "test.log", "uri": "file:///nowhere"}]
    if cases:
        path = folder / f"{label.strip('/').replace(':', ' ')}{key.get('attempt', 1)}.xml"
        body = "".join(XML[case].format(f"t{i}") for i, case in enumerate(cases))
        path.write_text(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
        outputs.append({"name": "test.xml", "uri": path.as_uri()})
    return {
        "id": {"testResult": {"label": label, "run": 1, "shard": 1, "attempt": 1, **key}},
        "testResult": {"status": status, "testActionOutput": outputs},
    }


def unbuilt(label: str, **more: Any) -> Event:
    return {"id": {"targetCompleted": {"label": label}}, **more}


def test_all_passed(tmp_path: Path) -> None:
    built = unbuilt("//a:a", completed={"success": True})
    run = Run([built, result(tmp_path, "//a:a", "PASSED", "passed", "passed"), END])
    assert run.summary == "2 passed, 0 failed"
    assert run.failures == []


def test_failed_error_and_skipped_cases(tmp_path: Path) -> None:
    cases = ("passed", "failed", "error", "skipped")
    run = Run([result(tmp_path, "//a:a", "FAILED", *cases), result(tmp_path, "//b:b", "PASSED", "passed"), END])
    assert run.summary == "2 passed, 2 failed, 1 skipped"
    assert run.failures == ["//a:a: m::t1", "//a:a: m::t2"]


def test_a_target_fails_though_its_cases_pass(tmp_path: Path) -> None:
    run = Run([result(tmp_path, "//a:a", "TIMEOUT", "passed"), END])
    assert run.summary == "1 passed, 1 failed"
    assert run.failures == ["//a:a: timeout"]


@pytest.mark.parametrize("name", ["test.log", "test.xml"])
@pytest.mark.parametrize(
    "secret",
    ["x-domino-api-key: s3cr" + "et-of-ann", "Bearer eyJhbGciOi" + "JSUzI1NiJ9.eyJpc3MiOiJodHRwIn0.x"],
    ids=["key", "token"],
)
def test_a_credential_in_the_output_is_a_failure(tmp_path: Path, name: str, secret: str) -> None:
    event = result(tmp_path, "//a:a", "PASSED", "passed")
    output = next(o for o in event["testResult"]["testActionOutput"] if o["name"] == name)
    path = tmp_path / name
    path.write_text(f"<testsuites><testsuite><testcase name='t'/>\n<!-- {secret} -->\n</testsuite></testsuites>")
    output["uri"] = path.as_uri()
    run = Run([event, END])
    assert run.summary == "1 passed, 1 failed"
    assert run.failures == [f"//a:a: a credential in {name}, line 2"]


@pytest.mark.parametrize("status", ["PASSED", "FAILED", "REMOTE_FAILURE"])
def test_no_xml_is_a_failure(tmp_path: Path, status: str) -> None:
    assert Run([result(tmp_path, "//a:a", status), END]).summary == "0 passed, 1 failed"


def test_broken_xml_is_a_failure(tmp_path: Path) -> None:
    event = result(tmp_path, "//a:a", "PASSED", "passed")
    next(tmp_path.glob("*.xml")).write_text("<testsuites>")
    assert Run([event, END]).summary == "0 passed, 1 failed"


def test_the_last_attempt_counts(tmp_path: Path) -> None:
    attempts = [
        result(tmp_path, "//a:a", "FAILED", "failed", attempt=1),
        result(tmp_path, "//a:a", "PASSED", "passed", attempt=2),
    ]
    for events in (attempts, attempts[::-1]):
        assert Run([*events, END]).summary == "1 passed, 0 failed"


def test_shards_add_up(tmp_path: Path) -> None:
    shards = [result(tmp_path, "//a:a", "PASSED", "passed", shard=shard) for shard in (1, 2, 3)]
    assert Run([*shards, END]).summary == "3 passed, 0 failed"


def test_targets_that_came_to_nothing(tmp_path: Path) -> None:
    run = Run(
        [
            result(tmp_path, "//a:a", "PASSED", "passed"),
            unbuilt("//b:b", aborted={"reason": "ANALYSIS_FAILURE"}),
            unbuilt("//c:c", completed={}),
            {"id": {"pattern": {"pattern": ["//d/..."]}}, "aborted": {"description": "no such package"}},
            {"finished": {"exitCode": {"name": "BUILD_FAILURE"}}},
        ]
    )
    assert run.summary == "1 passed, 3 failed"
    assert run.failures == ["//b:b: analysis failure", "//c:c: failed to build", "//d/...: no such package"]


@pytest.mark.parametrize(
    ("end", "word"), [([], "no word about the end"), ([{"finished": {"exitCode": {"name": "OOM_ERROR"}}}], "OOM_ERROR")]
)
def test_a_run_cut_short_fails(tmp_path: Path, end: list[Event], word: str) -> None:
    run = Run([result(tmp_path, "//a:a", "PASSED", "passed"), *end])
    assert run.failures == [f"bazel: ended with {word}"]


def test_nothing_ran() -> None:
    assert Run([END]).failures == ["bazel: ran no test"]


def test_what_is_no_bazel_test_counts_by_its_xml(tmp_path: Path) -> None:
    tested = result(tmp_path, "//a:a", "PASSED", "passed")
    body = "".join(XML[case].format(case) for case in ("passed", "failed", "skipped"))
    (tmp_path / "junit.xml").write_text(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
    run = Run([tested, END], {"//e:e": tmp_path / "junit.xml"})
    assert run.summary == "2 passed, 1 failed, 1 skipped"
    assert run.failures == ["//e:e: m::failed"]


def test_what_wrote_no_xml_failed(tmp_path: Path) -> None:
    run = Run([result(tmp_path, "//a:a", "PASSED", "passed"), END], {"//e:e": tmp_path / "junit.xml"})
    assert run.failures == ["//e:e: left no test case in its test.xml"]


def test_read_stops_at_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    assert read(path) == []
    path.write_text('{"a": 1}\n{"b": 2}\n{"c": ')
    assert read(path) == [{"a": 1}, {"b": 2}]


def test_summary_is_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = tmp_path / "events.json"
    monkeypatch.setattr("sys.argv", ["count_tests", str(events)])
    events.write_text("\n".join(json.dumps(e) for e in (result(tmp_path, "//a:a", "FAILED", "failed", "passed"), END)))
    assert main() == 1
    assert capsys.readouterr().out == "FAILED //a:a: m::t0\n1 passed, 1 failed\n"
    events.write_text("\n".join(json.dumps(e) for e in (result(tmp_path, "//b:b", "PASSED", "passed"), END)))
    assert main() == 0
    assert capsys.readouterr().out == "1 passed, 0 failed\n"
    (tmp_path / "junit.xml").write_text("<testsuites><testsuite><testcase name='t'/></testsuite></testsuites>")
    monkeypatch.setattr("sys.argv", ["count_tests", str(events), f"//e:e={tmp_path / 'junit.xml'}"])
    assert main() == 0
    assert capsys.readouterr().out == "2 passed, 0 failed\n"
