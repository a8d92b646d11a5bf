from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from domino_identity import Principal
from mm_service.policy_yaml import PolicyError
from mm_service.watched_file import WatchedFileStatistics
from service_testing.waiting import Clock
from triton_proxy.access.access import Access, AccessStatistics, Denied, policy_file
from triton_proxy.access.policy import Policy

ANN = Principal("ann", admin=False)
BEN = Principal("ben", admin=False)


def text(user: str, more: str = "") -> str:
    return f"rules:\n  - models: [m]\n    allow: {{users: [{user}]}}\n{more}"


class Place:
    """A policy file, and the access by it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.yaml"
        self.path.write_text(text("ann"))
        self.clock = Clock()
        self.access = Access(policy_file(str(self.path), self.clock))

    def allowed(self, principal: Principal = ANN, *, later: bool = True) -> bool:
        self.clock.now += 1.0 if later else 0.99
        try:
            self.access.check(principal, "m", "1")
        except Denied:
            return False
        return True


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def test_no_file_allows_everybody_everything() -> None:
    access = Access(None)
    access.check(ANN, "anything", "")
    assert access.statistics() == AccessStatistics(due=False, policy=None)


def test_denied_has_the_policy_text(place: Place) -> None:
    with pytest.raises(Denied, match=r"ben may not use model 'm' version '1': .* needed: "):
        place.access.check(BEN, "m", "1")


def test_follows_the_file_once_a_second(place: Place) -> None:
    assert place.allowed()
    place.path.write_text(text("ben"))
    assert place.allowed(later=False)
    assert not place.allowed()
    assert place.allowed(BEN)


def test_reads_a_new_file_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    place.path.write_text(text("ben"))
    assert [place.allowed(BEN) for _ in range(3)] == [True] * 3
    assert sum("has changed: 1 rules" in record.getMessage() for record in caplog.records) == 1


def test_follows_a_file_of_the_same_size_and_time(place: Place, tmp_path: Path) -> None:
    before = place.path.stat()
    other = tmp_path / "other"
    other.write_text(text("ben"))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(place.path)
    assert place.allowed(BEN)


def test_follows_a_config_map(tmp_path: Path) -> None:
    # As the kubelet does it: a link to a link to a folder, of which the middle one is replaced.
    for version, user in (("v1", "ann"), ("v2", "ben")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text(text(user))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    clock = Clock()
    access = Access(policy_file(str(tmp_path / "policy.yaml"), clock))
    access.check(ANN, "m", "1")
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(tmp_path / "..data")
    clock.now += 1
    access.check(BEN, "m", "1")


def test_a_broken_file_changes_nothing_and_is_told_once(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.path.write_text(text("ben", "unknown: x\n"))
    assert [place.allowed() for _ in range(3)] == [True] * 3
    assert not place.allowed(BEN)
    assert len(errors(caplog)) == 1
    assert "the one before stays in force: line 4: the document: unknown key unknown" in errors(caplog)[0]
    assert place.access.statistics().policy == WatchedFileStatistics(changes=0, failures=1, stale=True)
    place.path.write_text(text("ben"))
    assert place.allowed(BEN)
    assert place.access.statistics().policy == WatchedFileStatistics(changes=1, failures=1, stale=False)
    place.path.write_text(text("ann", "unknown: x\n"))
    assert place.allowed(BEN)
    assert len(errors(caplog)) == 2


def test_a_file_that_went_away_changes_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    for times in (1, 2):
        place.path.rename(place.path.with_suffix(".off"))
        assert [place.allowed() for _ in range(3)] == [True] * 3
        assert len(errors(caplog)) == times
        place.path.with_suffix(".off").rename(place.path)
        assert place.allowed()


def test_a_pipe_in_its_place_holds_nobody(place: Place) -> None:
    place.path.unlink()
    os.mkfifo(place.path)
    assert place.allowed()


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (None, "can't be read (No such file or directory)"),
        (b"rules: []", "rules is []"),
        (b"rules:\n- \xff", "line 2: not UTF-8 text"),
        (b"#" * 300_000, "larger than 256 KiB"),
    ],
)
def test_a_broken_file_stops_the_start(tmp_path: Path, content: bytes | None, reported: str) -> None:
    path = tmp_path / "policy.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        policy_file(str(path))
    assert str(caught.value).startswith(f"access policy {path} can't be used:\n")
    assert reported in str(caught.value)


def test_many_threads_while_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text("ann"))
    begin = time.monotonic()
    # Every second of this clock is a millisecond, so that the file is looked at all the time.
    access = Access(policy_file(str(path), lambda: (time.monotonic() - begin) * 1000))

    def ask() -> None:
        for _ in range(300):
            access.check(ANN, "m", "1")

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for index in range(20):
            other = tmp_path / "next"
            other.write_text(text("ann") + "#" * index)
            other.rename(path)
        for one in asking:
            one.result()


PAGE = (Path(__file__).parents[4] / "docs" / "access-policy.md").read_text()
EXAMPLE = Policy.parse(PAGE.partition("```yaml\n")[2].partition("```")[0])


@pytest.mark.parametrize(
    ("user", "groups", "model", "version", "rule"),
    [
        ("cleo", (), "demo-text", "", 0),
        ("cleo", (), "yolov8n", "3", None),
        ("dora", ("/organizations/acme/vision",), "yolov8n", "", 1),
        ("dora", ("/organizations/acme/vision",), "vision-faces", "7", 1),
        ("dora", ("/organizations/acme",), "vision-faces", "7", None),
        ("cleo", ("/organizations/partners/initech",), "yolov8n", "3", 2),
        ("cleo", ("/organizations/partners/initech",), "yolov8n", "4", None),
        ("cleo", ("/organizations/partners/initech",), "yolov8n", "", None),
        ("cleo", ("/organizations/partners/initech/eu",), "yolov8n", "3", None),
        ("ana", (), "text-candidate", "", 3),
        ("cleo", ("/organizations/acme/research/nlp/eu",), "text-candidate", "1", 3),
        ("cleo", ("/organizations/acme/research",), "text-candidate", "1", None),
    ],
)
def test_the_example_decides_as_documented(
    user: str, groups: tuple[str, ...], model: str, version: str, rule: int | None
) -> None:
    principal = Principal(user, admin=False, groups=groups)
    allowing = [verdict.rule.index for verdict in EXAMPLE.explain(principal, model, version) if verdict.allows]
    assert allowing == ([] if rule is None else [rule])
    assert EXAMPLE.allows(principal, model, version) is (rule is not None)


def test_the_denial_documented() -> None:
    principal = Principal("cleo", admin=False, groups=("/organizations/partners/initech",))
    assert f"```\n{EXAMPLE.denial(principal, 'vision-faces', '1')}\n```" in PAGE


def test_the_mistakes_documented() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.parse(
            "rules:\n  - models: [a]\n    allow:\n      admins: true\n\n    model: b\n"
            "  - models: [a]\n    allow:\n      users: []\n"
        )
    assert f"```\n{caught.value}\n```" in PAGE
