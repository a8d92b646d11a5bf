"""What the rules of image layers and images tell each other."""

OciLayerInfo = provider(
    doc = "One layer of a container image.",
    fields = {
        "blob": "File: the layer, a gzip-compressed tar.",
        "metadata": "File: JSON with the layer's diff_id, its uncompressed size and the software in it.",
    },
)

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
