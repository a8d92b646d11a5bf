"""What the rules of image layers and images tell each other."""

OciLayerInfo = provider(
    doc = "One layer of a container image.",
    fields = {
        "blob": "File: the layer, a gzip-compressed tar.",
        "metadata": "File: JSON with the layer's diff_id, its uncompressed size and the software in it.",
    },
)

def add_files(args, files, places):
    """Tells a layer's tool which files it packs where.

    Args:
      args: Args of the layer's contents; gets `--file` and `--place`.
      files: depset of Files to choose from. A folder of a wheel is one of them, and only the tool can see into it.
      places: beginnings of runfiles paths (repository first where it is another one) to what replaces them.

    Returns:
      The Files that the tool needs.
    """
    for prefix, replacement in places.items():
        args.add("--place", "{}={}".format(prefix, replacement))
    inputs = []
    repositories = {}
    for f in files.to_list():
        path = f.short_path[len("../"):] if f.short_path.startswith("../") else f.short_path
        if any([path.startswith(prefix) or prefix.startswith(path + "/") for prefix in places]):
            args.add("--file", "{}={}".format(path, f.path))
            inputs.append(f)
            repositories[f.owner.workspace_name] = None

    # A wheel's folder has a file beside it that tells Bazel when the folder's contents are others; see unpack_wheels.py.
    repositories.pop("", None)
    return inputs + [f for f in files.to_list() if f.owner.workspace_name in repositories and f not in inputs]

def run_layer_tool(ctx, args, inputs):
    """Runs the rule's `_tool`, which writes one layer.

    Args:
      ctx: the rule context; its rule has an executable attribute `_tool`.
      args: Args of the layer's contents.
      inputs: Files that they name.

    Returns:
      The providers of the layer's target.
    """
    blob = ctx.actions.declare_file(ctx.label.name + ".tar.gz")
    metadata = ctx.actions.declare_file(ctx.label.name + ".json")
    args.use_param_file("@%s", use_always = True)
    args.set_param_file_format("multiline")
    args.add("--output", blob)
    args.add("--metadata", metadata)
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = inputs,
        outputs = [blob, metadata],
        mnemonic = "OciLayer",
        progress_message = "Packing layer %s" % ctx.label,
    )
    return [
        DefaultInfo(files = depset([blob, metadata])),
        OciLayerInfo(blob = blob, metadata = metadata),
    ]
