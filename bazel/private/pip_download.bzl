"""Fetching the wheels of a lock file."""

load(":interpreter.bzl", "find_interpreter")

LOCK_ATTRS = {
    "lock": attr.label(
        mandatory = True,
        allow_single_file = [".lock"],
        doc = "Requirements file with every distribution at one version and one sha256; made by //bazel/tools:relock.",
    ),
    "timeout": attr.int(default = 1800, doc = "Seconds that the download may take."),
}

def pip_download(rctx, folder):
    """Downloads every wheel of `rctx.attr.lock`; pip checks the hashes.

    Args:
      rctx: the repository context; its rule has LOCK_ATTRS.
      folder: where the wheels go, relative to the repository.

    Returns:
      The interpreter that was used, which can import pip.
    """
    python = find_interpreter(rctx, module = "pip")
    rctx.report_progress("downloading the wheels of {}".format(rctx.attr.lock))
    done = rctx.execute(
        [python, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"] +
        ["--dest", folder, "--requirement", rctx.path(rctx.attr.lock)],
        environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        timeout = rctx.attr.timeout,
    )
    if done.return_code != 0:
        fail("pip could not fetch the wheels of {}:\n{}{}".format(rctx.attr.lock, done.stdout, done.stderr))
    return python
