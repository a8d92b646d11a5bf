"""Image layers of Debian packages."""

load(":oci_layer_info.bzl", "OciLayerInfo", "run_layer_tool")

def _oci_debian_layer_impl(ctx):
    args = ctx.actions.args()
    args.add_all(ctx.attr.packages, before_each = "--package")
    args.add_all(ctx.attr.without, before_each = "--without")
    args.add_all(ctx.attr.exclude, before_each = "--exclude")
    args.add("--release", ctx.attr.release)
    below = [layer[OciLayerInfo].metadata for layer in ctx.attr.base]
    args.add_all(below, before_each = "--below")
    for target, name in ctx.attr.files.items():
        args.add("--file", "{}={}".format(name, target.files.to_list()[0].path))
    for name, target in ctx.attr.symlinks.items():
        args.add("--symlink", "{}={}".format(name, target))
    args.add_all(ctx.files.archives, before_each = "--archive")
    return run_layer_tool(ctx, args, ctx.files.archives + ctx.files.files + below)

oci_debian_layer = rule(
    implementation = _oci_debian_layer_impl,
    attrs = {
        "archives": attr.label(mandatory = True, doc = "The .deb files to choose from: a debian_packages repository."),
        "base": attr.label_list(providers = [OciLayerInfo], doc = "Debian layers below this one; what they hold is not packed again."),
        "exclude": attr.string_list(doc = "Paths to leave out, beside documentation and translations; `*` matches `/`, too."),
        "files": attr.label_keyed_string_dict(allow_files = True, doc = "Files to add: label to path in the image."),
        "packages": attr.string_list(mandatory = True, doc = "Packages to unpack, with what they depend on."),
        "release": attr.string(mandatory = True, doc = "Debian's release, such as \"12\"."),
        "symlinks": attr.string_dict(doc = "Symbolic links to add: path in the image to target."),
        "without": attr.string_list(doc = "Dependencies that the image does without."),
        "_tool": attr.label(default = "//bazel/tools:oci_debian_layer", executable = True, cfg = "exec"),
    },
    provides = [OciLayerInfo],
    doc = """One layer with Debian packages: unpacked, /usr merged, no maintainer script run.

Each package's control data lies in /var/lib/dpkg/status.d, where vulnerability scanners look; copyright files stay. The
certificates of ca-certificates are joined into /etc/ssl/certs/ca-certificates.crt.""",
)
