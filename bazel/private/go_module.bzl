"""A Go module of our own, with code generated from a contract."""

load(":go_command.bzl", "run_go")

_BUILD = """\
# The module, complete with what was generated.
filegroup(
    name = "module",
    srcs = glob(["module/**"]),
    visibility = ["//visibility:public"],
)

# NAME.test has the tests of the package NAME.
filegroup(
    name = "programs",
    srcs = glob(["bin/*"]),
    visibility = ["//visibility:public"],
)
"""

def _go_module_impl(rctx):
    rctx.report_progress("building {}, minutes the first time".format(rctx.name))
    for file in [rctx.attr.go_mod, rctx.attr.go_sum, rctx.attr.buf_gen] + rctx.attr.srcs:
        rctx.symlink(file, "module/" + file.name)
    rctx.symlink(rctx.attr.contract, "contract/" + rctx.attr.contract.name.split("/")[-1])

    go = rctx.attr._go
    run_go(
        rctx,
        go,
        ["generate", "../contract", "--template", rctx.attr.buf_gen.name],
        "generate code from {}".format(rctx.attr.contract),
        environment = {"BUF_CACHE_DIR": str(rctx.path("buf"))},
        program = rctx.path(rctx.attr._buf),
    )
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "../bin/"]
    run_go(rctx, go, ["vet", "./..."], "vouch for {}".format(rctx.name))
    run_go(rctx, go, ["build"] + flags + rctx.attr.programs, "build {}".format(rctx.name))
    run_go(rctx, go, ["test", "-c"] + flags + rctx.attr.tests, "build the tests of {}".format(rctx.name))
    rctx.delete("buf")
    rctx.file("BUILD.bazel", _BUILD, executable = False)

go_module = repository_rule(
    implementation = _go_module_impl,
    attrs = {
        "buf_gen": attr.label(mandatory = True, allow_single_file = [".yaml"], doc = "buf's template for the generated code; its plugins are Go tools of the module."),
        "contract": attr.label(mandatory = True, allow_single_file = [".proto"], doc = "What the code is generated from."),
        "go_mod": attr.label(mandatory = True, allow_single_file = True, doc = "The module's go.mod, beside which everything lies."),
        "go_sum": attr.label(mandatory = True, allow_single_file = True, doc = "The hashes of the modules that it needs."),
        "programs": attr.string_list(mandatory = True, doc = "Packages of programs, such as ./example."),
        "srcs": attr.label_list(allow_files = [".go"], doc = "All its sources, tests included."),
        "tests": attr.string_list(mandatory = True, doc = "Packages with tests."),
        "_buf": attr.label(default = "@buf//:bin/buf"),
        "_go": attr.label(default = "@go_sdk//:go/bin/go"),
    },
    doc = """Generates, vets and builds a Go module with `@go_sdk`'s Go, as `go_tool` does: `@NAME//:programs` has its programs, and
its tests as programs for Bazel's tests to run; `@NAME//:module` is the module with what was generated.

Here and not in a Bazel action, since Go's own cache makes seconds of what is a minute without.""",
)
