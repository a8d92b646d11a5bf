"""The chart's values: names, defaults and comments of values.yaml, with what values.schema.json accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reference_pages.pieces import code, entry, prose

_CHART = "deploy/helm/domino-triton"
_INTRODUCTION = """# Chart values

The values of `deploy/helm/domino-triton`, as `helm show values` prints them. A key that is not here is refused.
[Installing on Kubernetes](../../README_HELM_INSTALL.md) leads through an installation.

"""
# A mapping in braces on one line is one value, with one comment.
_LONGEST_DEFAULT = 100


@dataclass(frozen=True)
class Value:
    """A value that can be set.

    Attributes:
        path: its keys with dots between them.
        default: as values.yaml has it; "" where that is long.
        comment: what stands above it.
    """

    path: str
    default: str
    comment: str


def values(text: str) -> Iterator[Value]:
    """The values of a values.yaml, in its order.

    Args:
        text: its text; each key with a comment of whole lines above it, or none.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # noqa: S101 - for the type checker: a chart's values are one
    yield from _below(root, "", text.splitlines())


def _below(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Value]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        comment = _comment(lines, key.start_mark.line, key.start_mark.column)
        block = isinstance(value, yaml.MappingNode) and not value.flow_style and value.value
        if block:
            if comment:
                yield Value(path, "", comment)
            yield from _below(value, f"{path}.", lines)
        else:
            yield Value(path, _default(value, lines), comment)


def _default(value: yaml.Node, lines: list[str]) -> str:
    start, end = value.start_mark, value.end_mark
    if start.line != end.line:
        return ""
    text = lines[start.line][start.column : end.column]
    return text if len(text) <= _LONGEST_DEFAULT else ""


def _comment(lines: list[str], line: int, column: int) -> str:
    """The comment above a key, or, where the key follows its block's first line, none."""
    found: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#") and lines[line - 1].index("#") == column:
        line -= 1
        found.append(lines[line].strip().removeprefix("#").strip())
    return " ".join(reversed(found))


def accepts(schema: Mapping[str, Any], path: str) -> str:
    """What the schema takes for a value, in words; "" where that is any object.

    Args:
        schema: the chart's.
        path: keys with dots between them.
    """
    node: Mapping[str, Any] = schema
    for key in path.split("."):
        node = _resolved(schema, _resolved(schema, node).get("properties", {}).get(key, {}))
    return _words(schema, node)


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    return node


def _words(schema: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    node = _resolved(schema, given)
    if "enum" in node:
        return "one of " + ", ".join(code(json.dumps(each)) for each in node["enum"])
    if "const" in node:
        return code(json.dumps(node["const"]))
    alternatives = node.get("oneOf") or node.get("anyOf")
    if alternatives:
        return " or ".join(dict.fromkeys(filter(None, (_words(schema, each) for each in alternatives))))
    kinds = node.get("type", "")
    kind = " or ".join(kinds) if isinstance(kinds, list) else kinds
    if kind == "array":
        inner = _words(schema, node.get("items", {}))
        return f"list of {inner}" if inner else "list"
    bounds = [
        f"{word} {node[name]:g}"
        for name, word in (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"))
        if name in node
    ]
    return " ".join([kind, *bounds])


def page(root: Path) -> str:
    """All values, a section for each of the first level that has some below it.

    Args:
        root: of the source tree.
    """
    text = (root / _CHART / "values.yaml").read_text(encoding="utf-8")
    schema = json.loads((root / _CHART / "values.schema.json").read_text(encoding="utf-8"))
    parts = [_INTRODUCTION]
    section = ""
    for value in values(text):
        first, _, below = value.path.partition(".")
        if below and first != section:
            section = first
            parts.append(f"## {first}\n\n")
        facts = [f"default {code(value.default)}" if value.default else "", accepts(schema, value.path)]
        parts.append(entry(value.path, facts, prose(value.comment), anchor=value.path.replace(".", "-").lower()))
    return "".join(parts)
