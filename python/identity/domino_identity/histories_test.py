"""Thousands of histories; `./bazelw run //python/identity:auth_histories` runs as many as one likes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest

from domino_identity import Authenticator, Credential, IdentityUnavailable, NotAuthenticated, Principal
from identity_testing.auth_histories import check, main
from identity_testing.history_world import build

COUNT, PARTS = 3000, 6


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, COUNT, COUNT // PARTS))
def test_nobody_is_served_unnamed_and_no_stranger_changes_what_a_known_caller_gets(first: int) -> None:
    counts: Counter[str] = Counter()
    for number in range(first, first + COUNT // PARTS):
        check(1, number, counts)
    # All that can happen to a known caller does.
    kinds = {answer.partition(":")[0] for answer in counts}
    assert kinds >= {"ann", "ann, stale", "bob", "UNAVAILABLE", "UNAUTHENTICATED", "stands", "not remembered"}
    assert any("has not answered for a while" in answer for answer in counts)


def test_the_command_says_what_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--histories", "20", "--seed", "7", "--first", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("20 histories of seed 7 in ")


class Wrong:
    """An authenticator that is wrong in a way that the histories have to notice."""

    def __init__(self, inner: Authenticator) -> None:
        self.inner = inner


class OneForAll(Wrong):
    """Believes strangers as it believes known callers."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        return self.inner.authenticate(credential, deadline, known=True)


class Lenient(Wrong):
    """Takes what can't be read for a name."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        try:
            return self.inner.authenticate(credential, deadline, known=known)
        except IdentityUnavailable:
            return Principal("eve", admin=False)


class Nostalgic(Wrong):
    """Takes a no for the yes of before."""

    def authenticate(self, credential: Credential, deadline: float, *, known: bool = False) -> Principal:
        try:
            return self.inner.authenticate(credential, deadline, known=known)
        except NotAuthenticated:
            if not known:
                raise
            return Principal("ann", admin=False)


@pytest.mark.parametrize("wrong", [OneForAll, Lenient, Nostalgic])
def test_what_is_wrong_is_noticed(wrong: type[OneForAll | Lenient | Nostalgic]) -> None:
    def check_all() -> None:
        for number in range(COUNT):
            check(1, number, Counter(), partial(build, around=wrong))

    with pytest.raises(AssertionError, match=r"history \d+ of seed 1: [^\0]*Event\(what="):
        check_all()
