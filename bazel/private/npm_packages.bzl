"""Packages for Node.js, fetched with the machine's npm, where it has one."""

# One file stands for the packages, which lie around it: Node.js finds them from its real path. npm writes it last.
_BUILD = """\
# node_modules/.package-lock.json, or node_modules/unavailable.txt, which says why there is none.
filegroup(
    name = "packages",
    srcs = glob([
        "node_modules/.package-lock.json",
        "node_modules/unavailable.txt",
    ]),
    visibility = ["//visibility:public"],
)
"""

def _last_error(text):
    lines = [line for line in text.splitlines() if line.startswith("npm error ")]
    return lines[0][len("npm error "):] if lines else "no reason given"

def _fetch(rctx):
    """Fetches node_modules; returns why it could not, or None."""
    npm = rctx.which("npm")
    if not npm:
        return "npm is not installed"
    rctx.symlink(rctx.attr.package_json, "package.json")
    rctx.symlink(rctx.attr.package_lock, "package-lock.json")
    rctx.report_progress("npm ci")

    # What is not in the lock, or has another hash, is an error; nobody's scripts run.
    done = rctx.execute([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"], timeout = 900)
    if done.return_code == 0:
        return None
    if "EINTEGRITY" in done.stderr:
        # Not a reason to skip: somebody has changed what we run.
        fail("npm ci: " + done.stderr)
    return "npm ci failed: " + _last_error(done.stderr)

def _npm_packages_impl(rctx):
    reason = _fetch(rctx)
    if reason:
        rctx.delete("node_modules")
        rctx.file(
            "node_modules/unavailable.txt",
            "{}; once that is mended: ./bazelw sync --only={}\n".format(reason, rctx.name),
            executable = False,
        )
    rctx.file("BUILD.bazel", _BUILD, executable = False)

npm_packages = repository_rule(
    implementation = _npm_packages_impl,
    attrs = {
        "package_json": attr.label(mandatory = True, allow_single_file = True, doc = "Names the packages that are wanted."),
        "package_lock": attr.label(mandatory = True, allow_single_file = True, doc = "Pins them and theirs, with their hashes."),
    },
    doc = """Fetches packages from the npm registry that the machine's settings name, as `@NAME//:packages`.

Where npm is missing or offline, the repository holds node_modules/unavailable.txt with the reason instead, and a test that
wants the packages is skipped with it. A package with another hash fails the build.""",
)
