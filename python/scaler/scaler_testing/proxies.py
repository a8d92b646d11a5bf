"""The metrics pages of the proxy's pods, each on a loopback address of its own, as pods have them, and on one port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scaler_testing.api_server import PROXY, ApiServer


class ProxyPod:
    """One pod, and what its page says.

    Attributes:
        name: of the pod.
        wanted: see `Demand`, as the next two.
        awaited: see above.
        in_flight: see above.
        page: instead of all these; "" for none.
        asked: how often its page was read.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.wanted = self.awaited = self.in_flight = 0
        self.page = ""
        self.asked = 0

    def text(self) -> str:
        """The page."""
        return self.page or (
            "# HELP triton_proxy_triton_wanted_total Requests.\n# TYPE triton_proxy_triton_wanted_total counter\n"
            f"triton_proxy_triton_wanted_total {self.wanted}.0\n"
            f"triton_proxy_triton_awaited_requests {self.awaited}.0\n"
            f"triton_proxy_requests_in_flight {self.in_flight}.0\n"
            'triton_proxy_requests_total{model="m"} 7.0\n'
        )


class _Page(ThreadingHTTPServer):
    daemon_threads = True
    pod: ProxyPod


class _Handler(BaseHTTPRequestHandler):
    server: _Page

    def do_GET(self) -> None:
        text = self.server.pod.text().encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.server.pod.asked += 1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Logs no request."""


@contextmanager
def proxy_pods(api: ApiServer, count: int = 2) -> Iterator[tuple[list[ProxyPod], int]]:
    """Pods of the proxy, instead of those that the API server has, and the port of their pages."""
    with api.lock:
        for name in api.pods_of(PROXY):
            del api.state.pods[name]
    pods, port = [], 0
    with ExitStack() as stack:
        for number in range(count):
            pod = ProxyPod(f"{PROXY}-{number}")
            address = f"127.0.0.{number + 2}"
            page = _Page((address, port), _Handler)
            page.pod, port = pod, page.server_port
            threading.Thread(target=page.serve_forever, args=[0.01], daemon=True).start()
            stack.callback(page.server_close)
            stack.callback(page.shutdown)
            api.add_pod(PROXY, pod.name, podIP=address)
            pods.append(pod)
        yield pods, port
