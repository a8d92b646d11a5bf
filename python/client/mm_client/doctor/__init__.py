"""`mm-client doctor`: what stands between a person and the proxy, looked at one thing after the other."""
