"""Go, as every rule that builds with it runs it."""

def run_go(rctx, go, words, what, environment = {}, program = None):
    """Runs Go in the repository's folder `module`; fails with what it printed when it fails.

    Args:
      rctx: the repository context.
      go: label of the toolchain's `go`.
      words: its arguments.
      what: what it is for, after "could not".
      environment: variables more.
      program: path of another program to run, which calls Go itself; its arguments are `words`.

    Returns:
      What it printed, without the space around it.
    """
    go = rctx.path(go)
    done = rctx.execute(
        [program or go] + words,
        # readonly: nothing but what go.sum has a hash for. local: no other Go is downloaded. Where the modules come from
        # and where Go's caches lie stays the user's choice, so that the next clone finds everything built.
        environment = dict(
            environment,
            CGO_ENABLED = "0",
            GOFLAGS = "-mod=readonly",
            GOROOT = "",
            GOTOOLCHAIN = "local",
            GOWORK = "off",
            PATH = "{}:{}".format(go.dirname, rctx.os.environ.get("PATH", "/usr/bin:/bin")),
        ),
        timeout = 1800,
        working_directory = "module",
    )
    if done.return_code != 0:
        fail("Go could not {}:\n{}{}".format(what, done.stdout, done.stderr))
    return done.stdout.strip()
