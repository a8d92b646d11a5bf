"""HTTP/2 and gRPC's framing on asyncio, both sides, by one engine behind an interface of ours.

`connection` is that interface; `ngh2_connection` (libnghttp2) and `h2_connection` (hyper-h2) implement it, without
I/O. `grpc_headers`, `grpc_messages` and `grpc_status` are gRPC's framing, also without I/O. `server` and `client` have
sockets. Nothing here imports the rest of the proxy.
"""
