"""Texts that a program says, read from its source: what callers are told with a status, and what goes to the log.

A value that is filled in when the text is said stands as a word in braces.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_LEVELS = ("info", "warning", "error", "exception", "critical")
_HTTP_ERRORS = range(400, 600)
_ENUMERATIONS = ("Code", "StatusCode")


@dataclass(frozen=True, order=True)
class Text:
    """A text that is said.

    Attributes:
        kind: name of gRPC's code, number of HTTP's, or level of the log.
        text: what is said.
        module: in which module, by its dotted name.
    """

    kind: str
    text: str
    module: str


@dataclass(frozen=True)
class _Module:
    """A parsed module, with what names stand for in it."""

    name: str
    tree: ast.Module
    constants: Mapping[str, ast.expr]


def sources(folder: Path) -> Iterator[tuple[str, str]]:
    """Modules below a package's folder, without tests: dotted name and source."""
    for path in sorted(folder.rglob("*.py")):
        if not path.name.endswith("_test.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            yield ".".join(parts), path.read_text(encoding="utf-8")


def refusals(modules: Iterable[tuple[str, str]], raised: Mapping[str, str]) -> list[Text]:
    """Texts that end calls or requests, each once.

    Args:
        modules: dotted names and sources.
        raised: exceptions by their names, whose text a caller gets, to the code that it comes with.

    Returns:
        What stands behind a `Code.NAME` or a number of HTTP's errors among a call's arguments, and the first argument
        of the exceptions; texts that are no literals, such as others' words, are left out.
    """
    found = set()
    parsed = list(map(_parsed, modules))
    methods = {name: value for module in parsed for name, value in _returned(module.tree)}
    for module in parsed:
        for function, call in _calls(module.tree):
            for kind, argument in _told(call, raised):
                text = _text(argument, {**methods, **module.constants, **_assigned(function)})
                if text:
                    found.add(Text(kind, text, module.name))
    return sorted(found)


def log_lines(modules: Iterable[tuple[str, str]]) -> list[Text]:
    """Lines of the log from INFO up, each once."""
    found = set()
    for module in map(_parsed, modules):
        for function, call in _calls(module.tree):
            target = call.func
            if isinstance(target, ast.Attribute) and target.attr in _LEVELS and call.args:
                owner = target.value
                if isinstance(owner, ast.Name) and owner.id == "_LOG":
                    text = _text(call.args[0], {**module.constants, **_assigned(function)})
                    level = "error" if target.attr == "exception" else target.attr
                    found.add(Text(logging.getLevelName(getattr(logging, level.upper())), text, module.name))
    return sorted(found)


def _parsed(module: tuple[str, str]) -> _Module:
    name, source = module
    tree = ast.parse(source)
    return _Module(name, tree, _assigned(tree))


def _assigned(scope: ast.AST) -> dict[str, ast.expr]:
    """Values of the names that a scope assigns once."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _returned(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Methods that only make a text: their names, as `_text` looks them up, and what they return."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.unparse(node.returns or ast.Constant(None)) == "str":
            last = node.body[-1]
            if isinstance(last, ast.Return) and isinstance(last.value, ast.JoinedStr):
                yield f"{node.name}()", last.value


def _calls(tree: ast.AST, function: ast.AST | None = None) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Calls, with the function around each, or the module."""
    function = function or tree
    for node in ast.iter_child_nodes(tree):
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        if isinstance(node, ast.Call):
            yield function, node
        yield from _calls(node, inner)


def _told(call: ast.Call, raised: Mapping[str, str]) -> Iterator[tuple[str, ast.expr]]:
    """A kind and the expression of its text, where a call has them."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name in raised and call.args:
        yield raised[name], call.args[0]
    for kind, text in zip(call.args, call.args[1:], strict=False):
        code = _code(kind)
        if code and _code(text) is None:
            yield code, text


def _code(argument: ast.expr) -> str | None:
    if isinstance(argument, ast.Attribute) and isinstance(argument.value, ast.Name | ast.Attribute):
        owner = argument.value.id if isinstance(argument.value, ast.Name) else argument.value.attr
        return argument.attr if owner in _ENUMERATIONS else None
    if isinstance(argument, ast.Constant) and isinstance(argument.value, int) and argument.value in _HTTP_ERRORS:
        return str(argument.value)
    return None


def _text(expression: ast.expr, scope: Mapping[str, ast.expr]) -> str:
    """What an expression says; "" where that is not known from the source."""
    match expression:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else f"{{{_filled(part)}}}" for part in parts
            )
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined(left, right, scope)
        case ast.Name(id=name) if name in scope:
            return _text(scope[name], {each: value for each, value in scope.items() if each != name})
        case ast.Call(func=ast.Attribute(value=template, attr="format")):
            return _text(template, scope)
        case ast.Call(func=ast.Attribute(attr=name)) if f"{name}()" in scope:
            return _text(scope[f"{name}()"], scope)
    return ""


def _joined(left: ast.expr, right: ast.expr, scope: Mapping[str, ast.expr]) -> str:
    first, second = _text(left, scope), _text(right, scope)
    return first + second if first and second else ""


def _filled(part: ast.expr) -> str:
    """A word for the value that is filled in."""
    match part:
        case ast.FormattedValue(value=value) | ast.Call(args=[value]):
            return _filled(value)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower()
        case ast.Subscript(value=value):
            return _filled(value)
    return "…"
