"""Folders that a program writes."""

def _written_folder_impl(ctx):
    folder = ctx.actions.declare_directory(ctx.label.name)
    args = ctx.actions.args()
    args.add_all([ctx.expand_location(word, ctx.attr.srcs) for word in ctx.attr.words])
    args.add("--out", folder.path)
    ctx.actions.run(
        executable = ctx.executable.tool,
        arguments = [args],
        inputs = ctx.files.srcs,
        outputs = [folder],
        mnemonic = "WrittenFolder",
        progress_message = "Writing %s" % ctx.label,
    )
    return [DefaultInfo(files = depset([folder]), runfiles = ctx.runfiles([folder]))]

written_folder = rule(
    implementation = _written_folder_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = True, doc = "What the program reads beside its own data."),
        "tool": attr.label(mandatory = True, executable = True, cfg = "exec", doc = "The program."),
        "words": attr.string_list(doc = "Its arguments; $(location …) of a src is expanded. --out FOLDER follows."),
    },
    doc = "A folder NAME with whatever the program writes into the one that it gets as --out.",
)
