"""The lock of the contract: every name, number and type that some client may rely on.

    ./bazelw run //proto:update_lock

adds what is new in multimodal.proto to multimodal.lock.json, and refuses when something locked was changed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    SourceCodeInfo,
)

LOCK = Path("proto/multimodal.lock.json")
UPDATE = "./bazelw run //proto:update_lock"

# All that clients rely on in one element, and each element by kind and name, such as "field Ack.status".
Attributes = dict[str, str | int | bool | None]
Elements = dict[str, Attributes]

# Field numbers inside the descriptor messages, of which paths in SourceCodeInfo are made.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _NESTED_MESSAGE, _NESTED_ENUM = 2, 3, 4
_VALUE = _METHOD = 2
Located = Iterator[tuple[tuple[int, ...], str, Attributes]]


def load(path: Path) -> FileDescriptorProto:
    """Read the last file of a descriptor set, as `protoc --descriptor_set_out` writes it."""
    return FileDescriptorSet.FromString(path.read_bytes()).file[-1]


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    if field.type_name in maps:
        key, value = (_type(part, maps) for part in maps[field.type_name].field)
        return f"map<{key}, {value}>"
    return field.type_name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _label(field: FieldDescriptorProto) -> str:
    if field.proto3_optional:
        return "optional"
    return FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower().replace("optional", "singular")


def _walk_enum(path: tuple[int, ...], scope: str, enum: EnumDescriptorProto) -> Located:
    yield path, f"enum {scope}{enum.name}", {}
    for i, value in enumerate(enum.value):
        yield (*path, _VALUE, i), f"value {scope}{enum.name}.{value.name}", {"number": value.number}


def _walk_message(path: tuple[int, ...], scope: str, full: str, message: DescriptorProto) -> Located:
    name, full = scope + message.name, f"{full}.{message.name}"
    maps = {f"{full}.{nested.name}": nested for nested in message.nested_type if nested.options.map_entry}
    yield path, f"message {name}", {}
    for i, field in enumerate(message.field):
        in_oneof = field.HasField("oneof_index") and not field.proto3_optional
        oneof = message.oneof_decl[field.oneof_index].name if in_oneof else None
        attributes: Attributes = {
            "number": field.number,
            "type": _type(field, maps),
            "label": _label(field),
            "oneof": oneof,
        }
        yield (*path, _FIELD, i), f"field {name}.{field.name}", attributes
    for i, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _walk_message((*path, _NESTED_MESSAGE, i), name + ".", full, nested)
    for i, enum in enumerate(message.enum_type):
        yield from _walk_enum((*path, _NESTED_ENUM, i), name + ".", enum)


def _walk(file: FileDescriptorProto) -> Located:
    yield (), "file", {"package": file.package, "syntax": file.syntax}
    for i, message in enumerate(file.message_type):
        yield from _walk_message((_MESSAGE, i), "", f".{file.package}", message)
    for i, enum in enumerate(file.enum_type):
        yield from _walk_enum((_ENUM, i), "", enum)
    for i, service in enumerate(file.service):
        yield (_SERVICE, i), f"service {service.name}", {}
        for j, method in enumerate(service.method):
            attributes: Attributes = {
                "request": method.input_type,
                "request_stream": method.client_streaming,
                "response": method.output_type,
                "response_stream": method.server_streaming,
            }
            yield (_SERVICE, i, _METHOD, j), f"method {service.name}/{method.name}", attributes


def describe(file: FileDescriptorProto) -> Elements:
    """All elements of a contract, in the order of the file."""
    return {name: attributes for _, name, attributes in _walk(file)}


def uncommented(file: FileDescriptorProto) -> list[str]:
    """Names of the elements that carry no comment; `file` needs its source info."""
    locations: dict[tuple[int, ...], SourceCodeInfo.Location] = {
        tuple(location.path): location for location in file.source_code_info.location
    }

    def has_comment(path: tuple[int, ...]) -> bool:
        location = locations.get(path)
        return location is not None and bool((location.leading_comments + location.trailing_comments).strip())

    return [name for path, name, _ in _walk(file) if path and not has_comment(path)]


def incompatible(fixed: Elements, current: Elements) -> list[str]:
    """What would break clients.

    Args:
        fixed: what clients rely on.
        current: what there is.

    Returns:
        One sentence for each fixed element that is gone or has changed.
    """
    sentences = []
    for name, attributes in fixed.items():
        if name not in current:
            sentences.append(f"{name} is gone: put it back as {json.dumps(attributes)}")
        elif current[name] != attributes:
            sentences.append(f"{name} is now {json.dumps(current[name])}: put it back to {json.dumps(attributes)}")
    return sentences


def render(elements: Elements) -> str:
    """Text of the lock file: JSON with one line for each element."""
    return "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in elements.items()) + "\n}\n"


def main() -> int:
    """Rewrite the lock from the descriptor set argv[1]; 1 when that would hide an incompatible change."""
    path = Path(os.environ["BUILD_WORKSPACE_DIRECTORY"]) / LOCK
    current = describe(load(Path(sys.argv[1])))
    locked: Elements = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if sentences := incompatible(locked, current):
        text = "\n".join(sentences)
        sys.stderr.write(f"{LOCK} is unchanged, since multimodal.proto would break clients:\n{text}\n")
        return 1
    path.write_text(render(current), encoding="utf-8")
    added = [name for name in current if name not in locked]
    sys.stdout.write("\n".join([*(f"added {name}" for name in added), f"{LOCK}: {len(current)} elements"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
