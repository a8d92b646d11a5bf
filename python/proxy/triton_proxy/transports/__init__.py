"""Bytes in and out: the only packages that import a server library."""
