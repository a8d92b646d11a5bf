"""Debian packages as files, fetched with the machine's apt, where it has one."""

_BUILD = """\
# The packages, or packages/unavailable.txt, which says why there are none.
filegroup(
    name = "packages",
    srcs = glob(["packages/*"]),
    visibility = ["//visibility:public"],
)
"""

# A machine's sources may name other archives, too; nothing of theirs gets in.
_PREFERENCES = """\
Package: *
Pin: release o=Debian, v={release}*
Pin-Priority: 990

Package: *
Pin: release o=*
Pin-Priority: -1
"""

def _last_error(text):
    lines = [line for line in text.splitlines() if line.startswith("E: ")]
    return lines[-1] if lines else "no reason given"

def _fetch(rctx):
    """Fetches packages/*.deb; returns why it could not, or None."""
    apt = rctx.which("apt-get")
    if not apt or not rctx.which("dpkg-deb"):
        return "apt-get and dpkg-deb are not installed, and images are made of Debian's packages"
    root = str(rctx.path("."))
    rctx.file("apt/preferences", _PREFERENCES.format(release = rctx.attr.release), executable = False)
    rctx.file("apt/status", "", executable = False)
    for folder in ["apt/lists/partial", "packages/partial"]:
        rctx.file(folder + "/.keep", "", executable = False)
    options = [
        # The machine's keys and sources, and nothing else of it.
        "Dir::State=" + root + "/apt",
        "Dir::State::lists=" + root + "/apt/lists",
        "Dir::State::status=" + root + "/apt/status",
        "Dir::Cache=" + root + "/apt",
        "Dir::Cache::archives=" + root + "/packages",
        "Dir::Etc::preferences=" + root + "/apt/preferences",
        "Dir::Etc::preferencesparts=/dev/null",
        "APT::Architecture=amd64",
        "APT::Architectures=amd64",
        "APT::Install-Recommends=false",
        "Acquire::Languages=none",
        # The folders above belong to whoever builds.
        "APT::Sandbox::User=",
        "APT::Update::Post-Invoke=",
        "APT::Update::Post-Invoke-Success=",
    ]
    command = [apt, "--quiet=2"]
    for option in options:
        command += ["--option", option]
    environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    for words in [["update"], ["install", "--yes", "--download-only"] + rctx.attr.packages]:
        rctx.report_progress("apt-get " + words[0])
        done = rctx.execute(command + words, environment = environment, timeout = 900)
        if done.return_code != 0:
            return "apt-get {} failed: {}".format(words[0], _last_error(done.stderr))
    rctx.delete("apt")
    return None

def _debian_packages_impl(rctx):
    reason = _fetch(rctx)
    if reason:
        rctx.delete("packages")
        rctx.file(
            "packages/unavailable.txt",
            "{}; once that is mended: ./bazelw sync --only={}\n".format(reason, rctx.name),
            executable = False,
        )
    else:
        rctx.delete("packages/partial")
        rctx.delete("packages/lock")
    rctx.file("BUILD.bazel", _BUILD, executable = False)

debian_packages = repository_rule(
    implementation = _debian_packages_impl,
    attrs = {
        "packages": attr.string_list(mandatory = True, doc = "Their names; what they depend on comes along."),
        "release": attr.string(mandatory = True, doc = "Debian's release, such as \"12\"; packages of any other archive are refused."),
    },
    doc = """Fetches .deb files as `@NAME//:packages`, for images; needs neither root nor an installed package.

apt checks Debian's signatures and hashes. Versions are those that Debian's release has on the day of the fetch: the archive
keeps no older ones, so there is nothing to pin. `./bazelw sync --only=NAME` takes today's. Where apt is missing or offline, the
repository holds packages/unavailable.txt with the reason instead; images then can't be built, and their tests are skipped.""",
)
