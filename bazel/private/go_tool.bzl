"""Programs built from Go modules with the machine's Go, where it has one."""

_BUILD = """\
# bin/tool, or bin/unavailable.txt, which says why there is none.
filegroup(
    name = "tool",
    srcs = glob(["bin/*"]),
    visibility = ["//visibility:public"],
)
"""

def _find_go(rctx):
    candidates = [rctx.which("go"), "/usr/local/go/bin/go", "/usr/lib/go/bin/go"]
    for candidate in candidates:
        if candidate and rctx.path(candidate).exists:
            return str(candidate)
    return None

def _build(rctx):
    """Builds bin/tool; returns why it could not, or None."""
    go = _find_go(rctx)
    if not go:
        return "Go is not installed"
    rctx.symlink(rctx.attr.go_mod, "module/go.mod")
    rctx.symlink(rctx.attr.go_sum, "module/go.sum")
    rctx.report_progress("building {}".format(rctx.attr.package))
    done = rctx.execute(
        [go, "build", "-trimpath", "-buildvcs=false", "-o", "../bin/tool", rctx.attr.package],
        # readonly: nothing but what go.sum has a hash for. local: no other Go is downloaded.
        environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"},
        timeout = 1200,
        working_directory = "module",
    )
    if done.return_code == 0:
        return None
    return "{} could not build it: {}".format(go, done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given")

def _go_tool_impl(rctx):
    reason = _build(rctx)
    if reason:
        rctx.file(
            "bin/unavailable.txt",
            "{}; once that is mended: ./bazelw sync --only={}\n".format(reason, rctx.name),
            executable = False,
        )
    rctx.file("BUILD.bazel", _BUILD, executable = False)

go_tool = repository_rule(
    implementation = _go_tool_impl,
    attrs = {
        "go_mod": attr.label(mandatory = True, allow_single_file = True, doc = "Module that pins the versions."),
        "go_sum": attr.label(mandatory = True, allow_single_file = True, doc = "Its hashes."),
        "package": attr.string(mandatory = True, doc = "Import path of the main package."),
    },
    doc = """Builds a Go program as `@NAME//:tool`, from sources that go.sum pins by hash.

Where Go is missing, too old or offline, the repository holds bin/unavailable.txt with the reason instead,
and a check that wants the tool is skipped with it.""",
)
