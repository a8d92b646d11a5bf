"""Reproducible pure-Python wheels."""

def _own_files(ctx):
    """Files of this workspace that the wheel's packages and modules consist of, by their name in the wheel."""
    roots = []
    for path in depset(transitive = [dep[PyInfo].imports for dep in ctx.attr.deps]).to_list():
        workspace, _, folder = path.partition("/")
        if workspace == ctx.workspace_name and folder:
            roots.append(folder + "/")
    wanted = {package: None for package in ctx.attr.packages}
    wanted.update({module + ".py": None for module in ctx.attr.modules})
    wanted.update({module + ".pyi": None for module in ctx.attr.modules})
    found = {}
    for f in depset(transitive = [dep[DefaultInfo].default_runfiles.files for dep in ctx.attr.deps]).to_list():
        for root in roots:
            if f.short_path.startswith(root) and f.short_path[len(root):].split("/")[0] in wanted:
                found[f.short_path[len(root):]] = f
    tops = {name.split("/")[0]: None for name in found}
    for top in ctx.attr.packages + [module + ".py" for module in ctx.attr.modules]:
        if top not in tops:
            fail("{}: deps hold no {}".format(ctx.label, top))
    return found

def _py_wheel_impl(ctx):
    wheel = ctx.actions.declare_file("{}-{}-py3-none-any.whl".format(
        ctx.attr.distribution.replace("-", "_"),
        ctx.attr.version,
    ))
    args = ctx.actions.args()
    args.use_param_file("@%s", use_always = True)
    args.set_param_file_format("multiline")
    args.add("--output", wheel)
    args.add("--distribution", ctx.attr.distribution)
    args.add("--version", ctx.attr.version)
    args.add("--summary", ctx.attr.summary)
    args.add("--requires-python", ctx.attr.requires_python)
    args.add_all(ctx.attr.requires, before_each = "--requires")
    for extra, requirements in ctx.attr.extras.items():
        for requirement in requirements:
            args.add("--extra", "{}={}".format(extra, requirement))
    for command, function in ctx.attr.console_scripts.items():
        args.add("--console-script", "{}={}".format(command, function))
    inputs = []
    for option, f in [("--license", ctx.file.license), ("--readme", ctx.file.readme)]:
        if f:
            args.add(option, f)
            inputs.append(f)
    for name, f in _own_files(ctx).items():
        args.add("--file", "{}={}".format(name, f.path))
        inputs.append(f)
    ctx.actions.run(
        executable = ctx.executable._make_wheel,
        arguments = [args],
        inputs = inputs,
        outputs = [wheel],
        mnemonic = "PyWheel",
        progress_message = "Building %s" % wheel.basename,
    )
    return [DefaultInfo(files = depset([wheel]), runfiles = ctx.runfiles([wheel]))]

py_wheel = rule(
    implementation = _py_wheel_impl,
    attrs = {
        "console_scripts": attr.string_dict(doc = "Commands that the wheel installs: name to \"module:function\"."),
        "deps": attr.label_list(
            mandatory = True,
            providers = [PyInfo],
            doc = "Libraries that hold the packages and modules.",
        ),
        "distribution": attr.string(mandatory = True, doc = "Name on a package index."),
        "extras": attr.string_list_dict(doc = "Optional dependencies: name of the extra to its requirements."),
        "license": attr.label(allow_single_file = True, doc = "License text, packed into the .dist-info folder."),
        "modules": attr.string_list(doc = "Top-level modules, without .py; a .pyi beside one goes along."),
        "packages": attr.string_list(doc = "Top-level packages, with every file below them that deps hold."),
        "readme": attr.label(allow_single_file = [".md"], doc = "Long description, Markdown."),
        "requires": attr.string_list(doc = "Requirements (PEP 508)."),
        "requires_python": attr.string(mandatory = True, doc = "Such as \">=3.10\"."),
        "summary": attr.string(mandatory = True, doc = "One line."),
        "version": attr.string(mandatory = True, doc = "PEP 440 version."),
        "_make_wheel": attr.label(default = "//bazel/tools:make_wheel", executable = True, cfg = "exec"),
    },
    doc = "Packs Python files of this workspace; the same inputs give the same bytes on every machine.",
)
