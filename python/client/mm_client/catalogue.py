"""Which models there are, what they take and give, or why one is not ready."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from mm_client_api import CallError, ModelDescription, ModelStatus, TritonClient

# Questions under way: each takes a round trip.
_AT_ONCE = 8
# Triton looks every few seconds, and mostly fails within a tenth of one.
_ASKED, _PAUSE_SECS = 10, 0.1


@dataclass(frozen=True)
class CatalogueEntry:
    """One version of a model.

    Attributes:
        status: its name, version and state.
        description: what it takes and gives; None where it is not ready, or that is not known.
        reason: why there is no description; may be empty.
    """

    status: ModelStatus
    description: ModelDescription | None
    reason: str


def read_catalogue(client: TritonClient, names: Sequence[str] = ()) -> tuple[list[CatalogueEntry], list[ModelStatus]]:
    """Ask for models, and about each that is ready.

    Args:
        client: of the proxy.
        names: only these; * stands for anything; all where it is empty.

    Returns:
        The models that are named, and everything that there is.

    Raises:
        CallError: there is no list; the subclass says why.
    """
    found = _listed(client)
    named = [model for model in found if is_named(model.name, names)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(lambda model: _described(client, model), named)), found


def is_named(name: str, patterns: Sequence[str]) -> bool:
    """Whether a model's name is one of the patterns; * stands for anything, and no pattern for all."""
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _listed(client: TritonClient) -> list[ModelStatus]:
    """The models; asks again for reasons, which Triton forgets while it tries to load a model once more."""
    found: list[ModelStatus] = []
    reasons: dict[tuple[str, str], str] = {}
    for number in range(_ASKED):
        if number:
            time.sleep(_PAUSE_SECS)
        found = client.models()
        reasons.update({(each.name, each.version): each.reason for each in found if each.reason})
        found = [replace(each, reason=reasons.get((each.name, each.version), "")) for each in found]
        if all(each.ready or each.reason or not each.version for each in found):
            break
    return found


def _described(client: TritonClient, model: ModelStatus) -> CatalogueEntry:
    if not model.ready:
        return CatalogueEntry(model, None, model.reason)
    try:
        return CatalogueEntry(model, client.describe(model.name, model.version), "")
    except CallError as error:
        # It may have been unloaded since, or its metadata be denied; the others are still worth a line.
        return CatalogueEntry(model, None, error.detail)
