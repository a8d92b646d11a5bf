"""The blocking client: threads and grpc's blocking calls around `_core`."""
