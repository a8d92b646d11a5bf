"""The port of METRICS_LISTEN_ADDR, for Prometheus."""
