"""Serves the console until it is interrupted."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn

from mm_client.command_line import OK, connected, say
from mm_client.options import UsageError
from mm_console.access import VIEWER_HEADER, Access
from mm_console.app import create_app
from mm_console.console import Console, Settings

_SHUTDOWN_SECS = 5
# Each holds a thread while it is answered.
_MOST_CONNECTIONS = 64


def serve(options: Mapping[str, Any]) -> int:
    """Serve the console.

    Args:
        options: values of `mm_client.options.CONSOLE_OPTIONS` by lower-case environment name.

    Returns:
        The exit status.

    Raises:
        UsageError: the port cannot be had.
        ConfigurationError, CredentialsError: as `TritonClient`.
    """
    settings = Settings(
        addr=options["mm_addr"],
        tls=options["mm_tls"],
        ca_bundle=options["mm_ca_bundle"],
        timeout_secs=options["req_timeout_sec"],
        http_url=options["mm_http_url"],
        metrics_url=options["mm_metrics_url"],
        scale_url=options["mm_scale_url"],
        max_upload_mb=options["mm_console_max_upload_mb"],
    )
    host, prefix = options["mm_console_host"], options["mm_console_root_path"].rstrip("/")
    with _listening(host, options["mm_console_port"]) as listener, _folder() as folder, connected(options) as client:
        port = listener.getsockname()[1]
        access = Access(options["mm_console_viewers"], port)
        app = create_app(Console(settings, client, access, folder))
        config = uvicorn.Config(
            app,
            # Its lines would show the key, which is in the first address.
            access_log=False,
            log_level=logging.WARNING,
            root_path=prefix,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_SHUTDOWN_SECS,
            server_header=False,
            # Headers that name the client's address decide nothing here.
            proxy_headers=False,
            lifespan="on",
        )
        shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
        address = f"http://{shown}:{port}{prefix}/"
        if access.key:
            print(f"{address}?key={access.key}", flush=True)
            say("open this address; its key lets in everybody that has it, with your rights. Ctrl-C ends it")
        else:
            names = ", ".join(options["mm_console_viewers"])
            print(address, flush=True)
            say(f"lets in {names}, by Domino's header {VIEWER_HEADER}, with your rights. Ctrl-C ends it")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])
    return OK


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise _no_port(host, port, error) from error
    with listener:
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_MOST_CONNECTIONS)
        except OSError as error:
            raise _no_port(host, port, error) from error
        yield listener


def _no_port(host: str, port: int, error: OSError) -> UsageError:
    return UsageError(
        f"{host}:{port} cannot be listened on: {error.strerror or error}; expected an address of this machine and a "
        "free port; name others by --host and --port"
    )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mm-console-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
