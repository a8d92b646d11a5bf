"""The REST listener: requests of HTTP/1.1 as calls."""
