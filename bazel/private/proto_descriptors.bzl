"""Compiled descriptions of .proto files."""

def _proto_descriptors_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".binpb")
    ctx.actions.run(
        executable = ctx.executable._protoc,
        arguments = [
            "--proto_path=" + ctx.files.srcs[0].dirname,
            "--include_imports",
            "--include_source_info",
            "--descriptor_set_out=" + out.path,
        ] + [src.path for src in ctx.files.srcs],
        inputs = ctx.files.srcs,
        outputs = [out],
        mnemonic = "ProtoDescriptors",
        progress_message = "Describing %s" % ctx.label,
    )
    return [DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out]))]

proto_descriptors = rule(
    implementation = _proto_descriptors_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".proto"], mandatory = True, doc = "The .proto files, of one folder."),
        "_protoc": attr.label(default = "//bazel/tools:protoc", executable = True, cfg = "exec"),
    },
    doc = "A google.protobuf.FileDescriptorSet, comments and imports included, as NAME.binpb.",
)
