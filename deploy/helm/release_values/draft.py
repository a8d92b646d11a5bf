"""Values under way: what fits the chart's schema goes in, and all else is named with what to do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

_HEAD = """\
# Read from the manifests of the old release. What could not be read was printed beside it.
"""

_WORDS = {"true": True, "1": True, "false": False, "0": False}
_READERS: Mapping[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: _WORDS[text.lower()],
}


class Draft:
    """Values of this chart.

    Args:
        schema: the chart's values.schema.json.
    """

    def __init__(self, schema: Path) -> None:
        self._schema: Mapping[str, Any] = json.loads(schema.read_text(encoding="utf-8"))
        self._values: dict[str, Any] = {}
        self._notes: list[str] = []

    @property
    def values(self) -> Mapping[str, Any]:
        """What fits, as values.yaml has it."""
        return self._values

    @property
    def notes(self) -> tuple[str, ...]:
        """What did not, a line each, with what to do."""
        return tuple(self._notes)

    def note(self, what: str) -> None:
        """Names something that this chart has no value for."""
        if what not in self._notes:
            self._notes.append(what)

    def set(self, key: str, value: Any, where: str) -> bool:
        """Sets a value.

        Args:
            key: the value's place, such as `triton.replicas`.
            value: the value.
            where: what of the old release says so.

        Returns:
            Whether it fits; otherwise a note tells what the schema says, without the value, which may be a secret.
        """
        *folders, last = key.split(".")
        if not self._fits(self._part(key), value, f"{where} does not fit {key}"):
            return False
        values = self._values
        for folder in folders:
            values = values.setdefault(folder, {})
        values[last] = value
        return True

    def add(self, key: str, item: Any, where: str) -> bool:
        """Adds an item to a list, as `set` sets a value."""
        if not self._fits(self._part(key).get("items", {}), item, f"{where} does not fit {key}"):
            return False
        *folders, last = key.split(".")
        values = self._values
        for folder in folders:
            values = values.setdefault(folder, {})
        values.setdefault(last, []).append(item)
        return True

    def has_setting(self, component: str, name: str) -> bool:
        """Whether the proxy or the scaler has a setting of that name."""
        return name in self._part(f"{component}.settings").get("properties", {})

    def setting(self, component: str, name: str, text: str, where: str) -> bool:
        """Sets a setting that there is, from the text of an environment variable, in the type that the schema wants.

        Returns:
            Whether it takes the text.
        """
        known = self._part(f"{component}.settings")["properties"]
        try:
            value = _READERS.get(known[name].get("type"), str)(text)
        except (KeyError, ValueError):
            self.note(f"{where} does not fit {component}.settings.{name}: expected {known[name]['type']}")
            return False
        return self.set(f"{component}.settings.{name}", value, where)

    def text(self) -> str:
        """The values file."""
        return _HEAD + yaml.safe_dump(self._values, sort_keys=False, width=110)

    def _part(self, key: str) -> Mapping[str, Any]:
        """The schema of a value."""
        part = self._schema
        for word in key.split("."):
            part = self._resolved(part)["properties"][word]
        return self._resolved(part)

    def _resolved(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = part.get("$ref")
        return part if reference is None else self._schema["$defs"][reference.removeprefix("#/$defs/")]

    def _fits(self, part: Mapping[str, Any], value: Any, otherwise: str) -> bool:
        rules = {**part, "$schema": self._schema["$schema"], "$defs": self._schema["$defs"]}
        error = jsonschema.exceptions.best_match(jsonschema.validators.validator_for(rules)(rules).iter_errors(value))
        if error is None:
            return True
        place = "".join(f" at {word}" for word in error.absolute_path)
        self.note(f"{otherwise}{place}: the schema's rule `{error.validator}` ({_short(error.validator_value)})")
        return False


def _short(rule: Any) -> str:
    text = json.dumps(rule)
    return text if len(text) <= 60 else f"{text[:57]}..."
