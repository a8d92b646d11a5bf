"""The ways to the model that are compared: who calls, and through what."""

from __future__ import annotations

from dataclasses import dataclass

DIRECT, NGINX, ENVOY, NAIVE, OURS, TRACED = "direct", "nginx", "envoy", "naive", "ours", "traced"
ONE, TWO = "one", "two"

# The one way that speaks HTTP/1.1, to a port of its own.
HTTP = "triton_http"


@dataclass(frozen=True)
class Path:
    """One way.

    Attributes:
        name: as in the results.
        hop: what stands between client and Triton: DIRECT (nothing), NGINX, ENVOY, NAIVE, OURS, TRACED, ONE or TWO.
        way: which client; a key of `worker.WAYS`.
        description: for readers of the results.
    """

    name: str
    hop: str
    way: str
    description: str


_TRITON_WAYS = {
    "unary": "`infer`, a thread for each request in flight",
    "async": "`async_infer`, all calls from one thread",
    "stream": "`async_stream_infer`, one stream",
}
_HOPS = {
    DIRECT: "tritonclient straight to Triton",
    NGINX: "tritonclient through nginx `grpc_pass`, which asks nobody who calls",
    ENVOY: "tritonclient through Envoy with ext_authz (once for each call or stream)",
    OURS: "tritonclient through this proxy",
}
_HTTP_HOPS = {
    DIRECT: "`tritonclient.http` straight to Triton",
    NGINX: "`tritonclient.http` through nginx `proxy_pass`, which asks nobody who calls",
    OURS: "`tritonclient.http` through this proxy",
}

PATHS = (
    *(
        Path(f"{hop}_{way}", hop, f"triton_{way}", f"{through}: {how}")
        for hop, through in _HOPS.items()
        for way, how in _TRITON_WAYS.items()
    ),
    *(
        Path(f"{hop}_http", hop, HTTP, f"{through}: `infer` with binary data, a connection for each request in flight")
        for hop, through in _HTTP_HOPS.items()
    ),
    Path("naive", NAIVE, "published", "the published client, one stream, through a straightforward proxy"),
    Path("ours_old_client", OURS, "published", "the published client, one stream, through this proxy"),
    Path("ours_new_unary", OURS, "new_unary", "`TritonClient.infer` through this proxy, a thread for each request"),
    Path("ours_new_stream", OURS, "new_stream", "`TritonClient.stream` through this proxy, one stream"),
    Path("traced_new_unary", TRACED, "new_unary", "as `ours_new_unary`; the proxy traces one call in a hundred"),
    Path("traced_new_stream", TRACED, "new_stream", "as `ours_new_stream`; the proxy traces one call in a hundred"),
    Path("one_worker", ONE, "connections", "`TritonClient.infer` over eight connections; this proxy, one process"),
    Path("two_workers", TWO, "connections", "as `one_worker`; the proxy has two processes"),
)
# The others are asked for by name: they are compared with one another alone.
USUAL = tuple(path for path in PATHS if path.hop not in (TRACED, ONE, TWO))


def named(names: list[str]) -> list[Path]:
    """Looks up paths; a name such as "envoy" stands for all that go through it.

    Raises:
        ValueError: there is none of that name.
    """
    known = {path.name for path in PATHS} | {path.hop for path in PATHS}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no path {', '.join(unknown)}; expected some of {', '.join(sorted(known))}")
    return [path for path in PATHS if path.name in names or path.hop in names]
