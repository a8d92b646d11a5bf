"""The host's Python interpreter."""

# The locks hold wheels for exactly this version.
PYTHON_VERSION = "3.11"

_PROBE = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)"

def find_interpreter(rctx, module = None):
    """Finds a host interpreter of PYTHON_VERSION.

    Args:
      rctx: the repository context.
      module: a module that the interpreter must be able to import, or None.

    Returns:
      The interpreter's own path (never a pyenv shim) as a string; fails with what was found when there is none.
    """
    candidates = ["/usr/bin/python3", "/usr/bin/python" + PYTHON_VERSION]
    for name in ["python" + PYTHON_VERSION, "python3"]:
        found = rctx.which(name)
        if found and str(found) not in candidates:
            candidates.append(str(found))
    seen = []
    for candidate in candidates:
        if not rctx.path(candidate).exists:
            continue
        probed = rctx.execute([candidate, "-c", _PROBE])
        if probed.return_code != 0:
            continue
        version, executable = probed.stdout.splitlines()[:2]
        if version != PYTHON_VERSION:
            seen.append("{} is {}".format(candidate, version))
        elif module and rctx.execute([candidate, "-c", "import " + module]).return_code != 0:
            seen.append("{} is {} without {}".format(candidate, version, module))
        else:
            return executable
    fail(("This build needs Python {version}{with_module} but found {seen}: " +
          "install {packages} (Debian 12 has it), or put a python{version} on PATH.").format(
        version = PYTHON_VERSION,
        with_module = " with " + module if module else "",
        seen = "only " + ", ".join(seen) if seen else "no Python at all",
        packages = "python3 and python3-" + module if module else "python3",
    ))
