"""Python code and type stubs generated from .proto files."""

def _py_grpc_contract_impl(ctx):
    root = ctx.attr.python_package.replace(".", "/")
    generated = []
    for src in ctx.files.srcs:
        stem = src.basename[:-len(".proto")]
        for suffix in ["_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"]:
            generated.append(ctx.actions.declare_file("{}/{}{}".format(root, stem, suffix)))
    init = ctx.actions.declare_file(root + "/__init__.py")
    ctx.actions.write(init, "")
    typed = ctx.actions.declare_file(root + "/py.typed")
    ctx.actions.write(typed, "")

    args = ctx.actions.args()
    args.add("--python-package", ctx.attr.python_package)
    args.add("--out", init.dirname)
    if ctx.attr.private_pool:
        args.add("--private-pool")
    args.add_all(ctx.files.srcs)
    ctx.actions.run(
        executable = ctx.executable._generate_contract,
        arguments = [args],
        inputs = ctx.files.srcs,
        outputs = generated,
        mnemonic = "PyGrpcContract",
        progress_message = "Generating Python of %s" % ctx.label,
    )

    files = generated + [init, typed]
    runfiles = ctx.runfiles(files)
    for dep in ctx.attr.deps:
        runfiles = runfiles.merge(dep[DefaultInfo].default_runfiles)
    deps = [dep[PyInfo] for dep in ctx.attr.deps]
    return [
        DefaultInfo(files = depset(files), runfiles = runfiles),
        PyInfo(
            transitive_sources = depset(
                [f for f in files if f.extension == "py"],
                transitive = [dep.transitive_sources for dep in deps],
            ),
            imports = depset(
                [ctx.workspace_name + ("/" + ctx.label.package if ctx.label.package else "")],
                transitive = [dep.imports for dep in deps],
            ),
            has_py3_only_sources = True,
        ),
    ]

py_grpc_contract = rule(
    implementation = _py_grpc_contract_impl,
    attrs = {
        "deps": attr.label_list(
            default = ["@pip//:grpcio", "@pip//:protobuf"],
            providers = [PyInfo],
            doc = "What the generated code imports.",
        ),
        "private_pool": attr.bool(
            doc = "Whether the messages live in a pool of their own, beside which a process can hold another contract of the same name.",
        ),
        "python_package": attr.string(
            mandatory = True,
            doc = "Dotted package of the generated modules, below the folder of the BUILD file; imports between them name it.",
        ),
        "srcs": attr.label_list(
            allow_files = [".proto"],
            mandatory = True,
            doc = "The .proto files, each importing others by plain file name.",
        ),
        "_generate_contract": attr.label(
            default = "//bazel/tools:generate_contract",
            executable = True,
            cfg = "exec",
        ),
    },
    provides = [PyInfo],
    doc = """Generates messages (_pb2), gRPC stubs (_pb2_grpc) and type stubs (.pyi) of both.

Generators are old on purpose, see bazel/locks/codegen.in. Where hand-written code surrounds the generated package,
both belong into one Bazel package: a regular Python package cannot span two import roots.""",
)
