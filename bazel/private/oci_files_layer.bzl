"""Image layers of files."""

load(":oci_layer_info.bzl", "OciLayerInfo", "add_files", "run_layer_tool")

def _oci_files_layer_impl(ctx):
    args = ctx.actions.args()
    inputs = []
    if ctx.file.lock:
        args.add("--lock", ctx.file.lock)
        inputs.append(ctx.file.lock)
    args.add_all(ctx.attr.exclude, before_each = "--exclude")
    inputs += add_files(
        args,
        depset(transitive = [src[DefaultInfo].default_runfiles.files for src in ctx.attr.srcs] +
                            [src[DefaultInfo].files for src in ctx.attr.srcs]),
        ctx.attr.paths,
    )
    return run_layer_tool(ctx, args, inputs)

oci_files_layer = rule(
    implementation = _oci_files_layer_impl,
    attrs = {
        "exclude": attr.string_list(doc = "Paths in the image to leave out; `*` matches `/`, too."),
        "lock": attr.label(allow_single_file = [".lock"], doc = "Lock file that Python packages among the files come from."),
        "paths": attr.string_dict(
            mandatory = True,
            doc = "Beginnings of runfiles paths (repository first where it is another one) to what replaces them; the first that fits counts.",
        ),
        "srcs": attr.label_list(allow_files = True, mandatory = True, doc = "Files, or libraries whose runfiles are taken; those that `paths` does not name are left out."),
        "_tool": attr.label(default = "//bazel/tools:oci_files_layer", executable = True, cfg = "exec"),
    },
    provides = [OciLayerInfo],
    doc = "One layer with files at chosen places.",
)
