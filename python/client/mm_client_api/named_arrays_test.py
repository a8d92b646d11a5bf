from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from mm_client_api.errors import InvalidRequest
from mm_client_api.named_arrays import NamedArrays
from mm_client_api.result import InferenceResult
from mm_client_api.tensors import Array
from multimodal_contract import pb


def answered(**arrays: Array) -> InferenceResult:
    ack = pb.Ack(message=json.dumps({"model": "m", "model_version": "1"}), final=True)
    for name, array in arrays.items():
        ack.outputs.add(
            name=name, datatype="FP32", shape=pb.Shape(dims=array.shape), data=array.astype("<f4").tobytes()
        )
    return InferenceResult(ack)


def test_arrays_have_their_names() -> None:
    arrays = NamedArrays(answered(a=np.arange(3), result=np.zeros(1), get=np.ones(2)))
    assert arrays.a.tolist() == [0, 1, 2]
    # What is there anyway goes first; by their names all are found.
    assert isinstance(arrays.result, InferenceResult)
    assert arrays["result"].tolist() == [0]
    assert {name: array.size for name, array in arrays.items()} == {"a": 3, "result": 1, "get": 2}
    assert arrays._ipython_key_completions_() == ["a", "result", "get"]
    assert copy.copy(arrays)["a"].tolist() == [0, 1, 2]


def test_an_error_is_raised() -> None:
    with pytest.raises(InvalidRequest, match="no such thing"):
        NamedArrays(InferenceResult(pb.Ack(status=pb.BAD_REQUEST, message=json.dumps({"error": "no such thing"}))))
