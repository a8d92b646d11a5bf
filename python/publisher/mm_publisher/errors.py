"""What can go wrong, each with the exit status of `mm-publish`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from mm_client_api.html import lines

# User and password of a URL, signatures in its query, and headers that carry credentials.
_SECRETS = re.compile(
    r"(?<=://)[^/\s]+(?=@)"
    r"|(?<=X-Amz-Signature=)[^&\s]+|(?<=X-Amz-Credential=)[^&\s]+|(?<=X-Amz-Security-Token=)[^&\s]+"
    r"|(?<=Bearer )\S+|(?<=Basic )\S+",
    re.IGNORECASE,
)


def without_secrets(text: object) -> str:
    """What somebody else's library says, without credentials that it may quote.

    Args:
        text: an error or a text.

    Returns:
        The text with "***" where a URL's user and password, a signature or a token was.
    """
    return _SECRETS.sub("***", str(text))


class PublisherError(Exception):
    """Base of everything that the publisher raises on purpose; the text is for the user.

    Attributes:
        exit_status: of the command `mm-publish`.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, text: str) -> None:
        super().__init__(without_secrets(text))

    def _repr_html_(self) -> str:
        return lines(f"{type(self).__name__}: {self}".splitlines())


class UsageError(PublisherError):
    """An argument or setting that cannot be used; nothing was written."""

    exit_status = 2


class Refused(PublisherError):  # noqa: N818 - it names what happened
    """A check failed before anything was written, or what is there already stands in the way.

    Attributes:
        problems: each thing that is wrong.
    """

    exit_status = 3

    def __init__(self, summary: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(map(without_secrets, problems))
        super().__init__("\n".join([summary, *(f"  - {problem}" for problem in problems)]))


class RolledBack(PublisherError):  # noqa: N818
    """The new version did not become ready; what served before was put back."""

    exit_status = 4


class Busy(PublisherError):  # noqa: N818
    """Another publisher holds the model's lease, or took it over."""

    exit_status = 5


class Unavailable(PublisherError):  # noqa: N818
    """The store, the registry or the proxy failed or cannot be reached; the text says what state that leaves."""

    exit_status = 6
