"""Reading a policy's text: a small part of YAML, checked against the JSON schema of that kind of policy.

Each mistake is reported with its line. What YAML has beyond mappings, lists, texts and truth values is refused: none of
it is needed here, and aliases, tags and numbers that look like names are where policies go wrong unseen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

import jsonschema
import yaml

MAX_BYTES = 256 * 1024
_DEEPEST = 8
_MOST_MISTAKES = 10
_LONGEST_VALUE = 80
_QUOTE_STAR = 'put a text that begins with * or & in quotes, such as "*"'
_TRUTH = yaml.SafeLoader.bool_values
_YAML = "tag:yaml.org,2002:"

# Where in the document: keys and indexes from the root.
Path = tuple[str | int, ...]


class PolicyError(Exception):
    """The policy can't be used; the text has a line for each mistake, with the place of it."""


class _Loader(yaml.SafeLoader):
    """Composes nodes, and refuses at sight what could make a small text large or deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise PolicyError(f"line {line}: anchors (&) and aliases (*) are not allowed here; {_QUOTE_STAR}")
        if self.depth >= _DEEPEST:
            raise PolicyError(f"line {line}: nested more than {_DEEPEST} deep; no policy needs that")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class PolicyReader:
    """Reads policies of one kind."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Takes the kind's schema.

        Args:
            schema: JSON schema, draft 2020-12; each part has a `description` that says what is expected there.
        """
        self._validator = jsonschema.Draft202012Validator(schema)

    @classmethod
    def of(cls, package: str) -> PolicyReader:
        """The reader for the schema that a package has as `policy.schema.json`.

        Args:
            package: its full name.
        """
        return cls(json.loads(resources.files(package).joinpath("policy.schema.json").read_text("utf-8")))

    def read(self, text: str) -> tuple[dict[str, Any], dict[Path, int]]:
        """Reads and checks a policy.

        Args:
            text: the YAML.

        Returns:
            The document, which fits the schema, and the line (from 1) of everything in it.

        Raises:
            PolicyError: it is too large, no YAML, no YAML of the kind allowed here, or against the schema.
        """
        root = _root(text)
        lines: dict[Path, int] = {}
        document = _plain(root, (), lines)
        mistakes = sorted(
            {mistake for error in self._validator.iter_errors(document) for mistake in _mistakes(error, lines)}
        )
        if mistakes:
            reported = [f"line {line}: {words}" for line, words in mistakes[:_MOST_MISTAKES]]
            if len(mistakes) > _MOST_MISTAKES:
                reported.append(f"and {len(mistakes) - _MOST_MISTAKES} more")
            raise PolicyError("\n".join(reported))
        return document, lines


def _root(text: str) -> yaml.Node:
    # A character takes a byte at least, so that nothing huge is ever encoded.
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise PolicyError(f"the policy is larger than {MAX_BYTES // 1024} KiB; use globs and groups instead of lists")
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        hint = f"; {_QUOTE_STAR}" if error.context == "while scanning an alias" else ""
        raise PolicyError(f"{place}not YAML: {error.problem or error.context}{hint}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyError(f"line {line}: not YAML: the character {error.character!r} is not allowed in it") from None
    if root is None:
        raise PolicyError("the policy is empty; expected rules, of which at least one")
    return root


def written(path: Path) -> str:
    """A place as text, such as `rules[0].allow.users[2]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in path)
    return text.removeprefix(".") or "the document"


def _plain(node: yaml.Node, path: Path, lines: dict[Path, int]) -> Any:
    line = node.start_mark.line + 1
    # A value's line is that of its key, which is already there.
    lines.setdefault(path, line)
    kind = node.tag.removeprefix(_YAML)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _mapping(node, path, lines)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_plain(item, (*path, index), lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        if kind == "str":
            return node.value
        if kind == "bool" and node.value.lower() in _TRUTH:
            return _TRUTH[node.value.lower()]
        if kind == "null":
            return None
    value = f" {_shown(node.value)}" if isinstance(node, yaml.ScalarNode) else ""
    raise PolicyError(
        f"line {line}: {written(path)}: YAML takes{value} for {_shown(kind)}; put texts in quotes, and leave tags out"
    )


def _mapping(node: yaml.MappingNode, path: Path, lines: dict[Path, int]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != f"{_YAML}str":
            shown = f"{_shown(key_node.value)} is" if isinstance(key_node, yaml.ScalarNode) else "this is"
            raise PolicyError(f"line {line}: {written(path)}: {shown} no key; keys are texts without tags")
        key = key_node.value
        if key in mapping:
            first = lines[(*path, key)]
            raise PolicyError(f"line {line}: {written((*path, key))} stands twice, first on line {first}; keep one")
        lines[(*path, key)] = line
        mapping[key] = _plain(value_node, (*path, key), lines)
    return mapping


def _mistakes(error: jsonschema.ValidationError, lines: dict[Path, int]) -> Iterator[tuple[int, str]]:
    """The schema's complaint in words, each with its line."""
    path: Path = tuple(error.absolute_path)
    # Only the root can be without a schema of its own kind; mypy knows schemas may also be truth values.
    schema: dict[str, Any] = error.schema if isinstance(error.schema, dict) else {}
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        expected = ", ".join(schema["properties"])
        for key in instance.keys() - schema["properties"].keys():
            yield lines[(*path, key)], f"{written(path)}: unknown key {_shown(key)}; expected one of {expected}"
    elif error.validator == "required":
        for key in schema["required"]:
            if key not in instance:
                yield lines[path], f"{written(path)}: {key} is missing"
    else:
        yield lines[path], f"{written(path)} is {_shown(instance)}; expected {schema['description']}"


def _shown(value: object) -> str:
    """A value of the document, short and on one line."""
    if isinstance(value, str) and value.isidentifier() and len(value) < _LONGEST_VALUE:
        return value
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, (dict, list)) or value == [] else ""
    if not text:
        return "a mapping" if isinstance(value, dict) else "a list"
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"
