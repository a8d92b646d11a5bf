"""A body of /infer that is one tensor: Triton's raw binary request.

The field Inference-Header-Content-Length is 0, so that no JSON describes the tensor: name, type and shape are those of
the model's single input (https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md).
"""

from __future__ import annotations

import math
import struct

from multimodal_contract.dtypes import BY_NAME
from multimodal_contract.wire import Buffer
from triton_proxy.inference.request import InputTensor
from triton_proxy.inference.signature import Signature
from triton_proxy.protocols.rest.refused import BodyRefused, quoted

_LENGTH = struct.Struct("<I")


def raw_input(signature: Signature, data: Buffer) -> InputTensor:
    """The model's input, of which the body has nothing but the data.

    Args:
        signature: the model's.
        data: the body: of BYTES one element without its length, of any other type the elements.

    Raises:
        BodyRefused: name, type or shape can't be told, or the data does not fit.
    """
    of = f"model {quoted(signature.model)}"
    if len(signature.inputs) != 1:
        count = len(signature.inputs)
        raise _unknown(f"{of} has {count} inputs; a body of one tensor alone is for models of one input")
    (spec,) = signature.inputs.values()
    where = f"input {quoted(spec.name)} of {of} is {spec.datatype} {list(spec.shape or ())}"
    dtype = BY_NAME.get(spec.datatype)
    if dtype is None or not spec.shape:
        raise _unknown(f"{where}, which no body of one tensor alone can be")
    # Of a batch it is one.
    shape = (1, *spec.shape[1:]) if signature.max_batch_size else spec.shape
    size = dtype.size
    if size is None:
        if math.prod(shape) != 1:
            raise _unknown(f"{where}; a body of one tensor alone is one element of BYTES")
        return InputTensor(spec.name, dtype, shape, _LENGTH.pack(len(data)) + bytes(data))
    if shape.count(-1) > 1:
        raise _unknown(f"{where}; with more than one dimension of any size, its shape can't be told from its bytes")
    row = size * math.prod(each for each in shape if each != -1)
    free = len(data) // row if row else 0
    shape = tuple(free if each == -1 else each for each in shape)
    if len(data) != size * math.prod(shape):
        some = "any number of times " if -1 in spec.shape[bool(signature.max_batch_size) :] else ""
        raise BodyRefused(f"the body has {len(data)} bytes, and {where}; expected {some}{row}")
    return InputTensor(spec.name, dtype, shape, data)


def _unknown(problem: str) -> BodyRefused:
    return BodyRefused(
        f"Inference-Header-Content-Length is 0, and {problem}; describe the tensors in JSON, and send its length in"
        " that field"
    )
