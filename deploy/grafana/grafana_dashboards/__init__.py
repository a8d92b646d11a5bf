"""Grafana's dashboards of an installation, made from the table of metrics."""
