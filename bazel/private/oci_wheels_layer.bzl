"""Image layers of installed wheels."""

load(":oci_layer_info.bzl", "OciLayerInfo", "run_layer_tool")

def _oci_wheels_layer_impl(ctx):
    args = ctx.actions.args()
    args.add_all(ctx.files.wheels, before_each = "--wheel")
    return run_layer_tool(ctx, args, ctx.files.wheels)

oci_wheels_layer = rule(
    implementation = _oci_wheels_layer_impl,
    attrs = {
        "wheels": attr.label_list(allow_files = [".whl"], mandatory = True, doc = "The wheels."),
        "_tool": attr.label(default = "//bazel/tools:oci_wheels_layer", executable = True, cfg = "exec"),
    },
    provides = [OciLayerInfo],
    doc = "One layer with wheels installed as pip would below /usr/local, commands and RECORD included: pip in the image can replace them.",
)
