"""The classes of texts are never asked for: Triton would end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from triton_proxy.inference.parameters import Parameter, ParameterKind, Parameters
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.inference.signature import Signature
from triton_proxy.models.signature import classes_problem

SIGNATURE = Signature("m", {}, ("numbers", "texts"), 0, False, False, ("1",), text_outputs=frozenset({"texts"}))
CLASSES = (Parameter("classification", ParameterKind.INT64, 1),)
OTHERS = (Parameter("mine", ParameterKind.BOOL, True),)
OF_TEXTS = "classification: model m gives BYTES for 'texts', which have no classes, the request asks for them"
OF_UNKNOWN = (
    "classification: Triton does not say what the outputs of model 'm' are, the request asks for the classes of "
)


def request(**outputs: Parameters) -> InferenceRequest:
    return InferenceRequest(
        "m",
        "1",
        (),
        tuple(outputs),
        verbatim=True,
        output_parameters=tuple(outputs.values()),
        described_by="the request",
    )


@pytest.mark.parametrize(
    ("asked", "signature", "problem"),
    [
        (request(numbers=CLASSES), SIGNATURE, None),
        (request(texts=OTHERS), SIGNATURE, None),
        (request(nope=CLASSES), SIGNATURE, None),
        (request(texts=CLASSES), SIGNATURE, OF_TEXTS),
        (request(numbers=CLASSES, texts=(*OTHERS, *CLASSES)), SIGNATURE, OF_TEXTS),
        (request(texts=(Parameter("classification", ParameterKind.STRING, "1"),)), SIGNATURE, OF_TEXTS),
        (request(numbers=CLASSES), None, OF_UNKNOWN + "'numbers'"),
        (request(numbers=CLASSES), replace(SIGNATURE, outputs=()), OF_UNKNOWN + "'numbers'"),
        (request(numbers=OTHERS), None, None),
        (replace(request(texts=()), output_parameters=()), SIGNATURE, None),
    ],
)
def test_classes_are_of_what_is_known_to_be_numbers(
    asked: InferenceRequest, signature: Signature | None, problem: str | None
) -> None:
    assert classes_problem(signature, asked) == problem
