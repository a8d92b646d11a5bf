"""Asking Triton: the only package that speaks `inference.*` to a server."""
