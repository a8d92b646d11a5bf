"""Container images."""

load("@rules_python//python:defs.bzl", "py_binary")
load(":oci_layer_info.bzl", "OciLayerInfo")

def _oci_layout_impl(ctx):
    layout = ctx.actions.declare_directory(ctx.label.name)
    config = ctx.actions.declare_file(ctx.label.name + ".config.json")
    labels = dict(ctx.attr.labels)
    revision = ctx.var.get("REVISION")
    if revision:
        labels["org.opencontainers.image.revision"] = revision
    ctx.actions.write(config, json.encode({
        "Cmd": ctx.attr.cmd,
        "Entrypoint": ctx.attr.entrypoint,
        "Env": ["{}={}".format(key, value) for key, value in sorted(ctx.attr.env.items())],
        "ExposedPorts": {"{}/tcp".format(port): {} for port in ctx.attr.ports},
        "Labels": labels,
        "User": ctx.attr.user,
        "WorkingDir": "/",
    }))
    args = ctx.actions.args()
    args.add("--output", layout.path)
    args.add("--sbom", ctx.outputs.sbom)
    args.add("--config", config)
    args.add("--name", ctx.attr.image)
    args.add("--max-mb", ctx.attr.max_mb)
    inputs = [config]
    for layer in ctx.attr.layers:
        info = layer[OciLayerInfo]
        args.add("--layer", "{}={}".format(info.metadata.path, info.blob.path))
        inputs += [info.metadata, info.blob]
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [args],
        inputs = inputs,
        outputs = [layout, ctx.outputs.sbom],
        mnemonic = "OciLayout",
        progress_message = "Assembling image %s" % ctx.attr.image,
    )
    return [DefaultInfo(files = depset([layout]), runfiles = ctx.runfiles([layout]))]

_oci_layout = rule(
    implementation = _oci_layout_impl,
    attrs = {
        "cmd": attr.string_list(),
        "entrypoint": attr.string_list(),
        "env": attr.string_dict(),
        "image": attr.string(mandatory = True),
        "labels": attr.string_dict(),
        "layers": attr.label_list(mandatory = True, providers = [OciLayerInfo]),
        "max_mb": attr.int(mandatory = True),
        "ports": attr.int_list(),
        "sbom": attr.output(mandatory = True),
        "user": attr.string(mandatory = True),
        "_tool": attr.label(default = "//bazel/tools:oci_image", executable = True, cfg = "exec"),
    },
    doc = """An OCI image layout as a folder, and a CycloneDX list of what is in the image.

`--define=REVISION=…` adds the label org.opencontainers.image.revision.""",
)

def _oci_archive_impl(ctx):
    archive = ctx.actions.declare_file(ctx.label.name + ".tar")
    layout = ctx.file.layout
    ctx.actions.run(
        executable = ctx.executable._tool,
        arguments = [layout.path, archive.path],
        inputs = [layout],
        outputs = [archive],
        mnemonic = "OciArchive",
        progress_message = "Archiving %s" % ctx.label,
    )
    return [DefaultInfo(files = depset([archive]), runfiles = ctx.runfiles([archive]))]

_oci_archive = rule(
    implementation = _oci_archive_impl,
    attrs = {
        "layout": attr.label(allow_single_file = True, mandatory = True),
        "_tool": attr.label(default = "//bazel/tools:oci_archive", executable = True, cfg = "exec"),
    },
    doc = "One tar that `docker load`, `kind load image-archive`, podman and containerd take.",
)

def oci_image(
        name,
        repository,
        version,
        layers,
        title,
        licenses,
        max_mb,
        entrypoint = [],
        cmd = [],
        env = {},
        ports = [],
        user = "65532:65532",
        docker_options = [],
        visibility = None):
    """A container image, and what one does with it.

    - `NAME_oci`: an OCI image layout, a folder.
    - `NAME_sbom`: NAME.cdx.json, the CycloneDX list of the software in it.
    - `NAME_archive`: one tar for `docker load` and `kind load image-archive`; only built when named.
    - `bazel run NAME_load`: loads it into Docker as REPOSITORY:VERSION.
    - `bazel run NAME -- WORDS…`: loads it and runs it, read-only and without capabilities, with these words.
    - `bazel run NAME_push -- REGISTRY[/REPOSITORY[:TAG]]`: pushes it.

    Args:
      name: target name.
      repository: name of the image without registry and tag.
      version: its tag, and the label of the version.
      layers: layers, the lowest first.
      title: label: what it is, in words.
      licenses: label: SPDX expression of our own code in it.
      max_mb: most megabytes (10^6 bytes, uncompressed) that it may have; more fail the build with a list of what fills it.
      entrypoint: program and first arguments.
      cmd: arguments where none are given.
      env: environment variables.
      ports: TCP ports that it listens on.
      user: numeric user and group.
      docker_options: further words for `docker run` in `bazel run NAME`.
      visibility: as usual.
    """
    image = "{}:{}".format(repository, version)
    _oci_layout(
        name = name + "_oci",
        cmd = cmd,
        entrypoint = entrypoint,
        env = env,
        image = image,
        labels = {
            # No image of somebody else's is below.
            "org.opencontainers.image.base.name": "scratch",
            "org.opencontainers.image.licenses": licenses,
            "org.opencontainers.image.title": title,
            "org.opencontainers.image.version": version,
        },
        layers = layers,
        max_mb = max_mb,
        ports = ports,
        sbom = name + ".cdx.json",
        user = user,
        visibility = visibility,
    )
    native.filegroup(
        name = name + "_sbom",
        srcs = [name + ".cdx.json"],
        visibility = visibility,
    )
    _oci_archive(
        name = name + "_archive",
        layout = name + "_oci",
        tags = ["manual"],
        visibility = visibility,
    )
    main = "//bazel/tools:oci_main.py"
    for suffix, verb in [("", "run"), ("_load", "load"), ("_push", "push")]:
        py_binary(
            name = name + suffix,
            srcs = [main],
            main = main,
            args = [verb, "$(rootpath :{}_oci)".format(name)] + (
                ["$(rootpath @crane//:tool)"] if verb == "push" else docker_options + ["--"] if verb == "run" else []
            ),
            data = [":{}_oci".format(name)] + (["@crane//:tool"] if verb == "push" else []),
            visibility = visibility,
            deps = ["//bazel/tools:oci_lib"],
        )
