"""What the real Triton of the tests cannot show: rules of newer ones, and of backends that are not here."""

from __future__ import annotations

import pytest

from mm_publisher.config import ModelConfig
from mm_publisher.rules import core


def test_metrics_of_newer_tritons_are_checked() -> None:
    # The real Triton of the tests is too old for model_metrics.
    text = 'backend: "ours" model_metrics { metric_control { metric_identifier { family: "f" } } }'
    (problem,) = core.problems(ModelConfig.parse(text))
    assert problem == (
        "a metric_control lacks its metric_identifier's family or its histogram_options' buckets; expected both; add "
        "them"
    )


@pytest.mark.parametrize(("backend", "platform"), [("tensorrt", "tensorrt_plan"), ("pytorch", "pytorch_libtorch")])
def test_some_backends_know_no_optional_inputs(backend: str, platform: str) -> None:
    tensor = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] optional: true } ]'
    for named in (f'backend: "{backend}"', f'platform: "{platform}"'):
        (problem,) = core.problems(ModelConfig.parse(named + tensor))
        assert problem == (
            f"input 'x' is optional, which the {backend} backend does not know; expected none; remove optional"
        )
    assert core.problems(ModelConfig.parse('backend: "python"' + tensor)) == []
