from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_service.globs import NameGlob, PathGlob


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("yolo", "yolo", True),
        ("yolo", "Yolo", False),
        ("yolo", "yolov8", False),
        ("yolo*", "yolo", True),
        ("yolo*", "yolov8", True),
        ("*", "", True),
        ("*", "a/b\nc", True),
        ("a*a", "a", False),
        ("a.c", "abc", False),
    ],
)
def test_names(pattern: str, name: str, expected: bool) -> None:
    assert NameGlob(pattern).matches(name) is expected


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/organizations/acme/ml", "/organizations/acme/ml", True),
        ("/organizations/acme/ml", "/organizations/acme/ML", False),
        ("/organizations/acme/ml", "/organizations/acme/ml/interns", False),
        ("/organizations/*/ml", "/organizations/acme/ml", True),
        ("/organizations/*", "/organizations/acme/ml", False),
        ("/organizations/a*/ml", "/organizations/acme/ml", True),
        ("/organizations/a*/ml", "/organizations/a/b/ml", False),
        ("/organizations/**", "/organizations/acme/ml", True),
        ("/organizations/**", "/organizations/acme", True),
        ("/organizations/**", "/organizations", False),
        ("/**/ml", "/organizations/acme/ml", True),
        ("/**/ml", "/ml", False),
        ("/a/**/b/**/c", "/a/b/b/c/c", True),
    ],
)
def test_paths(pattern: str, path: str, expected: bool) -> None:
    assert PathGlob(pattern).matches(path) is expected


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_names_agree_with_regular_expressions(pattern: str, name: str) -> None:
    regex = "".join(".*" if character == "*" else character for character in pattern)
    assert NameGlob(pattern).matches(name) is bool(re.fullmatch(regex, name))


@given(
    st.lists(st.sampled_from(["a", "b", "ab", "a*", "*", "**"]), min_size=1, max_size=5),
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6),
)
def test_paths_agree_with_regular_expressions(pattern: list[str], path: list[str]) -> None:
    parts = {"**": "[^/]+(/[^/]+)*"}
    regex = "".join("/" + parts.get(part, part.replace("*", "[^/]*")) for part in pattern)
    expected = bool(re.fullmatch(regex, "/" + "/".join(path)))
    assert PathGlob("/" + "/".join(pattern)).matches("/" + "/".join(path)) is expected


def test_no_name_is_expensive() -> None:
    begin = time.thread_time()
    assert not NameGlob("a*" * 30 + "b").matches("a" * 255)
    assert not PathGlob("/a" + "/**/a" * 8 + "/b").matches("/a" * 100)
    assert time.thread_time() - begin < 1
