"""The proxy behind grpcio's server."""
