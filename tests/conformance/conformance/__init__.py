"""The HTTP/2 engine and the proxy, judged by programs that others wrote."""
