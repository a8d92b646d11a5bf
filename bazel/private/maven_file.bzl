"""One file of a Maven repository, fetched with the machine's mvn, where it has one."""

_BUILD = """\
# file/{name}, or file/unavailable.txt, which says why there is none.
filegroup(
    name = "file",
    srcs = glob(["file/*"]),
    visibility = ["//visibility:public"],
)
"""

def _last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"

def _fetch(rctx, name):
    """Fetches file/NAME; returns why it could not, or None."""
    mvn = rctx.which("mvn")
    if not mvn:
        return "Maven is not installed"
    rctx.report_progress("fetching {}".format(rctx.attr.artifact))
    done = rctx.execute(
        [mvn, "--batch-mode", "--quiet", "dependency:copy", "-Dartifact=" + rctx.attr.artifact] +
        ["-DoutputDirectory={}".format(rctx.path("fetched"))],
        timeout = 1200,
    )
    fetched = rctx.path("fetched/" + name)
    if done.return_code != 0 or not fetched.exists:
        return "{} could not fetch {}: {}".format(mvn, rctx.attr.artifact, _last_line(done.stdout + done.stderr))
    summed = rctx.execute(["sha256sum", fetched])
    if summed.return_code != 0:
        return "sha256sum could not read {}: {}".format(name, _last_line(summed.stderr))
    found = summed.stdout.split(" ")[0]
    if found != rctx.attr.sha256:
        # Not a reason to skip: somebody has changed what we run.
        fail("{} has the sha256 {}, expected {}".format(rctx.attr.artifact, found, rctx.attr.sha256))
    rctx.symlink(fetched, "file/" + name)
    return None

def _maven_file_impl(rctx):
    _, artifact, version, kind = rctx.attr.artifact.split(":")
    name = "{}-{}.{}".format(artifact, version, kind)
    reason = _fetch(rctx, name)
    if reason:
        rctx.file(
            "file/unavailable.txt",
            "{}; once that is mended: ./bazelw sync --only={}\n".format(reason, rctx.name),
            executable = False,
        )
    rctx.file("BUILD.bazel", _BUILD.format(name = name), executable = False)

maven_file = repository_rule(
    implementation = _maven_file_impl,
    attrs = {
        "artifact": attr.string(mandatory = True, doc = "Its coordinates, GROUP:ARTIFACT:VERSION:TYPE."),
        "sha256": attr.string(mandatory = True, doc = "Its hash."),
    },
    doc = """Fetches a file from the Maven repository that the machine's settings name, as `@NAME//:file`.

Where Maven is missing or offline, the repository holds file/unavailable.txt with the reason instead, and a test that
wants the file is skipped with it. A file with another hash fails the build.""",
)
