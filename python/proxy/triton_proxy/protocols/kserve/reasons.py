"""What can be wrong with a request by itself, in words for its caller.

Each text says what was wrong, what was expected, and what to do.
"""

from __future__ import annotations

import enum

# What a request may have beside its tensors' data: its parsed form is many times as large.
MAX_ENVELOPE_BYTES = 64 * 1024
# Typed contents of one input that are parsed. Those that are packed floats, booleans or BYTES need not be.
MAX_PARSED_CONTENTS_BYTES = 1024 * 1024
MAX_RANK = 32
MAX_ENTRIES = 256
_LONGEST_NAME = 80


class Reason(enum.Enum):
    """One mistake, with the text that says so."""

    NOT_A_MESSAGE = "the request is no serialized {message}; expected protobuf; generate the client from Triton's proto"
    ENVELOPE_TOO_LARGE = (
        "the request has more than "
        + str(MAX_ENVELOPE_BYTES)
        + " bytes, or too many fields, beside its tensors' data; expected less; send tensors in raw_input_contents"
    )
    TOO_MANY = "{field} has {got} entries; expected at most {expected}; send fewer"
    NO_MODEL = "model_name is empty; expected a model's name; RepositoryIndex lists the models"
    REPEATED_INPUT = "inputs names {name} more than once; expected each name once; send one tensor for each input"
    TOO_MANY_DIMENSIONS = "inputs[{index}].shape has {got} dimensions; expected at most {expected}; send fewer"
    NEGATIVE_DIMENSION = (
        "inputs[{index}].shape is {got}; expected the tensor's own dimensions, 0 or more; "
        "send numbers in the place of a model's -1"
    )
    UNKNOWN_DTYPE = "inputs[{index}].datatype is {got}; expected one of {expected}; name Triton's element type"
    SHARED_MEMORY = (
        "{field} has {name}; expected the tensor's data in the message: the proxy passes on no shared memory; "
        "send raw_input_contents and read raw_output_contents"
    )
    RAW_COUNT = (
        "raw_input_contents has {got} entries; expected {expected}, one for each input in their order; "
        "send the data of all inputs there or of none"
    )
    BOTH_CONTENTS = (
        "inputs[{index}].contents is set beside raw_input_contents; expected one of the two; leave contents empty"
    )
    ONLY_RAW = (
        "inputs[{index}] is {dtype} with typed contents or none; expected raw_input_contents, since {dtype} has no "
        "typed field; send its bytes there"
    )
    WRONG_CONTENTS = (
        "inputs[{index}].contents has {got}; expected {expected} alone, the field of {dtype}; set that or the datatype"
    )
    OUT_OF_RANGE = (
        "inputs[{index}].contents.{field} has a number beyond {dtype}; expected numbers that fit; use a larger datatype"
    )
    CONTENTS_TOO_LARGE = (
        "inputs[{index}].contents has {got} bytes; expected at most "
        + str(MAX_PARSED_CONTENTS_BYTES)
        + " of {dtype}, or packed fields; send raw_input_contents"
    )
    BAD_CONTENTS = "inputs[{index}].contents does not parse; expected InferTensorContents; send raw_input_contents"
    SIZE_MISMATCH = (
        "size mismatch: inputs[{index}] has {got} bytes, expected {expected} for {dtype} {shape}; "
        "send exactly the tensor's elements"
    )
    BAD_PARAMETER = "parameters[{name}] is {got}; expected {expected}; send that kind"


class InvalidRequest(Exception):  # noqa: N818 - what the request is
    """A request is not well-formed. Raised and caught within the reading of one message."""

    def __init__(self, reason: Reason, **values: object) -> None:
        super().__init__(reason.value.format(**values))


def quoted(name: str) -> str:
    """A caller's name as an error shows it: bounded, and in quotes."""
    return repr(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…")
