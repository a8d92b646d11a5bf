"""The trace that the caller is in, where its process has OpenTelemetry; this library does without."""

from __future__ import annotations

import importlib
import logging
import sys

_LOG = logging.getLogger(__name__)


def trace_headers() -> tuple[tuple[str, str], ...]:
    """Return the current span as W3C Trace Context, `traceparent` and `tracestate`; empty where there is none.

    Nothing is imported for it: a process whose program never imported OpenTelemetry has no span.
    """
    if "opentelemetry.trace" not in sys.modules:
        return ()
    headers: dict[str, str] = {}
    try:
        module = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        module.TraceContextTextMapPropagator().inject(headers)
    # A trace is worth no call, whatever release or exporter of OpenTelemetry's there is.
    except Exception as error:  # noqa: BLE001 - see above
        _LOG.debug("no trace goes with the call: %s", type(error).__name__)
        return ()
    return tuple(headers.items())
