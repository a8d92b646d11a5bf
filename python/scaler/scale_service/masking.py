"""Log lines without the credentials that a program may have written into them."""

from __future__ import annotations

import re

_MASK = "***"
# Each: what stays, and what becomes `***`.
_SECRETS = (
    # A JWT, wherever it stands.
    re.compile(r"()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*\.?[A-Za-z0-9_-]*"),
    # Headers, also as JSON or a dictionary shows them. Of `Authorization: Bearer x` all after the scheme.
    re.compile(r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"',;]+", re.IGNORECASE),
    re.compile(r"(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE),
    re.compile(
        r"(\b[\w.-]*(?:api[-_]?key|secret(?:[-_]?access)?[-_]?key|client[-_]?secret|admin[-_]?key|access[-_]?key[-_]?id"
        r"|password|passwd|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&]+",
        re.IGNORECASE,
    ),
    # User and password of a URL, and signatures in its query.
    re.compile(r"(://)[^/\s@]+(?=@)"),
    re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s]+", re.IGNORECASE),
    # AWS key ids, and Domino's API keys.
    re.compile(r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"()\b[0-9a-f]{64}\b"),
)


def masked(text: str) -> str:
    """The text with `***` for each credential that is known by its form or by its name."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{_MASK}", text)
    return text
