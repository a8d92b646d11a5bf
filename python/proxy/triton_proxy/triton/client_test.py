"""What Triton is asked is what protobuf itself would have made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from multimodal_contract.dtypes import TABLE, DType
from proxy_testing.triton import LIMIT, connected, response, streamed
from triton_proxy.inference.request import InputTensor
from triton_proxy.triton import client as triton_module
from triton_proxy.triton.client import Step, _request

NAMES = st.text(st.characters(codec="utf-8"), max_size=9)
IDS = st.integers(1, 2**63 - 1) | st.text("0123456789abcdef", min_size=1, max_size=32)
STEPS = st.none() | st.builds(Step, sequence_id=IDS, start=st.booleans(), end=st.booleans())


@st.composite
def inputs(draw: st.DrawFn) -> InputTensor:
    data = draw(st.binary(max_size=20))
    views = draw(st.booleans())
    return InputTensor(
        draw(NAMES),
        draw(st.sampled_from(TABLE)),
        tuple(draw(st.lists(st.integers(0, 2**63 - 1), max_size=4))),
        memoryview(data) if views else data,
    )


def expected(
    model: str,
    model_version: str,
    items: list[InputTensor],
    outputs: tuple[str, ...] | None,
    cid: str,
    step: Step | None,
    decoupled: bool,
) -> Any:
    request = service_pb2.ModelInferRequest(model_name=model, model_version=model_version, id=cid)
    for item in items:
        request.inputs.add(name=item.name, datatype=item.dtype.name, shape=item.shape)
        request.raw_input_contents.append(bytes(item.data))
    for name in outputs or ():
        request.outputs.add(name=name)
    if step is not None:
        if isinstance(step.sequence_id, str):
            request.parameters["sequence_id"].string_param = step.sequence_id
        else:
            request.parameters["sequence_id"].int64_param = step.sequence_id
        request.parameters["sequence_start"].bool_param = step.start
        request.parameters["sequence_end"].bool_param = step.end
    if decoupled:
        request.parameters["triton_enable_empty_final_response"].bool_param = True
    return request


REQUESTS = {
    "model": NAMES,
    "model_version": NAMES,
    "items": st.lists(inputs(), max_size=3),
    "outputs": st.none() | st.lists(NAMES, max_size=3).map(tuple),
    "cid": NAMES,
    "step": STEPS,
    "decoupled": st.booleans(),
}


@given(**REQUESTS)
def test_a_request_is_what_protobuf_would_make(
    model: str,
    model_version: str,
    items: list[InputTensor],
    outputs: tuple[str, ...] | None,
    cid: str,
    step: Step | None,
    decoupled: bool,
) -> None:
    # Once as it is made and once as it is remembered.
    for _ in range(2):
        raw = b"".join(_request(model, model_version, items, outputs, cid, step, decoupled))
        request = service_pb2.ModelInferRequest.FromString(raw)
        assert request == expected(model, model_version, items, outputs, cid, step, decoupled)
        assert not len(UnknownFieldSet(request))


FP32 = next(row for row in TABLE if row.name == "FP32")
INT32 = next(row for row in TABLE if row.name == "INT32")


def made(
    model: str = "m",
    version: str = "1",
    name: str = "x",
    dtype: DType = FP32,
    shape: tuple[int, ...] = (2,),
    outputs: tuple[str, ...] | None = ("y",),
) -> Any:
    item = InputTensor(name, dtype, shape, bytes(8))
    raw = b"".join(_request(model, version, [item], outputs, "c", None, decoupled=False))
    request = service_pb2.ModelInferRequest.FromString(raw)
    assert request == expected(model, version, [item], outputs, "c", None, decoupled=False)
    return request


def test_no_request_has_the_head_of_another() -> None:
    triton_module._head.cache_clear()
    for _ in range(2):
        made()
        made(model="n")
        made(version="2")
        made(name="z")
        made(dtype=INT32)
        made(shape=(2, 1))
        made(shape=(1, 2))
        made(outputs=None)
        made(outputs=("y", "z"))
        made(outputs=("z", "y"))
    remembered = triton_module._head.cache_info()
    assert (remembered.misses, remembered.hits) == (10, 10)


@pytest.mark.parametrize("where", ["model", "version", "name", "outputs"])
def test_what_is_remembered_of_names_that_callers_choose_has_a_limit(where: str) -> None:
    triton_module._head.cache_clear()
    long = "n" * 1000
    arguments: dict[str, Any] = {where: (long,) if where == "outputs" else long}
    made(**arguments)
    made(**arguments)
    assert triton_module._head.cache_info().currsize == 0
    for index in range(2000):
        made(model=f"m{index}")
    remembered = triton_module._head.cache_info()
    assert remembered.currsize == remembered.maxsize
    assert remembered.maxsize is not None
    assert remembered.maxsize < 2000


def test_the_tensors_are_not_copied_before_they_are_joined() -> None:
    data = memoryview(bytes(1_000_000))
    parts = list(_request("m", "1", [InputTensor("x", FP32, (250_000,), data)], None, "c", None, decoupled=False))
    assert any(part is data for part in parts)
    assert sum(map(len, parts)) < 1_000_100


@pytest.mark.parametrize("decoupled", [False, True])
def test_decoupled_models_are_asked_on_a_stream(decoupled: bool) -> None:
    asked: list[tuple[str, Any]] = []

    def infer(request: Any, context: grpc.ServicerContext) -> bytes:
        asked.append(("once", request))
        return bytes(response().SerializeToString())

    def infer_stream(request: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
        asked.append(("stream", request))
        yield streamed(final=True)

    with connected() as (stand_in, triton):
        stand_in.infer, stand_in.infer_stream = infer, infer_stream
        item, step = InputTensor("x", FP32, (2,), bytes(8)), Step(7, start=True, end=False)
        inference = triton.infer("m", "1", [item], cid="c", limit=LIMIT, outputs=("y",), step=step, decoupled=decoupled)
        assert inference.decoupled is decoupled
        (answer,) = inference.answers()
    assert (answer.model_version, answer.final) == ("3", True)
    ((how, request),) = asked
    assert how == ("stream" if decoupled else "once")
    assert request == expected("m", "1", [item], ("y",), "c", step, decoupled)


def test_a_triton_that_is_not_there_is_not_ready() -> None:
    with connected() as (stand_in, triton):
        assert triton.ready(30)
        stand_in.server.stop(None).wait()
        assert not triton.ready(30)
