"""What takes long with JSON of megabytes: text to tensors, and tensors to text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from multimodal_contract.dtypes import BY_NAME
from multimodal_contract.wire import Buffer
from triton_proxy.protocols.rest import elements
from triton_proxy.protocols.rest.json_text import read_object, written
from triton_proxy.protocols.rest.refused import BodyRefused

# Beside tensors, as the other contract has it: all of it is looked at where other callers wait.
_MOST_REST = 64 << 10
# Of an object without tensors: some thousand messages, or the tokens of as long a text as models take.
_MOST_ENTRIES, _DEEPEST = 50_000, 100
_MEMBERS = ("id", "parameters", "inputs", "outputs")


@dataclass(frozen=True)
class Elements:
    """A tensor's elements that came as JSON.

    Attributes:
        data: as Triton takes them.
        count: how many values stood in the outer list.
    """

    data: bytes
    count: int


class JsonWork(Protocol):
    """Does it."""

    def object(self, text: Buffer) -> dict[str, Any]:
        """Reads an object of bounded depth and number of entries: all of them are looked at where other callers wait.

        Args:
            text: its JSON.

        Raises:
            BodyRefused: it can't be read.
        """

    def infer_body(self, text: Buffer) -> dict[str, Any]:
        """Reads a body of /infer.

        Args:
            text: its JSON.

        Returns:
            Its members, with the data of each input as `Elements`.

        Raises:
            BodyRefused: it can't be read.
        """

    def generate_body(self, text: Buffer, inputs: Mapping[str, str]) -> dict[str, Any]:
        """Reads a body of /generate, in which members that are inputs come back as `Elements`.

        Args:
            text: its JSON.
            inputs: the model's inputs: names and Triton's names of their element types.

        Raises:
            BodyRefused: it can't be read.
        """

    def output_text(self, name: str, datatype: str, data: Buffer) -> bytes:
        """An output's elements as a list in JSON.

        Raises:
            NotInJson: JSON has no such elements.
        """


class JsonHere:
    """Does it in the thread that asks."""

    def object(self, text: Buffer) -> dict[str, Any]:
        """See `JsonWork`."""
        body = read_object(text)
        _check_entries(body)
        return body

    def infer_body(self, text: Buffer) -> dict[str, Any]:
        """See `JsonWork`."""
        body = read_object(text)
        body = {name: body[name] for name in _MEMBERS if name in body}
        for item in body["inputs"] if isinstance(body.get("inputs"), list) else ():
            if isinstance(item, dict) and "data" in item:
                datatype = item.get("datatype")
                dtype = BY_NAME.get(datatype) if isinstance(datatype, str) else None
                # Of an unknown type, the reader says so, and needs no data for it.
                item["data"] = None if dtype is None else _elements(item.get("name"), dtype.name, item["data"])
        _check_rest(body)
        return body

    def generate_body(self, text: Buffer, inputs: Mapping[str, str]) -> dict[str, Any]:
        """See `JsonWork`."""
        body = read_object(text)
        for name, datatype in inputs.items():
            if name in body:
                if datatype not in BY_NAME:
                    raise BodyRefused(f"input {name!r} is {datatype}, which JSON can't bring; use /infer")
                value = body[name]
                body[name] = _elements(name, datatype, value if isinstance(value, list) else [value])
        _check_rest(body)
        return body

    def output_text(self, name: str, datatype: str, data: Buffer) -> bytes:
        """See `JsonWork`."""
        return written(elements.write(name, datatype, data))


def _elements(name: Any, datatype: str, data: Any) -> Elements:
    made = elements.read(str(name)[:256], BY_NAME[datatype], data)
    return Elements(made, len(data))


def _check_entries(body: dict[str, Any]) -> None:
    """Returns where there are no more entries, and no deeper ones, than that."""
    entries, level = 0, [body]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict | list):
                entries += len(value)
                below += value.values() if isinstance(value, dict) else value
        if entries > _MOST_ENTRIES:
            raise BodyRefused(f"the request's JSON has more than {_MOST_ENTRIES} values; send fewer at once")
        if not below:
            return
        level = below
    raise BodyRefused(f"the request's JSON has values more than {_DEEPEST} deep; send flatter ones")


def _check_rest(body: dict[str, Any]) -> None:
    """Returns where all but the tensors is small: an entry counts a byte, and a text its length."""
    left, waiting = _MOST_REST, [body]
    while waiting:
        value: Any = waiting.pop()
        if isinstance(value, str | list | dict):
            left -= len(value)
        if isinstance(value, dict):
            left -= sum(map(len, value)) if left > 0 else 0
        if left < 0:
            raise BodyRefused(
                f"the request has more than {_MOST_REST} bytes of JSON beside its tensors' data; send shorter names and"
                " fewer parameters"
            )
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
