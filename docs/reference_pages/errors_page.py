"""What callers are told when something fails: statuses, texts and what to do, from the code that says them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path

from mm_client_api import errors as client_errors
from mm_service.status import Code
from multimodal_contract import pb
from reference_pages import texts
from reference_pages.pieces import code, prose, summary, table
from triton_proxy.protocols.kserve import reasons as kserve
from triton_proxy.protocols.multimodal.reasons import Reason
from triton_proxy.transports.http.status import HTTP_STATUS

# Exceptions whose text goes to the caller, and the status that it comes with.
RAISED = {
    "BodyRefused": "INVALID_ARGUMENT",
    "Denied": "PERMISSION_DENIED",
    "IdentityUnavailable": "UNAVAILABLE",
    "LimitExceeded": "RESOURCE_EXHAUSTED",
    "NotAuthenticated": "UNAUTHENTICATED",
    "NotInJson": "INVALID_ARGUMENT",
    "RequestRefused": "INVALID_ARGUMENT",
    "UnusableCredential": "UNAUTHENTICATED",
    "unavailable": "UNAVAILABLE",
}
_PROXY = ("python/proxy/triton_proxy", "python/identity/domino_identity")
# What these say comes to a caller as the answer of a model that failed.
_TOWARDS_TRITON = ("triton_proxy.triton.", "triton_proxy.http2.client")
_SCALER = ("python/scaler/scale_service", "python/identity/domino_identity")

_INTRODUCTION = """# Errors

Each text says what was wrong, what was expected, and what to do; words in braces are filled in. A wrong packet gets an
[Ack](#acks-of-the-published-contract), and its stream goes on. A call that may not go on ends with a
[status](#statuses-of-calls). The Python client raises an exception for either, and `mm-client doctor` finds most
causes. Triton's own words come as they are, as `INTERNAL`.

"""


def page(root: Path) -> str:
    """All of it.

    Args:
        root: of the source tree.
    """
    said = texts.refusals(_modules(root, _PROXY), RAISED)
    of_calls = [each for each in said if not each.module.startswith(_TOWARDS_TRITON)]
    return "".join(
        [
            _INTRODUCTION,
            "## Statuses of calls\n\nOf gRPC by name, of REST by number.\n\n",
            *_statuses(of_calls),
            "## Acks of the published contract\n\n`Ack.status`, and `error` in the JSON of `Ack.message`.\n\n",
            *_acks(),
            "## Between proxy and Triton\n\nAn Ack has these as `INTERNAL`, KServe v2 and REST with their status.\n\n",
            table(
                ("status", "text"),
                ((_with_number(each.kind), prose(each.text)) for each in said if each not in of_calls),
            ),
            "\n## Requests of KServe v2 and REST\n\n`INVALID_ARGUMENT`, 400. Nothing was sent to Triton.\n\n",
            table(("name", "text"), ((code(each.name), prose(each.value)) for each in kserve.Reason)),
            '\n## The scale service\n\nThe same codes over gRPC; over REST the body is `{"error": …, "code": …}`.\n\n',
            table(
                ("status", "text"),
                (
                    (_with_number(each.kind), prose(each.text))
                    for each in texts.refusals(_modules(root, _SCALER), {**RAISED, "failure": "INTERNAL"})
                    if each.module.startswith("scale_service")
                ),
            ),
            "\n## Exceptions of mm_publisher\n\nAnd what the command `mm-publish` ends with.\n\n",
            _exceptions("mm_publisher.errors"),
            "\n## Exceptions of mm_scale\n\nAnd what the command `mm-scale` ends with.\n\n",
            _exceptions("mm_scale.errors"),
        ]
    )


def _modules(root: Path, folders: Sequence[str]) -> Iterator[tuple[str, str]]:
    for folder in folders:
        yield from texts.sources(root / folder)


def _with_number(kind: str) -> str:
    return f"{code(kind)} {HTTP_STATUS[Code[kind]]}" if kind in Code.__members__ else f"HTTP {kind}"


def _statuses(found: Sequence[texts.Text]) -> Iterator[str]:
    """A section for each code that the proxy ends calls with, then what HTTP alone has."""
    by_kind: dict[str, list[str]] = {}
    for each in found:
        by_kind.setdefault(each.kind, []).append(each.text)
    # First those that the Python client has exceptions of their own for.
    known = dict.fromkeys(row.code.split(" ")[0] for row in client_errors.ERROR_TABLE if row.source == "gRPC")
    ordered = [Code[name] for name in known if name in Code.__members__]
    for member in [*ordered, *(each for each in Code if each not in ordered)]:
        said = by_kind.get(member.name)
        if not said:
            continue
        yield f"### {member.name} {{ #{member.name.lower()} }}\n\n"
        yield f"{HTTP_STATUS[member]} over REST.\n\n{_for_python('gRPC', member.name)}\n\nThe texts:\n\n"
        yield from (f"- {prose(text)}\n" for text in dict.fromkeys(said))
        yield "\n"
    yield "### HTTP alone\n\nWhat can't be said of a call of gRPC.\n\n"
    yield table(
        ("status", "text"),
        ((kind, prose(text)) for kind in sorted(by_kind) if kind.isdecimal() for text in dict.fromkeys(by_kind[kind])),
    )
    yield "\n"


def _for_python(source: str, name: str) -> str:
    """What the Python client raises, expects and advises; for some codes there are two exceptions."""
    rows = [row for row in client_errors.ERROR_TABLE if row.source == source and row.code.split(" ")[0] == name]
    if not rows:
        return f"In Python {code(client_errors.CallError.__name__)}."
    return "\n\n".join(_in_words(row.exception, row.code.removeprefix(name)) for row in rows)


def _in_words(exception: type[client_errors.TritonClientError], when: str) -> str:
    expected = f" Expected: {exception.expected}." if exception.expected else ""
    of_what = f" (where the text is{when})" if when.startswith(" about") else ""
    return f"In Python {code(exception.__name__)}{of_what}: {summary(exception)}{expected} **{exception.advice}.**"


def _acks() -> Iterator[str]:
    by_status: dict[str, list[Reason]] = {}
    for reason in Reason:
        by_status.setdefault(pb.StatusCode.Name(reason.status), []).append(reason)
    for status, reasons in by_status.items():
        yield f"### Ack {status} {{ #ack-{status.lower()} }}\n\n{_for_python('Ack', status)}\n\n"
        yield table(("name", "text"), ((code(each.name), prose(each.text)) for each in reasons))
        yield "\n"
    yield f"### Ack INTERNAL {{ #ack-internal }}\n\n{_for_python('Ack', 'INTERNAL')}\n\n"
    kinds = (client_errors.ModelNotFound, client_errors.ModelNotReady)
    yield "".join(f"- {_in_words(kind, '')}\n" for kind in kinds) + "\n"


def _exceptions(module: str) -> str:
    """A table of a module's exceptions, which have the exit status of a command."""
    found = [each for _, each in inspect.getmembers(importlib.import_module(module), inspect.isclass)]
    rows = [
        (code(each.__name__), str(each.exit_status), prose(summary(each)))
        for each in found
        if hasattr(each, "exit_status")
    ]
    return table(("exception", "exit status", "when"), rows)
