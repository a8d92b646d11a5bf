from __future__ import annotations

import pytest

from mm_publisher.config import ModelConfig
from mm_publisher.rules.ensembles import StepModel, against_repository
from publisher_testing.models import CONFIG
from publisher_testing.triton_rules import X, Y, ensemble, step

_ADDER = StepModel(ModelConfig.parse(CONFIG), (1,))
_STREAMING = StepModel(ModelConfig.parse(CONFIG + "model_transaction_policy { decoupled: true }"), (1,))
_PAIR = StepModel(ModelConfig.parse(CONFIG + X.replace('"X"', '"Z"')), (1,))
_PAIR_STEP = (
    'step { model_name: "pair" model_version: -1 input_map { key: "X" value: "a" } input_map { key: "Z" value: "b" } '
    'output_map { key: "Y" value: "Y" } }'
)


def _problems(text: str, **models: StepModel) -> list[str]:
    return against_repository(ModelConfig.parse(text), "plan", models.get)


def test_a_circle_is_seen_through_other_ensembles() -> None:
    other = StepModel(ModelConfig.parse(ensemble(step("X", "Y", model="plan"))), (1,))
    (problem,) = _problems(ensemble(step("X", "Y", model="other")), other=other)
    assert problem == (
        "step 0 is the model 'other', which needs this ensemble itself; expected no circle; correct model_name"
    )


def test_a_model_of_which_nothing_serves_is_no_step() -> None:
    (problem,) = _problems(ensemble(step("X", "Y")), adder=StepModel(_ADDER.config, ()))
    assert problem == (
        "step 0 wants version -1 of 'adder', of which serve: none; expected one of them, or model_version: -1 for the "
        "latest; correct it"
    )


@pytest.mark.parametrize(("first", "second"), [("adder", "streaming"), ("streaming", "streaming")])
def test_a_step_may_not_join_answers_of_different_decoupled_models(first: str, second: str) -> None:
    # ValidateEnsembleConfig: "receives inputs originated from different decoupled models".
    text = ensemble(step("X", "a", model=first) + step("X", "b", model=second) + _PAIR_STEP)
    (problem,) = _problems(text, adder=_ADDER, streaming=_STREAMING, pair=_PAIR)
    origins = {"adder": "the ensemble's inputs", "streaming": "step 0, which is decoupled"}
    assert problem == (
        f"step 2, pair, gets inputs from {' and from '.join(sorted([origins[first], 'step 1, which is decoupled']))}; "
        "expected one source, since a decoupled model answers as often as it likes; correct the input_map"
    )


def test_a_step_may_join_answers_of_one_decoupled_model() -> None:
    text = ensemble(
        step("X", "c", model="streaming") + step("c", "a") + step("c", "b") + _PAIR_STEP, inputs=X, outputs=Y
    )
    assert _problems(text, adder=_ADDER, streaming=_STREAMING, pair=_PAIR) == []


def test_an_input_without_a_tensor_is_wrong_unless_it_is_optional() -> None:
    optional = StepModel(ModelConfig.parse(_PAIR.config.text().replace('name: "Z"', 'name: "Z" optional: true')), (1,))
    text = ensemble(step("X", "Y", model="pair"))
    assert _problems(text, pair=optional) == []
    assert _problems(text, pair=_PAIR) == [
        "step 0, pair, needs its input 'Z'; expected a tensor for it; add it to the input_map"
    ]
