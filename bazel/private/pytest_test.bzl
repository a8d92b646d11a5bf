"""Tests that pytest runs."""

load("@rules_python//python:defs.bzl", "py_test")

_MAIN = "//bazel/tools:pytest_main.py"

def pytest_test(name, srcs, deps = [], size = "small", data = [], args = [], **kwargs):
    """Runs test modules with pytest; a target without a single test fails.

    pytest and hypothesis are there without being named in deps. Names of tests can be chosen with
    `--test_filter=EXPRESSION` (pytest's -k); `--test_env=HYPOTHESIS_PROFILE=thorough` lets hypothesis search longer.

    Args:
      name: target name.
      srcs: test modules, and conftest.py files, which hold no tests themselves.
      deps: libraries under test and what the tests import.
      size: Bazel's test size: small 60 s, medium 300 s, large 900 s.
      data: files that the tests read, by their path from the workspace root.
      args: more words for pytest.
      **kwargs: passed on to py_test.
    """
    prefix = native.package_name() + "/" if native.package_name() else ""
    py_test(
        name = name,
        size = size,
        srcs = srcs + [_MAIN],
        main = _MAIN,
        args = [prefix + src for src in srcs if not src.endswith("conftest.py")] + args,
        data = data + ["//:pyproject.toml"],
        deps = deps + [
            "@pip//:hypothesis",
            "@pip//:pytest",
        ],
        **kwargs
    )
