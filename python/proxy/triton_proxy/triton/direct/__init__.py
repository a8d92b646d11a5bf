"""A small HTTP/2 client for large messages: docs/adr/0014 says why it is here, and what it leaves out.

Outside this folder only `calls` is used.
"""
