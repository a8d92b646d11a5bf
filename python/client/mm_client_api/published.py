"""Answers as scripts know them from the published client: base64 inside JSON, here made when it is looked at."""

from __future__ import annotations

import base64
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any

from mm_client_api.result import InferenceResult
from mm_client_api.tensors import Array, Tensor, decode


class _Pending:
    """Stands for base64 that has not been made yet; only code that reads a dict's memory past its methods sees it."""


_PENDING = _Pending()


class PublishedOutput(dict[str, Any]):
    """One output in the published form: a dict of `dtype`, `shape` and `b64`, the last made when it is looked at.

    Copies of it, such as `dict(output)`, are plain dicts.

    Args:
        described: the output without its data, or the published form itself.
        tensor: gives its value; called at most twice.
    """

    __hash__ = None

    def __init__(self, described: Mapping[str, Any], tensor: Callable[[], Tensor]) -> None:
        super().__init__(described)
        self._tensor = tensor
        if "b64" not in described:
            super().__setitem__("b64", _PENDING)

    def numpy(self) -> Array:
        """Decode it without base64; see `tensors.decode`.

        Raises:
            ProtocolError: it cannot be read.
        """
        return decode(self._tensor())

    def _made(self) -> dict[str, Any]:
        if super().get("b64") is _PENDING:
            (data,) = self._tensor().parts
            super().__setitem__("b64", base64.b64encode(data).decode("ascii"))
        return self

    def __getitem__(self, key: str) -> Any:
        return dict.__getitem__(self._made() if key == "b64" else self, key)

    def get(self, key: str, default: Any = None) -> Any:
        """As `dict.get`."""
        return dict.get(self._made() if key == "b64" else self, key, default)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """As `dict.items`."""
        return dict.items(self._made())

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """As `dict.values`."""
        return dict.values(self._made())

    def pop(self, key: str, *default: Any) -> Any:
        """As `dict.pop`."""
        return dict.pop(self._made(), key, *default)

    def popitem(self) -> tuple[str, Any]:
        """As `dict.popitem`."""
        return dict.popitem(self._made())

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As `dict.setdefault`."""
        return dict.setdefault(self._made(), key, default)

    def __iter__(self) -> Iterator[str]:
        # With a way of its own to iterate, `dict(output)`, `output.copy()`, `output | other` and `{**output}` ask for
        # the values one by one.
        return dict.__iter__(self)

    def __eq__(self, other: object) -> bool:
        return dict.__eq__(self._made(), other)

    def __ne__(self, other: object) -> bool:
        return dict.__ne__(self._made(), other)

    def __repr__(self) -> str:
        return dict.__repr__(self._made())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def published_message(result: InferenceResult) -> dict[str, Any]:
    """Return the proxy's JSON in the published form, with the outputs' base64 made when it is looked at.

    Raises:
        ProtocolError: it is no JSON object.
    """
    message = dict(result.message)
    if result.error is not None:
        message["error"] = result.error.detail
    outputs = message.get("outputs")
    if isinstance(outputs, dict):
        message["outputs"] = {name: _published(name, described, result) for name, described in outputs.items()}
    return message


def _published(name: str, described: Any, result: InferenceResult) -> Any:
    if not isinstance(described, dict) or "error" in described or not ("b64" in described or name in result.tensors):
        return described
    return PublishedOutput(described, lambda: result.tensors[name])
