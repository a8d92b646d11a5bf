"""Files of a Maven repository, fetched with the machine's mvn, where it has one."""

_BUILD = """\
# The files, or files/unavailable.txt, which says why there are none.
filegroup(
    name = "files",
    srcs = glob(["files/*"]),
    visibility = ["//visibility:public"],
)
"""

def _last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"

def _fetch(rctx, mvn, coordinates, sha256):
    """Fetches one file; returns why it could not, or None."""
    _, artifact, version, kind = coordinates.split(":")
    name = "{}-{}.{}".format(artifact, version, kind)
    rctx.report_progress("fetching {}".format(coordinates))
    done = rctx.execute(
        [mvn, "--batch-mode", "--quiet", "dependency:copy", "-Dartifact=" + coordinates] +
        ["-DoutputDirectory={}".format(rctx.path("fetched"))],
        timeout = 1200,
    )
    fetched = rctx.path("fetched/" + name)
    if done.return_code != 0 or not fetched.exists:
        return "{} could not fetch {}: {}".format(mvn, coordinates, _last_line(done.stdout + done.stderr))
    summed = rctx.execute(["sha256sum", fetched])
    if summed.return_code != 0:
        return "sha256sum could not read {}: {}".format(name, _last_line(summed.stderr))
    found = summed.stdout.split(" ")[0]
    if found != sha256:
        # Not a reason to skip: somebody has changed what we run.
        fail("{} has the sha256 {}, expected {}".format(coordinates, found, sha256))
    rctx.symlink(fetched, "files/" + name)
    return None

def _fetch_all(rctx):
    mvn = rctx.which("mvn")
    if not mvn:
        return "Maven is not installed"
    for coordinates, sha256 in rctx.attr.artifacts.items():
        reason = _fetch(rctx, mvn, coordinates, sha256)
        if reason:
            return reason
    return None

def _maven_files_impl(rctx):
    reason = _fetch_all(rctx)
    if reason:
        rctx.delete("files")
        rctx.file(
            "files/unavailable.txt",
            "{}; once that is mended: ./bazelw sync --only={}\n".format(reason, rctx.name),
            executable = False,
        )
    rctx.file("BUILD.bazel", _BUILD, executable = False)

maven_files = repository_rule(
    implementation = _maven_files_impl,
    attrs = {
        "artifacts": attr.string_dict(mandatory = True, doc = "Their coordinates, GROUP:ARTIFACT:VERSION:TYPE, to their sha256."),
    },
    doc = """Fetches files from the Maven repository that the machine's settings name, as `@NAME//:files`.

What they depend on does not come along: name it, too. Where Maven is missing or offline, the repository holds
files/unavailable.txt with the reason instead, and a test that wants the files is skipped with it. A file with another hash
fails the build.""",
)
