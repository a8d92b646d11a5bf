"""The proxy behind the HTTP/2 engine of its own: calls of a loop that no thread waits for."""
