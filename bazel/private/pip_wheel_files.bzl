"""Hash-locked wheels as files."""

load(":pip_download.bzl", "LOCK_ATTRS", "pip_download")

_BUILD = """\
filegroup(
    name = "wheels",
    srcs = glob(["wheels/*.whl"]),
    visibility = ["//visibility:public"],
)
"""

def _pip_wheel_files_impl(rctx):
    pip_download(rctx, "wheels")
    rctx.file("BUILD.bazel", _BUILD, executable = False)

pip_wheel_files = repository_rule(
    implementation = _pip_wheel_files_impl,
    attrs = LOCK_ATTRS,
    doc = "The wheels of a lock file as they are, as `@NAME//:wheels`: for tests that install them with `pip install --no-index --find-links`.",
)
