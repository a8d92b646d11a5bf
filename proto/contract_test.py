"""Nothing that a client relies on may change: the contract against its lock and against what was published."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract_lock import LOCK, UPDATE, describe, incompatible, load, render, uncommented
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

CONTRACT = load(Path("proto/multimodal.binpb"))
PUBLISHED = load(Path("proto/published_client.binpb"))
PUBLISHED_SHA256 = "bcc468be3413b3f572abd7717e6c108644b50cbbdd218b3b68e9f8712f7452d8"

File = FileDescriptorProto
# A way to break a contract: yields, for each place where it applies, the place and the broken copy.
Mutation = Callable[[File], Iterator[tuple[str, File]]]


def test_contract_keeps_what_is_locked() -> None:
    assert not incompatible(json.loads(LOCK.read_text()), describe(CONTRACT)), (
        "this breaks clients; a contract only grows, see proto/README.md"
    )


def test_lock_holds_all_of_the_contract() -> None:
    locked = json.loads(LOCK.read_text())
    new = [name for name in describe(CONTRACT) if name not in locked]
    assert not new, f"new in multimodal.proto; `{UPDATE}` adds it to the lock, for good"
    assert LOCK.read_text() == render(describe(CONTRACT)), f"`{UPDATE}` writes the lock in the contract's order"


def test_contract_keeps_what_was_published() -> None:
    assert not incompatible(describe(PUBLISHED), describe(CONTRACT)), "this breaks published clients"


def test_the_published_part_is_untouched() -> None:
    digest = hashlib.sha256(Path("proto/published/published_client.proto").read_bytes()).hexdigest()
    assert digest == PUBLISHED_SHA256, "published_client.proto records what clients have; it never changes"


def test_everything_carries_a_comment() -> None:
    assert uncommented(CONTRACT) == []


def test_a_missing_comment_is_seen() -> None:
    file = copy.deepcopy(CONTRACT)
    for location in file.source_code_info.location:
        location.ClearField("leading_comments")
        location.ClearField("trailing_comments")
    assert uncommented(file) == [name for name in describe(file) if name != "file"]


def _edit(file: File, edit: Callable[[File], object]) -> File:
    broken = copy.deepcopy(file)
    edit(broken)
    return broken


def _messages(file: File) -> Iterator[tuple[str, int]]:
    return ((message.name, i) for i, message in enumerate(file.message_type))


def _each_field(change: Callable[[DescriptorProto, FieldDescriptorProto], bool]) -> Mutation:
    """Apply `change` to each field in turn; it returns False where it does not apply."""

    def mutate(file: File) -> Iterator[tuple[str, File]]:
        for name, i in _messages(file):
            for j, field in enumerate(file.message_type[i].field):
                broken = copy.deepcopy(file)
                message = broken.message_type[i]
                if change(message, message.field[j]):
                    yield f"{name}.{field.name}", broken

    return mutate


def _rename_field(_: DescriptorProto, field: FieldDescriptorProto) -> bool:
    field.name += "_x"
    return True


def _renumber_field(_: DescriptorProto, field: FieldDescriptorProto) -> bool:
    field.number += 1000
    return True


def _remove_field(message: DescriptorProto, field: FieldDescriptorProto) -> bool:
    message.field.remove(field)
    return True


def _relabel_field(_: DescriptorProto, field: FieldDescriptorProto) -> bool:
    repeated = field.label == field.LABEL_REPEATED
    field.label = field.LABEL_OPTIONAL if repeated else field.LABEL_REPEATED
    return True


def _make_field_optional(message: DescriptorProto, field: FieldDescriptorProto) -> bool:
    field.oneof_index = len(message.oneof_decl)
    message.oneof_decl.add(name=f"_{field.name}")
    field.proto3_optional = True
    return True


def _retype_field(_: DescriptorProto, field: FieldDescriptorProto) -> bool:
    field.type_name = ""
    field.type = field.TYPE_BYTES if field.type == field.TYPE_STRING else field.TYPE_STRING
    return True


def _retype_within_wire_type(_: DescriptorProto, field: FieldDescriptorProto) -> bool:
    swaps = {
        field.TYPE_INT64: field.TYPE_SINT64,
        field.TYPE_UINT64: field.TYPE_INT64,
        field.TYPE_UINT32: field.TYPE_INT32,
        field.TYPE_INT32: field.TYPE_UINT32,
        field.TYPE_BYTES: field.TYPE_STRING,
        field.TYPE_BOOL: field.TYPE_UINT32,
    }
    if field.type not in swaps:
        return False
    field.type = swaps[field.type]
    return True


def _retarget_field(_: DescriptorProto, field: FieldDescriptorProto) -> bool:
    if not field.type_name:
        return False
    field.type_name += "X"
    return True


def _move_into_oneof(message: DescriptorProto, field: FieldDescriptorProto) -> bool:
    if field.HasField("oneof_index"):
        return False
    if not message.oneof_decl:
        message.oneof_decl.add(name="payload")
    field.oneof_index = 0
    return True


def _move_out_of_oneof(_: DescriptorProto, field: FieldDescriptorProto) -> bool:
    if not field.HasField("oneof_index"):
        return False
    field.ClearField("oneof_index")
    return True


def _change_map(file: File) -> Iterator[tuple[str, File]]:
    for name, i in _messages(file):
        for j, nested in enumerate(file.message_type[i].nested_type):
            for k, side in enumerate(("key", "value")):
                broken = copy.deepcopy(file)
                broken.message_type[i].nested_type[j].field[k].type = FieldDescriptorProto.TYPE_INT64
                yield f"{name}.{nested.name} {side}", broken


def _rename_oneof(file: File) -> Iterator[tuple[str, File]]:
    for name, i in _messages(file):
        if file.message_type[i].oneof_decl:
            yield name, _edit(file, lambda f, i=i: setattr(f.message_type[i].oneof_decl[0], "name", "x"))  # type: ignore[misc]


def _each_top(kind: str, *, remove: bool) -> Mutation:
    """Rename or remove each message, enum or service."""

    def mutate(file: File) -> Iterator[tuple[str, File]]:
        for i, element in enumerate(getattr(file, kind)):
            broken = copy.deepcopy(file)
            if remove:
                del getattr(broken, kind)[i]
            else:
                getattr(broken, kind)[i].name += "X"
            yield element.name, broken

    return mutate


def _each_value(change: Callable[[EnumDescriptorProto, int], object]) -> Mutation:
    def mutate(file: File) -> Iterator[tuple[str, File]]:
        for i, enum in enumerate(file.enum_type):
            for j, value in enumerate(enum.value):
                yield value.name, _edit(file, lambda f, i=i, j=j: change(f.enum_type[i], j))  # type: ignore[misc]

    return mutate


def _each_method(attribute: str) -> Mutation:
    """Change one attribute of each method."""

    def mutate(file: File) -> Iterator[tuple[str, File]]:
        for i, service in enumerate(file.service):
            for j, method in enumerate(service.method):
                old = getattr(method, attribute)
                broken = copy.deepcopy(file)
                setattr(broken.service[i].method[j], attribute, not old if isinstance(old, bool) else old + "X")
                yield method.name, broken

    return mutate


def _remove_method(file: File) -> Iterator[tuple[str, File]]:
    for i, service in enumerate(file.service):
        for j, method in enumerate(service.method):
            yield method.name, _edit(file, lambda f, i=i, j=j: f.service[i].method.pop(j))  # type: ignore[misc]


def _change_file(attribute: str) -> Mutation:
    def mutate(file: File) -> Iterator[tuple[str, File]]:
        yield attribute, _edit(file, lambda f: setattr(f, attribute, "x"))

    return mutate


MUTATIONS: dict[str, Mutation] = {
    "field renamed": _each_field(_rename_field),
    "field renumbered": _each_field(_renumber_field),
    "field removed": _each_field(_remove_field),
    "field singular or repeated": _each_field(_relabel_field),
    "field made optional": _each_field(_make_field_optional),
    "field retyped": _each_field(_retype_field),
    "field retyped within its wire type": _each_field(_retype_within_wire_type),
    "field of another message or enum": _each_field(_retarget_field),
    "field moved into a oneof": _each_field(_move_into_oneof),
    "field moved out of a oneof": _each_field(_move_out_of_oneof),
    "map of other types": _change_map,
    "oneof renamed": _rename_oneof,
    "message renamed": _each_top("message_type", remove=False),
    "message removed": _each_top("message_type", remove=True),
    "enum renamed": _each_top("enum_type", remove=False),
    "enum removed": _each_top("enum_type", remove=True),
    "service renamed": _each_top("service", remove=False),
    "service removed": _each_top("service", remove=True),
    "value renamed": _each_value(lambda enum, i: setattr(enum.value[i], "name", "X")),
    "value renumbered": _each_value(lambda enum, i: setattr(enum.value[i], "number", 1000)),
    "value removed": _each_value(lambda enum, i: enum.value.pop(i)),
    "method renamed": _each_method("name"),
    "method removed": _remove_method,
    "request retyped": _each_method("input_type"),
    "response retyped": _each_method("output_type"),
    "request stream changed": _each_method("client_streaming"),
    "response stream changed": _each_method("server_streaming"),
    "package renamed": _change_file("package"),
    "syntax changed": _change_file("syntax"),
}


@pytest.mark.parametrize("kind", MUTATIONS)
@pytest.mark.parametrize("file", [CONTRACT, PUBLISHED], ids=["contract", "published"])
def test_every_change_is_seen_everywhere(file: File, kind: str) -> None:
    fixed = describe(file)
    broken = list(MUTATIONS[kind](file))
    assert broken, "the mutation applies nowhere, so it shows nothing"
    unseen = [place for place, mutant in broken if not incompatible(fixed, describe(mutant))]
    assert unseen == []


def test_growing_is_compatible() -> None:
    grown = copy.deepcopy(CONTRACT)
    grown.message_type[0].field.add(name="more", number=99, type=FieldDescriptorProto.TYPE_STRING, label=1)
    grown.enum_type[0].value.add(name="DT_MORE", number=99)
    grown.message_type.add(name="More").nested_type.add(name="Inner").field.add(name="x", number=1, type=9, label=1)
    grown.service[0].method.add(name="More", input_type=".multimodal.More", output_type=".multimodal.More")
    before, after = describe(CONTRACT), describe(grown)
    assert incompatible(before, after) == []
    assert set(after) - set(before) == {
        f"field {grown.message_type[0].name}.more",
        "field More.Inner.x",
        "message More",
        "message More.Inner",
        "method MultimodalService/More",
        f"value {grown.enum_type[0].name}.DT_MORE",
    }
