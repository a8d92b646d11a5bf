"""Image layers of Python libraries."""

load(":oci_layer_info.bzl", "OciLayerInfo", "add_files", "run_layer_tool")

def _import_roots(ctx):
    """Import roots of deps, as they begin runfiles paths; those of this workspace, or those of other repositories."""
    roots = []
    for path in depset(transitive = [dep[PyInfo].imports for dep in ctx.attr.deps]).to_list():
        workspace, _, folder = path.partition("/")
        if ctx.attr.third_party and workspace != ctx.workspace_name:
            roots.append(path + "/")
        elif not ctx.attr.third_party and workspace == ctx.workspace_name and folder:
            roots.append(folder + "/")
    return roots

def _oci_python_layer_impl(ctx):
    if ctx.attr.third_party != bool(ctx.file.lock):
        fail("{}: third-party packages need a lock, and only they".format(ctx.label))
    args = ctx.actions.args()
    inputs = []
    if ctx.file.lock:
        args.add("--lock", ctx.file.lock)
        inputs.append(ctx.file.lock)
    args.add_all(ctx.attr.exclude, before_each = "--exclude")
    if ctx.attr.application:
        args.add("--application", "{}={}".format(ctx.attr.application, ctx.attr.version))
    inputs += add_files(
        args,
        depset(transitive = [dep[DefaultInfo].default_runfiles.files for dep in ctx.attr.deps]),
        {root: ctx.attr.directory + "/" for root in _import_roots(ctx)},
    )
    return run_layer_tool(ctx, args, inputs)

oci_python_layer = rule(
    implementation = _oci_python_layer_impl,
    attrs = {
        "application": attr.string(doc = "Name of our own program in this layer, for the list of software."),
        "deps": attr.label_list(mandatory = True, providers = [PyInfo], doc = "The libraries; what they depend on comes along."),
        "directory": attr.string(mandatory = True, doc = "Folder in the image that is imported from."),
        "exclude": attr.string_list(doc = "Paths in the image to leave out; `*` matches `/`, too."),
        "lock": attr.label(allow_single_file = [".lock"], doc = "Lock file that third-party packages come from."),
        "third_party": attr.bool(doc = "Packs the packages of other repositories instead of this workspace's own code."),
        "version": attr.string(doc = "Version of `application`."),
        "_tool": attr.label(default = "//bazel/tools:oci_files_layer", executable = True, cfg = "exec"),
    },
    provides = [OciLayerInfo],
    doc = """One layer with either the own or the third-party Python code of libraries, without compiled Python.

Two layers of the same libraries keep pushes small: the packages of a lock change seldom.""",
)
