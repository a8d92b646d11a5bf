"""Triton's dashboard: what its models do, and whether its GPUs are busy, by Triton's own metrics on its port 8002."""

from __future__ import annotations

from grafana_dashboards.panels import RATE, Panel, Query, Row, make

_OF = 'namespace=~"$namespace",pod=~"$pod",model=~"$model"'
_GPU = 'namespace=~"$namespace",pod=~"$pod"'
_VARIABLES = (
    ("namespace", "label_values(nv_inference_count, namespace)"),
    ("pod", 'label_values(nv_inference_count{namespace=~"$namespace"}, pod)'),
    ("model", 'label_values(nv_inference_count{namespace=~"$namespace"}, model)'),
)


def _rate(name: str) -> str:
    return f"sum by (model) (rate({name}{{{_OF}}}[{RATE}]))"


def _each(name: str) -> Query:
    """Mean of a duration in microseconds, as seconds of a request."""
    return Query(f"{_rate(name)} / {_rate('nv_inference_request_success')} / 1e6", "{{model}}")


_ROWS = (
    Row(
        "Models",
        (
            Panel("Requests", "That succeeded.", "reqps", [Query(_rate("nv_inference_request_success"), "{{model}}")]),
            Panel("Failures", "That failed.", "reqps", [Query(_rate("nv_inference_request_failure"), "{{model}}")]),
            Panel(
                "Pending",
                "Requests that wait for an instance of the model: more than 0 for long asks for more Tritons, or more"
                " instances in the model's config.pbtxt.",
                "short",
                [Query(f"sum by (model) (nv_inference_pending_request_count{{{_OF}}})", "{{model}}")],
            ),
            Panel("Queue", "Mean time in the queue.", "s", [_each("nv_inference_queue_duration_us")]),
            Panel("Computing", "Mean time of the model.", "s", [_each("nv_inference_compute_infer_duration_us")]),
            Panel(
                "Batch",
                "Inferences of one execution: near 1, the dynamic batcher finds nothing to join.",
                "short",
                [Query(f"{_rate('nv_inference_count')} / {_rate('nv_inference_exec_count')}", "{{model}}")],
            ),
        ),
    ),
    Row(
        "GPUs",
        (
            Panel(
                "Utilization",
                "Near 1, more requests only wait longer.",
                "percentunit",
                [Query(f"nv_gpu_utilization{{{_GPU}}}", "{{pod}} {{gpu_uuid}}")],
                most=1,
            ),
            Panel(
                "Memory",
                "Used, of all there is.",
                "percentunit",
                [
                    Query(
                        f"nv_gpu_memory_used_bytes{{{_GPU}}} / nv_gpu_memory_total_bytes{{{_GPU}}}",
                        "{{pod}} {{gpu_uuid}}",
                    )
                ],
                most=1,
            ),
            Panel("Power", "Used.", "watt", [Query(f"nv_gpu_power_usage{{{_GPU}}}", "{{pod}} {{gpu_uuid}}")]),
        ),
    ),
)


def dashboard() -> str:
    """The dashboard as JSON."""
    return make("triton-models", "Triton models", "What Triton's models and GPUs do.", _VARIABLES, _ROWS)
