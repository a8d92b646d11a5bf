"""gRPC's server reflection: what callers may call, described by the descriptors themselves. Pure."""
