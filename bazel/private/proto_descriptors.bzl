"""Compiled descriptions of .proto files."""

def _proto_descriptors_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name + ".binpb")
    ctx.actions.run(
        executable = ctx.executable._protoc,
        arguments = [
            "--proto_path=" + ctx.file.src.dirname,
            "--include_source_info",
            "--descriptor_set_out=" + out.path,
            ctx.file.src.path,
        ],
        inputs = [ctx.file.src],
        outputs = [out],
        mnemonic = "ProtoDescriptors",
        progress_message = "Describing %s" % ctx.file.src.short_path,
    )
    return [DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out]))]

proto_descriptors = rule(
    implementation = _proto_descriptors_impl,
    attrs = {
        "src": attr.label(allow_single_file = [".proto"], mandatory = True, doc = "The .proto file."),
        "_protoc": attr.label(default = "//bazel/tools:protoc", executable = True, cfg = "exec"),
    },
    doc = "A google.protobuf.FileDescriptorSet, comments included, as NAME.binpb: for tests that compare contracts.",
)
