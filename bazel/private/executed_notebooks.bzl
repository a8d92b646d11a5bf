"""Notebooks with their outputs."""

def _executed_notebooks_impl(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    args = ctx.actions.args()
    args.use_param_file("@%s")
    args.set_param_file_format("multiline")
    args.add_all([out], before_each = "--out", expand_directories = False)
    args.add_all(ctx.files.built, before_each = "--built")
    args.add_all(ctx.files.found, before_each = "--found")
    args.add_all(ctx.files.srcs)
    ctx.actions.run(
        executable = ctx.executable.execute,
        arguments = [args],
        inputs = ctx.files.srcs + ctx.files.built + ctx.files.found,
        outputs = [out],
        mnemonic = "ExecuteNotebooks",
        progress_message = "Executing the notebooks of %s" % ctx.label,
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out]))]

executed_notebooks = rule(
    implementation = _executed_notebooks_impl,
    attrs = {
        "built": attr.label_list(allow_files = [".whl"], mandatory = True, doc = "The wheels that the notebooks show."),
        # As what is tested: a second configuration would make the models once more.
        "execute": attr.label(mandatory = True, executable = True, cfg = "target", doc = "What starts the servers and executes."),
        "found": attr.label_list(allow_files = [".whl"], mandatory = True, doc = "Wheels of everything else."),
        "srcs": attr.label_list(allow_files = [".ipynb"], mandatory = True, doc = "The notebooks, without outputs."),
    },
    doc = """A folder with each notebook executed: NAME.ipynb with outputs, NAME.md, and NAME_files with its pictures.

A notebook that fails does not fail the build: a test reads its outputs and says so.""",
)
