"""What stock clients need of Triton's side: questions, and parameters on their way there and back."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from mm_service.status import Code
from proxy_testing.triton import LIMIT, connected, response
from triton_proxy.inference.answer import Answer, InferenceFailed, OutputTensor
from triton_proxy.inference.parameters import Parameter, ParameterKind
from triton_proxy.inference.query import Query, QueryMethod
from triton_proxy.triton.client import Step

MINE = Parameter("mine", ParameterKind.STRING, "own")
CLASSES = Parameter("classification", ParameterKind.INT64, 2)


def test_a_question_is_answered_in_tritons_bytes() -> None:
    with connected() as (_, triton):
        asked = triton.ask(Query(QueryMethod.SERVER_READY, b""), limit=LIMIT)
        expected = service_pb2.ServerReadyResponse(ready=True).SerializeToString()
        assert list(asked.answers()) == [Answer("", None, body=expected)]
        assert not asked.decoupled


def test_a_question_that_fails_has_tritons_status() -> None:
    with connected() as (_, triton):
        # The stand-in has no such method.
        asked = triton.ask(Query(QueryMethod.REPOSITORY_INDEX, b""), limit=LIMIT)
        with pytest.raises(InferenceFailed) as caught:
            list(asked.answers())
        assert caught.value.code is Code.UNIMPLEMENTED


@pytest.mark.parametrize("step", [None, Step(5, True, False), Step("five", False, True)])
def test_parameters_go_there_and_back(step: Step | None) -> None:
    with connected() as (stand_in, triton):
        heard: list[Any] = []

        def infer(request: Any, _: grpc.ServicerContext) -> bytes:
            heard.append(request)
            made = response(b"a")
            made.parameters["mine"].string_param = "own"
            made.outputs[0].parameters["mine"].string_param = "own"
            made.parameters["triton_final_response"].bool_param = True
            return bytes(made.SerializeToString())

        stand_in.infer = infer
        inference = triton.infer(
            "m",
            "",
            [],
            cid="c",
            limit=LIMIT,
            outputs=("y", "z"),
            step=step,
            parameters=(MINE,),
            output_parameters=((CLASSES,), ()),
        )
        output = OutputTensor("UINT8", (1,), b"a", (MINE,))
        assert list(inference.answers()) == [Answer("3", {"y": output}, parameters=(MINE,))]
        (request,) = heard
        expected = service_pb2.ModelInferRequest(model_name="m", id="c")
        expected.outputs.add(name="y").parameters["classification"].int64_param = 2
        expected.outputs.add(name="z")
        expected.parameters["mine"].string_param = "own"
        if step is not None:
            if isinstance(step.sequence_id, str):
                expected.parameters["sequence_id"].string_param = step.sequence_id
            else:
                expected.parameters["sequence_id"].int64_param = step.sequence_id
            expected.parameters["sequence_start"].bool_param = step.start
            expected.parameters["sequence_end"].bool_param = step.end
        assert request == expected


def test_heads_with_parameters_are_not_those_without() -> None:
    with connected() as (stand_in, triton):
        heard: list[Any] = []

        def infer(request: Any, _: grpc.ServicerContext) -> bytes:
            heard.append(request)
            return bytes(response(b"a").SerializeToString())

        stand_in.infer = infer
        for output_parameters in ((), ((CLASSES,),), ()):
            list(
                triton.infer(
                    "m", "", [], cid="c", limit=LIMIT, outputs=("y",), output_parameters=output_parameters
                ).answers()
            )
        assert ["classification" in request.outputs[0].parameters for request in heard] == [False, True, False]
