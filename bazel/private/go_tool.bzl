"""Programs built from Go modules."""

load(":go_command.bzl", "run_go")

_BUILD = """\
filegroup(
    name = "tool",
    srcs = ["bin/{name}"],
    visibility = ["//visibility:public"],
)
"""

def _run(rctx, words, what):
    return run_go(rctx, rctx.attr._go, words, what)

def _go_tool_impl(rctx):
    package = rctx.attr.package
    for file in [rctx.attr.go_mod, rctx.attr.go_sum] + rctx.attr.srcs:
        if file:
            rctx.symlink(file, "module/" + file.name.split("/")[-1])
    stamps = [
        "-X {}={}".format(variable, _run(rctx, ["list", "-m", "-f", "{{.Version}}", module], "find " + module))
        for variable, module in rctx.attr.stamps.items()
    ]
    rctx.report_progress("building {}, minutes the first time".format(package))
    _run(
        rctx,
        ["build", "-trimpath", "-buildvcs=false", "-tags", ",".join(rctx.attr.build_tags), "-ldflags", " ".join(["-s -w"] + stamps), "-o", "../bin/" + rctx.name, package],
        "build " + package,
    )
    rctx.file("BUILD.bazel", _BUILD.format(name = rctx.name), executable = False)

go_tool = repository_rule(
    implementation = _go_tool_impl,
    attrs = {
        "go_mod": attr.label(mandatory = True, allow_single_file = True, doc = "Module that pins the versions."),
        "go_sum": attr.label(allow_single_file = True, doc = "Its hashes; left out where it needs no other module."),
        "package": attr.string(mandatory = True, doc = "Import path of the main package."),
        "build_tags": attr.string_list(doc = "Go's build tags, by which a program leaves parts of itself out."),
        "stamps": attr.string_dict(doc = "String variables of the program that get a module's version: variable to module."),
        "srcs": attr.label_list(allow_files = [".go"], doc = "Sources beside go.mod, where the program is our own and `package` is `.`."),
        "_go": attr.label(default = "@go_sdk//:go/bin/go"),
    },
    doc = """Builds a Go program as `@NAME//:tool`, from sources that go.sum pins by hash, with `@go_sdk`'s Go.

The file is bin/NAME. It is built when something that Bazel builds needs it; Go's own cache in the home folder makes that
seconds in the next clone.""",
)
