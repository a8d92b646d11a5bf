"""nginx in front of Triton, without authentication."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])

# nginx closes a connection after a thousand requests by default, towards clients as towards Triton; a buffer of the
# request's size spares it the refilling of small ones.
_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream triton {{
    server {triton};
    keepalive 128;
    keepalive_requests 100000000;
  }}
  upstream triton_http {{
    server {triton_http};
    keepalive 128;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port} http2;
    client_max_body_size 0;
    client_body_buffer_size 8m;
    keepalive_requests 100000000;
    http2_max_concurrent_streams 1024;
    grpc_buffer_size 1m;
    grpc_read_timeout 300s;
    grpc_send_timeout 300s;
    location / {{ grpc_pass grpc://triton; }}
  }}
  server {{
    listen 127.0.0.1:{http_port};
    client_max_body_size 0;
    client_body_buffer_size 8m;
    keepalive_requests 100000000;
    proxy_buffers 64 64k;
    location / {{
      proxy_pass http://triton_http;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""


def find() -> Path | None:
    """Returns the program, or None where this machine has none."""
    found = shutil.which("nginx", path=_PLACES)
    return Path(found) if found else None


def command(program: Path, folder: Path, port: int, triton: str, http_port: int, triton_http: str) -> list[str]:
    """Writes the configuration.

    Args:
        program: nginx.
        folder: where it may write; made here.
        port: where it is to listen.
        triton: HOST:PORT of Triton's gRPC endpoint.
        http_port: where it is to listen for HTTP/1.1.
        triton_http: HOST:PORT of Triton's HTTP endpoint.

    Returns:
        The command that runs it in the foreground.
    """
    folder.mkdir()
    # Otherwise its worker gives root up for a user that may not write into the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    words = {"port": port, "triton": triton, "http_port": http_port, "triton_http": triton_http}
    config.write_text(_CONFIG.format(user=user, folder=folder, **words))
    return [str(program), "-p", str(folder), "-c", str(config)]
