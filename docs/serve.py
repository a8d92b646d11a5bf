"""Serves the documentation on this machine: `./bazelw run //docs:serve`, or `-- --port 9000`."""

from __future__ import annotations

import argparse
import contextlib
import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


def main() -> None:
    """Serves it until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serves the documentation on this machine.", allow_abbrev=False)
    parser.add_argument("folder", help="What was built.")
    parser.add_argument("--port", type=int, default=8008, help="Of 127.0.0.1 (default %(default)s).")
    flags = parser.parse_args()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=flags.folder)
    with ThreadingHTTPServer(("127.0.0.1", flags.port), handler) as server:
        print(f"the documentation is at http://127.0.0.1:{server.server_port}/; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
