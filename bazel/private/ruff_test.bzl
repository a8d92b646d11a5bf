"""Lint and format checks as tests."""

load("@rules_python//python:defs.bzl", "py_test")

_MAIN = "//bazel/tools:ruff_main.py"

def ruff_test(name, srcs, size = "small", **kwargs):
    """Runs `ruff check` and `ruff format --check` over Python files, as pyproject.toml says.

    Args:
      name: target name.
      srcs: the files to check, tests included.
      size: Bazel's test size.
      **kwargs: passed on to py_test.
    """
    prefix = native.package_name() + "/" if native.package_name() else ""
    py_test(
        name = name,
        size = size,
        srcs = [_MAIN],
        main = _MAIN,
        args = [prefix + src for src in srcs],
        data = srcs + ["//:pyproject.toml"],
        deps = ["@pip_checks//:ruff"],
        **kwargs
    )
