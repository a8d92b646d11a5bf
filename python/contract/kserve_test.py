from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from multimodal_contract import kserve

TRITONS = {**service_pb2.DESCRIPTOR.message_types_by_name, **model_config_pb2.DESCRIPTOR.message_types_by_name}


def assert_part(ours: Descriptor, theirs: Descriptor) -> None:
    for name, field in ours.fields_by_name.items():
        other = theirs.fields_by_name[name]
        assert (field.number, field.type, field.is_repeated) == (other.number, other.type, other.is_repeated), name
        kinds = [kind and kind.full_name for kind in (field.message_type, other.message_type)]
        assert kinds[0] == kinds[1]
    for name, nested in ours.nested_types_by_name.items():
        assert_part(nested, theirs.nested_types_by_name[name])


@pytest.mark.parametrize("name", sorted(kserve.DESCRIPTOR.message_types_by_name))
def test_each_message_is_a_part_of_tritons(name: str) -> None:
    assert_part(kserve.DESCRIPTOR.message_types_by_name[name], TRITONS[name])
