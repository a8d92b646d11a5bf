"""The rules of an access policy, and what they say about a principal and a model."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from domino_identity import Principal
from domino_identity.allow import Allow
from mm_service.globs import NameGlob
from mm_service.policy_yaml import PolicyReader

READER = PolicyReader.of(__package__)
# Longest name of a folder, and with it of a model in Triton's repository.
_LONGEST_MODEL = 255
_LONGEST_VERSION = 18  # Digits that surely fit the 64 bits that Triton reads a version into.
_DECISIONS = 4096
_MOST_GROUPS_TOLD = 5
_LONGEST_TOLD = 80


@dataclass(frozen=True)
class Rule:
    """One rule: it allows models and versions to some principals, and forbids nothing.

    Attributes:
        index: place in the list, from 0.
        line: where it stands in the file, from 1.
        description: what its author says about it; may be empty.
        models: names and globs, of which one must match.
        versions: the same for versions; `*` is the only one that holds for a version that Triton is to choose.
        allow: the principals that it allows it.
    """

    index: int
    line: int
    description: str
    models: tuple[NameGlob, ...]
    versions: tuple[NameGlob, ...]
    allow: Allow

    def __str__(self) -> str:
        """The rule in words: its place, its line and its description."""
        return f"rules[{self.index}] (line {self.line}{': ' if self.description else ''}{self.description})"

    def covers(self, model: str, version: str) -> bool:
        """Whether it is about the model in that version."""
        return _any_matches(self.models, model) and self.covers_version(version)

    def covers_version(self, version: str) -> bool:
        """Whether it is about that version.

        Triton reads a version as C's `strtol` does: `1x` and ` 01` are 1 for it, and an empty one is its own choice.
        What is not plainly a number is therefore whatever Triton makes of it, which only `*` holds for.
        """
        if _is_version(version):
            return _any_matches(self.versions, version)
        return any(glob.text == "*" for glob in self.versions)


@dataclass(frozen=True)
class Verdict:
    """What one rule says about a question.

    Attributes:
        rule: the rule.
        allows: whether it allows it.
        reason: why, or why not.
    """

    rule: Rule
    allows: bool
    reason: str


class Policy:
    """Rules; what none of them allows is denied."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        """A policy of rules that were checked already; see `parse`."""
        self.rules = rules
        # Many requests ask few different questions. The keys are short: `allows` sees to it.
        self._remembered = functools.lru_cache(_DECISIONS)(self._decide)

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Reads a policy.

        Args:
            text: YAML as in policy.schema.json.

        Raises:
            PolicyError: it can't be used; the text tells each mistake with its line.
        """
        document, lines = READER.read(text)
        return cls(tuple(_rule(index, lines["rules", index], entry) for index, entry in enumerate(document["rules"])))

    def allows(self, principal: Principal, model: str, version: str) -> bool:
        """Whether any rule allows the principal the model; version "" leaves the choice to Triton."""
        if not _is_model(model):
            return False
        version = version if _is_version(version) else ""
        return self._remembered(principal.name, principal.admin, principal.groups, model, version)

    def explain(self, principal: Principal, model: str, version: str) -> list[Verdict]:
        """What each rule says to the question that `allows` answers."""
        return [_verdict(rule, principal, model, version) for rule in self.rules]

    def needed(self, model: str, version: str) -> list[str]:
        """What of a principal would do, besides being named anew: "membership in a group matching …" and the like.

        Only rules that mean the model by a wildcard are named. They hold for names that nobody ever used just as
        well, while telling of one that has the name in full would tell that there is such a model.
        """
        named = [
            rule
            for rule in self.rules
            if any(glob.wild and glob.matches(model) for glob in rule.models) and rule.covers_version(version)
        ]
        groups = list(dict.fromkeys(glob.text for rule in named for glob in rule.allow.groups))
        needed = []
        if groups:
            more = " or others" if len(groups) > _MOST_GROUPS_TOLD else ""
            patterns = " or ".join(_short(group) for group in groups[:_MOST_GROUPS_TOLD])
            needed.append(f"membership in a group matching {patterns}{more}")
        if any(rule.allow.admins for rule in named):
            needed.append("being an administrator of Domino")
        return needed

    def denial(self, principal: Principal, model: str, version: str) -> str:
        """The text for a principal that the policy does not allow the model; fit for a status' details."""
        question = f"model {_quoted(model)} " + (f"version {_quoted(version)}" if version else "in Triton's version")
        user = _short(principal.name)
        ways = [*self.needed(model, version), f"a rule that allows it to {user}, from the proxy's operator"]
        hint = ""
        if not principal.groups:
            hint = "; this credential brings no groups, which only a token verified by the proxy does"
        return f"{user} may not use {question}: the access policy does not allow it; needed: {', or '.join(ways)}{hint}"

    def _decide(self, name: str, admin: bool, groups: tuple[str, ...], model: str, version: str) -> bool:
        principal = Principal(name, admin, groups)
        return any(rule.covers(model, version) and rule.allow.admits(principal) for rule in self.rules)


def _rule(index: int, line: int, entry: dict[str, Any]) -> Rule:
    # The schema has seen to the kinds.
    return Rule(
        index=index,
        line=line,
        description=entry.get("description", ""),
        models=tuple(map(NameGlob, entry["models"])),
        versions=tuple(map(NameGlob, entry.get("versions", ["*"]))),
        allow=Allow.of(entry["allow"]),
    )


def _verdict(rule: Rule, principal: Principal, model: str, version: str) -> Verdict:
    if not _is_model(model):
        return Verdict(rule, False, "no model can have that name, so that no rule holds for it")
    if not _any_matches(rule.models, model):
        return Verdict(rule, False, f"is about other models: {_listed(rule.models)}")
    if not rule.covers_version(version):
        why = "" if _is_version(version) else '; only "*" holds for a version that Triton is to choose'
        return Verdict(rule, False, f"is about other versions: {_listed(rule.versions)}{why}")
    admitted = rule.allow.admits(principal)
    if admitted is None:
        return Verdict(rule, False, f"allows it to others: {rule.allow}")
    return Verdict(rule, True, f"allows it to {admitted}")


def _is_model(model: str) -> bool:
    """Whether a model can have the name; Triton reads names up to a NUL, where another name may end."""
    return 0 < len(model) <= _LONGEST_MODEL and model.isprintable()


def _is_version(version: str) -> bool:
    return version.isascii() and version.isdigit() and version[0] != "0" and len(version) <= _LONGEST_VERSION


def _any_matches(globs: Iterable[NameGlob], name: str) -> bool:
    return any(glob.matches(name) for glob in globs)


def _listed(globs: Iterable[NameGlob]) -> str:
    return ", ".join(glob.text for glob in globs)


def _quoted(name: str) -> str:
    return ascii(_short(name))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TOLD else text[:_LONGEST_TOLD] + "..."
