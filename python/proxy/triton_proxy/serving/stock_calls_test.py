"""Calls of stock clients, in serving: what is wrong ends a unary call with its status, and a stream goes on."""

from __future__ import annotations

from typing import Any

import pytest
from tritonclient.grpc import service_pb2

from mm_service.status import OK, Code, Status
from proxy_testing.describing import DECOUPLED, PLAIN, STATEFUL
from proxy_testing.memory_serving import MemoryServing, one_answer
from triton_proxy.inference.answer import Answer, InferenceFailed
from triton_proxy.protocols.kserve.protocol import InferProtocol


def serving(*, unary: bool) -> MemoryServing:
    made = MemoryServing(unary=unary, protocol=InferProtocol(streamed=not unary))
    made.know(PLAIN, DECOUPLED, STATEFUL)
    return made


def request(request_id: str, model: str = PLAIN, *, data: bytes = b"1234") -> Any:
    message = service_pb2.ModelInferRequest(
        model_name=model, model_version="1", id=request_id, raw_input_contents=[data]
    )
    message.inputs.add(name="x", datatype="UINT8", shape=[4])
    return message


def take(served: MemoryServing) -> Any:
    made = served.call.make()
    assert made is not None
    served.call.taken()
    return service_pb2.ModelStreamInferResponse.FromString(made)


def refused(served: MemoryServing) -> Status | None:
    """The status that the call ends with instead of its answer."""
    assert served.call.make() is None
    served.call.taken()
    return served.call.status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InferenceFailed("not here", Code.NOT_FOUND), Status(Code.NOT_FOUND, "not here")),
        (InferenceFailed("the model failed"), Status(Code.INTERNAL, "the model failed")),
    ],
)
def test_a_unary_call_ends_with_tritons_status(error: InferenceFailed, status: Status) -> None:
    served = serving(unary=True)
    served.send(request("a"))
    served.finish("a", error)
    assert refused(served) == status
    assert not served.call.resend
    assert served.observer.answered == [("a", False)]
    served.close()
    assert served.observer.ended == [status]


def test_a_unary_mistake_never_reaches_triton() -> None:
    served = serving(unary=True)
    served.send(request("a", data=b"123"))
    status = refused(served)
    assert status is not None
    assert status.code is Code.INVALID_ARGUMENT
    assert status.text.startswith("size mismatch: inputs[0] has 3 bytes, expected 4 for UINT8 [4]")
    assert not served.triton.inferences
    served.close()


def test_an_answer_ends_a_unary_call_well() -> None:
    served = serving(unary=True)
    served.send(request("a"))
    served.finish("a", one_answer(b"ab"))
    made = served.call.make()
    assert made is not None
    assert service_pb2.ModelInferResponse.FromString(made).raw_output_contents == [b"ab"]
    served.call.taken()
    served.close()
    assert served.observer.ended == [OK]


def test_a_stream_goes_on_after_an_error() -> None:
    served = serving(unary=False)
    served.send(request("a", data=b"123"))
    assert take(served).infer_response.id == "a"
    served.send(request("b"))
    served.finish("b", InferenceFailed("not here", Code.NOT_FOUND))
    answer = take(served)
    assert (answer.infer_response.id, answer.error_message) == ("b", "not here")
    served.send(request("c"))
    served.finish("c", one_answer(b"ab"))
    assert take(served).infer_response.raw_output_contents == [b"ab"]
    served.close()
    assert served.observer.answered == [("a", False), ("b", False), ("c", True)]


def test_an_empty_last_answer_that_nobody_asked_for_is_not_sent() -> None:
    served = serving(unary=False)
    served.send(request("a", DECOUPLED))
    served.finish("a", one_answer(b"ab", final=False), Answer("1", None))
    assert not take(served).infer_response.parameters["triton_final_response"].bool_param
    assert served.call.make() is None
    served.call.taken()
    assert served.observer.answered == [("a", True)]
    served.close()
