"""Type checks as tests."""

load("@rules_python//python:defs.bzl", "py_test")

_MAIN = "//bazel/tools:mypy_main.py"

# mypy, and what it takes to read the files: pytest's own types, and stubs of third-party packages.
MYPY_DEPS = [
    "@pip//:hypothesis",
    "@pip//:pytest",
    "@pip_checks//:mypy",
    "@pip_checks//:types_grpcio",
    "@pip_checks//:types_grpcio_health_checking",
    "@pip_checks//:types_grpcio_reflection",
    "@pip_checks//:types_jsonschema",
    "@pip_checks//:types_protobuf",
    "@pip_checks//:types_pyyaml",
    "@pip_checks//:types_requests",
    "@pip_checks//:types_tqdm",
]

def mypy_test(name, srcs, deps = [], size = "medium", data = [], **kwargs):
    """Checks Python files with mypy, as pyproject.toml says (strict).

    Stubs of third-party packages and pytest's own types are there without being named in deps.

    Args:
      name: target name.
      srcs: the files to check, tests included.
      deps: libraries that the files import; generated stubs come with them.
      size: Bazel's test size.
      data: py.typed and .pyi files beside srcs.
      **kwargs: passed on to py_test.
    """
    prefix = native.package_name() + "/" if native.package_name() else ""
    py_test(
        name = name,
        size = size,
        srcs = [_MAIN],
        main = _MAIN,
        args = [prefix + src for src in srcs],
        data = srcs + data + ["//:pyproject.toml"],
        deps = deps + MYPY_DEPS,
        **kwargs
    )
