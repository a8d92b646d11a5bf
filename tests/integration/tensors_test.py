"""Arrays of every kind by the client library through the proxy: what a model takes and gives comes as it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from devstack import models
from devstack.triton import Triton
from mm_client_api import ApiKey, InferenceRequest, TritonClient, encode
from multimodal_contract import dtypes
from serving import KEY, Proxy, write_model

NUMPY = [dtype for dtype in dtypes.TABLE if dtype.name not in ("BF16", "BYTES")]
# Gives INPUT0 back, and says in SEEN which shape it has within the model.
CODE = """
import numpy
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        value = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        seen = numpy.array([str(list(value.shape)).encode()] * len(value), numpy.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", value), pb_utils.Tensor("SEEN", seen)])
"""


def config(kind: str, dims: str, reshape: str = "") -> str:
    return f"""max_batch_size: 4
input [ {{ name: "INPUT0" data_type: TYPE_{kind} dims: {dims} {reshape} }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_{kind} dims: {dims} {reshape} }} ]
output [ {{ name: "SEEN" data_type: TYPE_STRING dims: [1] reshape {{ shape: [] }} }} ]
"""


@pytest.fixture
def client(serving: Proxy) -> Iterator[TritonClient]:
    with TritonClient(serving.address, credentials=ApiKey(KEY)) as connected:
        yield connected


@pytest.fixture(scope="module", autouse=True)
def published(repository: Path, triton: Triton) -> None:
    write_model(repository / "scalars", config("FP32", "[1]", "reshape { shape: [] }"), CODE)
    write_model(repository / "matrices", config("INT64", "[-1, -1]"), CODE)
    write_model(repository / "lines", config("STRING", "[-1, 2]"), CODE)
    triton.wait_ready(["scalars", "matrices", "lines"])


def identity(client: TritonClient, array: np.ndarray, raw: bool = True, datatype: str = "") -> np.ndarray:
    tensor = encode(array, datatype or None)
    request = InferenceRequest(
        models.identity_name(tensor.datatype), {"INPUT0": tensor}, ["OUTPUT0"], "1", raw_outputs=raw
    )
    (result,) = client.stream([request])
    return result.raise_for_status().outputs["OUTPUT0"]


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "base64"])
@pytest.mark.parametrize("count", [0, 1, 1000])
@pytest.mark.parametrize("dtype", NUMPY, ids=lambda dtype: dtype.name)
def test_arrays_come_back_as_they_went(client: TritonClient, dtype: dtypes.DType, count: int, raw: bool) -> None:
    kind = np.dtype(dtype.numpy)
    sent = np.resize(np.array([0, 1] if kind.kind == "b" else [0, 1, 77, 100]), count).astype(kind)
    if kind.kind in "iu" and count:
        sent[:1], sent[-1:] = np.iinfo(kind).min, np.iinfo(kind).max
    if kind.kind == "f" and count:
        sent[:1], sent[-1:] = np.nan, -np.inf
    back = identity(client, sent, raw)
    assert back.dtype == kind
    np.testing.assert_array_equal(back, sent)


def test_bf16_comes_back_as_float32(client: TritonClient) -> None:
    back = identity(client, np.array([1.5, -2.0, np.inf, 3.0e38], np.float32), datatype="BF16")
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, [1.5, -2.0, np.inf, 3.0e38], rtol=2**-8)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "base64"])
def test_byte_strings_come_back(client: TritonClient, raw: bool) -> None:
    sent = np.array([b"", b"\x00\xff", "Grüße".encode(), bytes(10_000)], np.object_)
    assert identity(client, sent, raw).tolist() == sent.tolist()
    assert identity(client, np.array([], np.object_), raw).shape == (0,)


def test_byte_strings_in_rows_come_back(client: TritonClient) -> None:
    sent = np.array([[[b"a", b""], [b"bc", b"def"]], [[b"\n", b"x"], [b"", b"yz"]]], np.object_)
    result = client.infer("lines", {"INPUT0": sent}, outputs=["OUTPUT0", "SEEN"], model_version="1")
    assert result.outputs["OUTPUT0"].tolist() == sent.tolist()
    assert result.outputs["SEEN"].ravel().tolist() == [b"[2, 2, 2]"] * 2


@pytest.mark.parametrize("batch", [1, 4])
def test_a_scalar_of_each_row(client: TritonClient, batch: int) -> None:
    sent = np.arange(batch, dtype=np.float32).reshape(batch, 1)
    result = client.infer("scalars", {"INPUT0": sent}, outputs=["OUTPUT0", "SEEN"], model_version="1")
    # Within the model it has the batch's dimension only.
    assert result.outputs["SEEN"].ravel().tolist() == [f"[{batch}]".encode()] * batch
    assert result.outputs["OUTPUT0"].shape == (batch, 1)
    np.testing.assert_array_equal(result.outputs["OUTPUT0"], sent)


@pytest.mark.parametrize("shape", list(itertools.product([1, 4], [0, 1, 3], [0, 2])), ids=str)
def test_matrices_of_any_size_empty_ones_too(client: TritonClient, shape: tuple[int, ...]) -> None:
    sent = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    result = client.infer("matrices", {"INPUT0": sent}, outputs=["OUTPUT0", "SEEN"], model_version="1")
    assert result.outputs["OUTPUT0"].shape == shape
    np.testing.assert_array_equal(result.outputs["OUTPUT0"], sent)
    assert result.outputs["SEEN"].ravel().tolist() == [str(list(shape)).encode()] * shape[0]


@pytest.mark.parametrize("size", [(1, 1), (64, 48), (7, 641)], ids=str)
def test_pictures_of_any_size_in_a_batch(client: TritonClient, size: tuple[int, int]) -> None:
    pictures = np.random.default_rng(0).random((3, 3, *size), np.float32)
    result = client.infer(models.IMAGE_MEAN, {"IMAGE": pictures}, outputs=["MEAN"], model_version="1")
    np.testing.assert_allclose(result.outputs["MEAN"], pictures.mean(axis=(2, 3)), rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 5), (8, 2), (2, 0)], ids=str)
def test_several_inputs_in_a_batch(client: TritonClient, shape: tuple[int, int]) -> None:
    floats = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    integers = np.full(shape, 3, np.int32)
    result = client.infer(
        models.ADD_SUB,
        {"INPUT1": integers, "INPUT0": floats},
        outputs=["SUM", "DIFFERENCE"],
        model_version="1",
    )
    np.testing.assert_array_equal(result.outputs["SUM"], floats + 3)
    np.testing.assert_array_equal(result.outputs["DIFFERENCE"], (floats - 3).astype(np.int32))
    assert result.outputs["SUM"].shape == shape


@pytest.mark.parametrize("kind", ["<i8", ">i8"])
def test_arrays_of_any_layout_and_byte_order(client: TritonClient, kind: str) -> None:
    sent = np.arange(48, dtype=kind).reshape(2, 4, 6).transpose(1, 2, 0)[:, ::-2]
    assert not sent.flags.c_contiguous
    result = client.infer("matrices", {"INPUT0": sent}, outputs=["OUTPUT0"], model_version="1")
    np.testing.assert_array_equal(result.outputs["OUTPUT0"], sent)
