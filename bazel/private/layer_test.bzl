"""Layers of a package, as tests."""

load("@rules_python//python:defs.bzl", "py_test")
load("//bazel/private:mypy_test.bzl", "MYPY_DEPS")

_MAIN = "//bazel/tools:layer_main.py"

def layer_test(name, layer, srcs, above = [], size = "medium", **kwargs):
    """Checks that a layer of a package needs nothing from above it.

    mypy checks the layer's files beside nothing but the layer's library and what that depends on. Then imports of the
    modules above are added to a copy of the first file, and mypy must refuse each: with one of them in reach, the library's
    deps no longer keep the layers apart, and the test fails.

    Args:
      name: target name.
      layer: the layer's py_library.
      srcs: the layer's files.
      above: modules, by their full names, that the layer must not import: those above and those beside it.
      size: Bazel's test size.
      **kwargs: passed on to py_test.
    """
    prefix = native.package_name() + "/" if native.package_name() else ""
    words = []
    for module in above:
        words += ["--above", module]
    py_test(
        name = name,
        size = size,
        srcs = [_MAIN],
        main = _MAIN,
        args = words + [prefix + src for src in srcs],
        data = srcs + ["//:pyproject.toml"],
        deps = [layer, "//bazel/tools:mypy_main_lib"] + MYPY_DEPS,
        **kwargs
    )
