"""The table of element types against the contract, Triton's own table and numpy."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NAME, BY_NUMBER, BY_NUMPY, TABLE, DType


def test_each_type_of_the_contract_has_exactly_one_row() -> None:
    assert sorted(BY_NUMBER) == sorted(set(pb.DataType.values()) - {pb.DT_INVALID})
    assert len(TABLE) == len(BY_NUMBER) == len(BY_NAME)


def test_each_type_of_triton_has_a_row() -> None:
    tritons = {name.removeprefix("TYPE_") for name in model_config_pb2.DataType.DESCRIPTOR.values_by_name}
    tritons = {"BYTES" if name == "STRING" else name for name in tritons} - {"INVALID"}
    assert set(BY_NAME) == tritons


@pytest.mark.parametrize("dtype", TABLE, ids=lambda dtype: dtype.name)
def test_a_row_agrees_with_the_contract_and_numpy(dtype: DType) -> None:
    assert pb.DataType.Name(dtype.number) == f"DT_{dtype.name}"
    assert BY_NUMBER[dtype.number] is BY_NAME[dtype.name] is dtype
    tritons = triton_to_np_dtype(dtype.name)
    if dtype.numpy is not None:
        assert BY_NUMPY[dtype.numpy] is dtype
        assert np.dtype(dtype.numpy).itemsize == dtype.size
        assert np.dtype(dtype.numpy).newbyteorder("=") == np.dtype(tritons)
    else:
        assert dtype.name in ("BF16", "BYTES")
