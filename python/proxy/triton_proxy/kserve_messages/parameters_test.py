from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from triton_proxy.inference.parameters import Parameter, ParameterKind
from triton_proxy.kserve_messages import parameters

VALUES = {
    ParameterKind.BOOL: st.booleans(),
    ParameterKind.INT64: st.integers(-(2**63), 2**63 - 1),
    ParameterKind.UINT64: st.integers(0, 2**64 - 1),
    ParameterKind.DOUBLE: st.floats(allow_nan=False),
    ParameterKind.STRING: st.text(max_size=5),
    ParameterKind.UNSET: st.none(),
}
ANY = st.dictionaries(
    st.text(max_size=5),
    st.sampled_from(ParameterKind).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind])),
    max_size=5,
)


@given(given=ANY)
def test_what_is_written_is_read_again(given: dict[str, tuple[ParameterKind, bool | int | float | str | None]]) -> None:
    values = tuple(Parameter(name, kind, value) for name, (kind, value) in sorted(given.items()))
    message = service_pb2.ModelInferRequest()
    parameters.write(values, message.parameters)
    again = service_pb2.ModelInferRequest.FromString(message.SerializeToString())
    assert parameters.read(again.parameters) == values


def test_each_kind_is_a_field_of_tritons() -> None:
    choices = service_pb2.InferParameter.DESCRIPTOR.oneofs_by_name["parameter_choice"].fields
    message = service_pb2.ModelInferRequest()
    for field in choices:
        setattr(message.parameters[field.name], field.name, field.default_value)
    read = parameters.read(message.parameters)
    assert {each.kind for each in read} == set(ParameterKind) - {ParameterKind.UNSET}
    assert len(read) == len(choices)
