"""Protobuf's wire format, as far as it takes to leave megabytes where they are.

A parser copies every bytes field out of its message, and a serializer copies it into the next. `Lifter` parses all of a
message but such fields and gives those as views on the message itself; `field` is the other way, for `b"".join`.

Source of the format: protobuf's "Encoding" page. Only what proto3 writes is understood here, all else is protobuf's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cache
from typing import Union

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

Buffer = Union[bytes, bytearray, memoryview]
# Below it protobuf's own parser, which is no Python, is faster than not copying.
WORTHWHILE_BYTES = 16 * 1024
_VARINT, _DELIMITED = 0, 2
# Most numbers of a small message: varints of one byte.
_SMALL = [bytes((value,)) for value in range(0x80)]
_FIXED_SIZES = {1: 8, 5: 4}
_LARGEST_TAG = (1 << 32) - 1
_LONGEST_TAG, _LONGEST_VARINT = 5, 10
# So that a message of nothing but tiny fields, a million in each few megabytes, costs no more than protobuf's parser.
_MOST_FIELDS = 1000
# Where no parser of protobuf's is there to fall back on: a Python loop of ten milliseconds.
_MOST_FIELDS_IF_BOUNDED = 8192


@dataclass(frozen=True)
class Lifted:
    """A message in two parts.

    Attributes:
        rest: the serialized message without the lifted fields.
        data: for each path its fields in their order, as views on the message; b"" where the message that would hold
            one that is not repeated does not.
    """

    rest: bytes
    data: tuple[list[memoryview], ...]


@dataclass
class _Node:
    """A field on the way to lifted ones; a leaf is lifted, and has the place of its path."""

    tag: bytes = b""
    repeated: bool = True
    leaf: int | None = None
    fields: dict[int, _Node] = dataclass_field(default_factory=dict)

    def leaves(self) -> Iterator[int]:
        """Places of the paths through this field that end in one which is not repeated."""
        if self.leaf is not None and not self.repeated:
            yield self.leaf
        for child in self.fields.values():
            yield from child.leaves()


class _LeaveItToProtobuf(Exception):  # noqa: N818 - never leaves this module
    """Not what a serializer of proto3 writes; whether it is a message at all is not for this module to say."""


class _TooManyFields(_LeaveItToProtobuf):
    """So many that to look at each takes too long."""


class EnvelopeTooLargeError(ValueError):
    """A message holds too much beside the fields to be lifted."""


class Lifter:
    """Takes bytes fields out of serialized messages of one type."""

    def __init__(self, message: Descriptor, *paths: str) -> None:
        """A lifter.

        Args:
            message: type of the messages.
            paths: the bytes fields, such as "tensors.tensor.data"; of several fields on a path at most the first and
                the last may be repeated.
        """
        self._root = _Node()
        self._count = len(paths)
        for place, path in enumerate(paths):
            node, descriptor = self._root, message
            for name in path.split("."):
                described = descriptor.fields_by_name[name]
                # What says so by name is named differently from release to release of protobuf.
                repeated = described.default_value == []
                node = node.fields.setdefault(described.number, _Node(tag(described.number), repeated))
                descriptor = described.message_type or descriptor
            node.leaf = place

    def lift(self, raw: Buffer) -> Lifted | None:
        """Parts a message; None where protobuf has to parse it whole, which may also find that it is none.

        Args:
            raw: the serialized message.
        """
        try:
            parts, data = self._parted(raw, _MOST_FIELDS)
        except _LeaveItToProtobuf:
            return None
        return Lifted(b"".join(parts), data)

    def _parted(self, raw: Buffer, most_fields: int) -> tuple[list[Buffer], tuple[list[memoryview], ...]]:
        data: tuple[list[memoryview], ...] = tuple([] for _ in range(self._count))
        parts: list[Buffer] = []
        _part(memoryview(raw), 0, len(raw), self._root, parts, data, iter(range(most_fields)))
        return parts, data

    def parse(self, raw: Buffer, message: Message) -> tuple[list[memoryview], ...] | None:
        """Parses a message, without the fields to be lifted where it is large enough for that to pay.

        Args:
            raw: the serialized message.
            message: to be filled.

        Returns:
            What was lifted, as `Lifted.data`; None where the message has been parsed whole.

        Raises:
            DecodeError: it is no message of this type.
        """
        lifted = self.lift(raw) if len(raw) >= WORTHWHILE_BYTES else None
        message.ParseFromString(bytes(raw) if lifted is None else lifted.rest)
        return None if lifted is None else lifted.data

    def parse_bounded(self, raw: Buffer, message: Message, *, most_bytes: int) -> tuple[list[memoryview], ...] | None:
        """Parses a message as `parse` does, but no more than so much of it: a parsed message is many times as large.

        Args:
            raw: the serialized message.
            message: to be filled.
            most_bytes: what it may hold beside the fields to be lifted.

        Returns:
            See `parse`.

        Raises:
            EnvelopeTooLargeError: it holds more.
            DecodeError: it is no message of this type or, where it is larger, not as a serializer of proto3 writes it.
        """
        if len(raw) <= most_bytes:
            return self.parse(raw, message)
        try:
            parts, data = self._parted(raw, _MOST_FIELDS_IF_BOUNDED)
        except _TooManyFields:
            raise EnvelopeTooLargeError from None
        except _LeaveItToProtobuf:
            raise DecodeError("not as a serializer of proto3 writes it") from None
        if sum(map(len, parts)) > most_bytes:
            raise EnvelopeTooLargeError
        message.ParseFromString(b"".join(parts))
        return data


def _part(
    raw: memoryview,
    position: int,
    end: int,
    node: _Node,
    parts: list[Buffer],
    data: tuple[list[memoryview], ...],
    turns: Iterator[int],
) -> None:
    kept_from = position
    seen = set()
    while position < end:
        start = position
        key, position = _read_varint(raw, position, end)
        if next(turns, None) is None:
            raise _TooManyFields
        if key > _LARGEST_TAG or position - start > _LONGEST_TAG:
            raise _LeaveItToProtobuf
        number, wire_type = key >> 3, key & 7
        if wire_type != _DELIMITED:
            position = _skip(raw, position, end, wire_type)
            continue
        size, position = _read_varint(raw, position, end)
        content, position = position, position + size
        if position > end:
            raise _LeaveItToProtobuf
        child = node.fields.get(number)
        if child is None:
            continue
        # Twice the same field that is not repeated: protobuf merges messages, and the last value counts.
        if number in seen and not child.repeated:
            raise _LeaveItToProtobuf
        seen.add(number)
        parts.append(raw[kept_from:start])
        kept_from = position
        if child.leaf is None:
            _part_child(raw, content, position, child, parts, data, turns)
        else:
            data[child.leaf].append(raw[content:position])
    if position != end:
        raise _LeaveItToProtobuf
    parts.append(raw[kept_from:end])


def _part_child(
    raw: memoryview,
    start: int,
    end: int,
    child: _Node,
    parts: list[Buffer],
    data: tuple[list[memoryview], ...],
    turns: Iterator[int],
) -> None:
    before = [(place, len(data[place])) for place in child.leaves()]
    inner: list[Buffer] = []
    _part(raw, start, end, child, inner, data, turns)
    parts += (child.tag, varint(sum(map(len, inner))), *inner)
    for place, count in before:
        if len(data[place]) == count:
            data[place].append(memoryview(b""))


def _skip(raw: memoryview, position: int, end: int, wire_type: int) -> int:
    if wire_type == _VARINT:
        return _read_varint(raw, position, end)[1]
    if wire_type not in _FIXED_SIZES:
        raise _LeaveItToProtobuf
    return position + _FIXED_SIZES[wire_type]


def _read_varint(raw: memoryview, position: int, end: int) -> tuple[int, int]:
    value = shift = 0
    for place in range(position, min(end, position + _LONGEST_VARINT)):
        byte = raw[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise _LeaveItToProtobuf


def varint(value: int) -> bytes:
    """A number of 0 or more as protobuf writes it."""
    if value <= 0x7F:
        return _SMALL[value]
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


@cache
def tag(number: int) -> bytes:
    """What stands before a length-delimited field.

    Args:
        number: of the field.
    """
    return varint(number << 3 | _DELIMITED)


def field(number: int, parts: Iterable[Buffer]) -> list[Buffer]:
    """A length-delimited field, in parts that are still to be joined.

    Args:
        number: of the field.
        parts: its content; a view has one byte an item.
    """
    content = list(parts)
    size = len(content[0]) if len(content) == 1 else sum(map(len, content))
    return [tag(number), varint(size), *content]
