"""The rules of a scale policy: who may do what to which Deployment, within which bounds. No rule, no right."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from domino_identity import Principal
from domino_identity.allow import Allow
from mm_service.policy_yaml import PolicyError, PolicyReader
from scale_service.quantities import amount

_READER = PolicyReader.of(__package__)
_LONGEST_NAME = 80


class Verb(enum.Enum):
    """What can be done to a Deployment; policies name these."""

    VIEW = "view"
    LOGS = "logs"
    SCALE = "scale"
    RESOURCES = "resources"
    RESTART = "restart"


_IN_WORDS = {
    Verb.VIEW: "see",
    Verb.LOGS: "read the logs of",
    Verb.SCALE: "scale",
    Verb.RESOURCES: "change the resources of",
    Verb.RESTART: "restart",
}


class Denied(Exception):  # noqa: N818 - named after the status it becomes
    """The principal may not do that: PERMISSION_DENIED, 403. The text is fit for the caller."""


@dataclass(frozen=True)
class Bounds:
    """From where to where a value may be set.

    Attributes:
        least: the smallest, as written.
        most: the largest, as written.
    """

    least: str
    most: str

    @classmethod
    def of(cls, entry: Mapping[str, str]) -> Bounds:
        """Reads them out of a policy that was checked against its schema."""
        return cls(entry.get("min", "0"), entry["max"])

    def hold(self, value: Decimal) -> bool:
        """Whether the value lies within them."""
        return amount(self.least) <= value <= amount(self.most)

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"


@dataclass(frozen=True)
class Rule:
    """One rule: it allows verbs on Deployments to some principals, and forbids nothing.

    Attributes:
        index: place in the list, from 0.
        line: where it stands in the file, from 1.
        description: what its author says about it; may be empty.
        allow: the principals.
        deployments: inference-server, proxy or both.
        verbs: what they may do.
        replicas: how many replicas they may ask for; None without the verb scale.
        resources: how much of each resource (cpu, memory, gpu); one that is not named stays as it is.
    """

    index: int
    line: int
    description: str
    allow: Allow
    deployments: frozenset[str]
    verbs: frozenset[Verb]
    replicas: Bounds | None
    resources: Mapping[str, Bounds]

    def __str__(self) -> str:
        """The rule in words: its place, its line and its description."""
        return f"rules[{self.index}] (line {self.line}{': ' if self.description else ''}{self.description})"


class Policy:
    """Rules; what none of them allows is denied."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        """A policy of rules that were checked already; see `parse`."""
        self.rules: Sequence[Rule] = rules

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Reads a policy.

        Args:
            text: YAML as in policy.schema.json.

        Raises:
            PolicyError: it can't be used; the text tells each mistake with its line.
        """
        document, lines = _READER.read(text)
        return cls(tuple(_rule(index, lines["rules", index], entry) for index, entry in enumerate(document["rules"])))

    def verbs(self, principal: Principal, deployment: str) -> list[str]:
        """The verbs that the principal has on a Deployment, in their usual order."""
        return [verb.value for verb in Verb if self._rules(principal, deployment, verb)]

    def check(self, principal: Principal, deployment: str, verb: Verb) -> None:
        """Returns where the principal has the verb, within whatever bounds.

        Raises:
            Denied: no rule gives it.
        """
        if not self._rules(principal, deployment, verb):
            hint = ""
            if not (principal.groups or principal.roles):
                hint = "; this credential brings no groups and roles, which only a token verified by the service does"
            raise Denied(
                f"{_short(principal.name)} may not {_IN_WORDS[verb]} {deployment}: the scale policy does not allow it;"
                f" needed: a rule with the verb {verb.value}, from the installation's operator{hint}"
            )

    def check_replicas(self, principal: Principal, deployment: str, replicas: int) -> None:
        """Returns where the principal may ask for so many replicas.

        Raises:
            Denied: no rule allows it.
        """
        self.check(principal, deployment, Verb.SCALE)
        bounds = [rule.replicas for rule in self._rules(principal, deployment, Verb.SCALE) if rule.replicas is not None]
        if not any(each.hold(Decimal(replicas)) for each in bounds):
            allowed = " or ".join(dict.fromkeys(map(str, bounds)))
            raise Denied(
                f"{_short(principal.name)} may not scale {deployment} to {replicas} replicas: the scale policy allows"
                f" {allowed}; ask for as many, or the installation's operator for other bounds"
            )

    def check_anybody(self, deployment: str, replicas: int) -> None:
        """Returns where some rule allows somebody so many replicas: what nobody may do, no program does.

        Raises:
            Denied: none does.
        """
        bounds = [
            rule.replicas
            for rule in self.rules
            if Verb.SCALE in rule.verbs and deployment in rule.deployments and rule.replicas is not None
        ]
        if not any(each.hold(Decimal(replicas)) for each in bounds):
            allowed = " or ".join(dict.fromkeys(map(str, bounds))) or "nobody to scale it"
            raise Denied(
                f"the autoscaler may not scale {deployment} to {replicas} replicas: the scale policy allows {allowed};"
                " needed: a rule with the verb scale and such bounds, from the installation's operator"
            )

    def check_resources(self, principal: Principal, deployment: str, values: Sequence[tuple[str, str]]) -> None:
        """Returns where one rule allows the principal all of a change.

        Args:
            principal: who asks for it.
            deployment: of what.
            values: cpu, memory or gpu, and the quantity, for each value that is set.

        Raises:
            Denied: none does.
        """
        self.check(principal, deployment, Verb.RESOURCES)
        rules = self._rules(principal, deployment, Verb.RESOURCES)
        if any(all(_holds(rule, *value) for value in values) for rule in rules):
            return
        wrong = [value for value in values if not any(_holds(rule, *value) for rule in rules)]
        name, value = (wrong or values)[0]
        bounds = [str(rule.resources[name]) for rule in rules if name in rule.resources]
        allowed = f"allows {' or '.join(dict.fromkeys(bounds))}" if bounds else f"does not allow it to change {name}"
        together = "" if wrong else " together with the other values"
        raise Denied(
            f"{_short(principal.name)} may not set {name} of {deployment} to {value}{together}: the scale policy"
            f" {allowed}; ask for as much, or the installation's operator for other bounds"
        )

    def _rules(self, principal: Principal, deployment: str, verb: Verb) -> list[Rule]:
        return [
            rule
            for rule in self.rules
            if verb in rule.verbs and deployment in rule.deployments and rule.allow.admits(principal) is not None
        ]


def _holds(rule: Rule, name: str, value: str) -> bool:
    return name in rule.resources and rule.resources[name].hold(amount(value))


def _rule(index: int, line: int, entry: dict[str, Any]) -> Rule:
    replicas = Bounds.of(entry["replicas"]) if "replicas" in entry else None
    resources = {name: Bounds.of(each) for name, each in entry.get("resources", {}).items()}
    for name, bounds in {**resources, **({"replicas": replicas} if replicas else {})}.items():
        if amount(bounds.least) > amount(bounds.most):
            raise PolicyError(f"line {line}: {name} of rules[{index}] has a min above its max; expected min ≤ max")
    return Rule(
        index=index,
        line=line,
        description=entry.get("description", ""),
        allow=Allow.of(entry["allow"]),
        deployments=frozenset(entry["deployments"]),
        verbs=frozenset(map(Verb, entry["verbs"])),
        replicas=replicas,
        resources=resources,
    )


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "..."
