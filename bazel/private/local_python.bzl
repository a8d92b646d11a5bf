"""The host's Python as a Bazel toolchain."""

load(":interpreter.bzl", "find_interpreter")

_BUILD = """\
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")

py_runtime(
    name = "runtime",
    interpreter_path = "{root}/python",
    python_version = "PY3",
    stub_shebang = "#!/usr/bin/env -S -u PYTHONPATH -u PYTHONHOME {root}/venv/bin/python",
)

py_runtime_pair(
    name = "pair",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)
"""

# -P: the folder of the main file stays off sys.path, so a source file never shadows a module of the same name.
_PYTHON = """\
#!/bin/sh
exec {root}/venv/bin/python -P "$@"
"""

def _local_python_impl(rctx):
    interpreter = find_interpreter(rctx)
    made = rctx.execute([interpreter, "-m", "venv", "--clear", "--without-pip", "venv"])
    if made.return_code != 0:
        fail("{} could not make a virtual environment (on Debian: install python3):\n{}{}".format(
            interpreter,
            made.stdout,
            made.stderr,
        ))
    root = str(rctx.path("."))
    rctx.file("python", _PYTHON.format(root = root), executable = True)
    rctx.file("BUILD.bazel", _BUILD.format(root = root), executable = False)

local_python = repository_rule(
    implementation = _local_python_impl,
    configure = True,
    environ = ["PATH"],
    local = True,
    doc = "Makes Python rules run with the host's Python 3.11 in a bare virtual environment: no package of the host is importable, in builds, tests and `bazel run`.",
)
