"""Bodies of /infer that are one tensor, which the model says all of."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal_contract.dtypes import TABLE
from triton_proxy.inference.answer import Answer, OutputTensor
from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.protocols.rest.infer import InferProtocol, RestMessage
from triton_proxy.protocols.rest.infer_request import Target
from triton_proxy.protocols.rest.json_work import JsonHere
from triton_proxy.protocols.rest.reply import Writer


def takes(*inputs: tuple[str, tuple[int, ...] | None], max_batch_size: int = 0) -> Signature:
    specs = {f"x{i}": TensorSpec(f"x{i}", datatype, shape) for i, (datatype, shape) in enumerate(inputs)}
    return Signature("model", specs, ("o",), max_batch_size, False, False, ("1",))


def sent(raw: bytes, signature: Signature | None, writer: Writer | None = None) -> RestMessage:
    message = InferProtocol(Target("model", ""), "0", writer or Writer(), JsonHere()).read(raw)
    assert message.fit is not None
    message.fit(signature)
    return message


@given(data=st.data())
def test_the_models_one_input_says_what_the_body_is(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([each for each in TABLE if each.size is not None]))
    assert dtype.size is not None
    real = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    free = data.draw(st.none() | st.integers(0, len(real) - 1))
    declared = tuple(-1 if i == free else each for i, each in enumerate(real))
    if free is not None and not math.prod(each for i, each in enumerate(real) if i != free):
        # Of an input without elements, no number of rows can be told.
        real[free] = 0
    batched = data.draw(st.booleans())
    raw = data.draw(st.binary(min_size=math.prod(real) * dtype.size, max_size=math.prod(real) * dtype.size))
    signature = takes((dtype.name, (-1, *declared) if batched else declared), max_batch_size=4 if batched else 0)
    (tensor,) = sent(raw, signature).request.inputs
    assert (tensor.name, tensor.dtype, bytes(tensor.data)) == ("x0", dtype, raw)
    assert tensor.shape == ((1, *real) if batched else tuple(real))


def test_a_body_of_bytes_is_one_element() -> None:
    (tensor,) = sent(b"hello", takes(("BYTES", (-1, 1)), max_batch_size=8)).request.inputs
    assert (tensor.shape, tensor.data) == ((1, 1), b"\5\0\0\0hello")


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        (takes(("FP32", (-1,)), ("FP32", (-1,))), "model 'model' has 2 inputs; a body of one tensor alone is for"),
        (takes(), "model 'model' has 0 inputs"),
        (takes(("FP32", (-1, -1))), "input 'x0' of model 'model' is FP32 [-1, -1]; with more than one dimension"),
        (takes(("BYTES", (-1,))), "is BYTES [-1]; a body of one tensor alone is one element of BYTES"),
        (takes(("BYTES", (2,))), "is BYTES [2]; a body of one tensor alone is one element of BYTES"),
        (takes(("FP32", None)), "is FP32 [], which no body of one tensor alone can be"),
        (takes(("FP4", (2,))), "is FP4 [2], which no body of one tensor alone can be"),
        (takes(("FP32", (-1, 2))), "the body has 4 bytes, and input 'x0' of model 'model' is FP32 [-1, 2]; expected"),
        (takes(("FP32", (-1, 2)), max_batch_size=2), "is FP32 [-1, 2]; expected 8"),
        (takes(("FP32", (-1, 0))), "expected any number of times 0"),
    ],
)
def test_a_body_that_the_model_does_not_explain_is_refused(signature: Signature, text: str) -> None:
    message = sent(bytes(4), signature)
    assert not message.inferable
    status = message.reply().status
    assert status is not None
    assert text in status.text


def test_of_a_model_that_triton_does_not_describe_triton_says_why() -> None:
    message = sent(b"abcd", None)
    assert message.inferable
    assert message.request.inputs == ()


def test_the_answer_is_binary() -> None:
    writer = Writer()
    message = sent(bytes(4), takes(("FP32", (-1,))), writer)
    answered = message.answered(Answer("3", {"o": OutputTensor("UINT8", (2,), b"ab")}))
    assert answered is not None
    head = (
        b'{"model_name":"model","model_version":"3","outputs":[{"name":"o","datatype":"UINT8","shape":[2],'
        b'"parameters":{"binary_data_size":2}}]}'
    )
    assert b"".join(answered.parts) == head + b"ab"
    assert ("inference-header-content-length", str(len(head))) in writer.fields
