"""Spans by OpenTelemetry, which is imported here and nowhere else: only where traces are on."""
