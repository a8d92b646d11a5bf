"""The table of attacks, small and short: no good caller's call is lost, memory stays in its bound, health says SERVING.

Times are what the long run is for: a machine that others use, too, is not held against the proxy.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from attacks import arena
from attacks.arena import Arena, Pace
from attacks.proxy_process import ProxyProcess
from attacks.table import TABLE, Row, named

# The last two are for machines that are busy with something else.
SHORT = Pace(attack_secs=1.0, warm_secs=0.3, still_secs=0.4, recovery_secs=60.0, call_secs=30.0, full=False)


class Proxies:
    """One proxy for many rows, since each takes seconds to start; another after a row that damaged it."""

    def __init__(self, stage: Arena) -> None:
        self._stage = stage
        self._proxy: ProxyProcess | None = None

    @contextlib.contextmanager
    def lend(self) -> Iterator[ProxyProcess]:
        if self._proxy is None:
            self._proxy = self._stage.proxy()
        try:
            yield self._proxy
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        if self._proxy is not None:
            self._proxy.__exit__()
            self._proxy = None


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    folder: Path = tmp_path_factory.mktemp("abuse")
    with arena.running(folder, SHORT) as running:
        yield running


@pytest.fixture(scope="module")
def proxies(stage: Arena) -> Iterator[Proxies]:
    made = Proxies(stage)
    yield made
    made.end()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_an_attack_takes_nothing_from_a_good_caller(row: Row, stage: Arena, proxies: Proxies) -> None:
    with proxies.lend() as proxy:
        assert stage.measure(row, proxy).problems(timed=False) == []


def test_a_log_under_attack_has_the_proxys_own_lines_only(proxies: Proxies) -> None:
    with proxies.lend() as proxy:
        lines = proxy.log.read_text().splitlines()
    # Audit lines are JSON, all others begin with the time. grpc's core would add pieces of what strangers sent.
    assert [line for line in lines if not re.match(r"\{|\d{4}-\d\d-\d\d ", line)] == []


@pytest.mark.parametrize("row", [row for row in TABLE if row.drained_in_ci], ids=lambda row: row.name)
def test_sigterm_during_an_attack_answers_what_was_accepted(row: Row, stage: Arena) -> None:
    with stage.proxy() as proxy:
        assert stage.drain(row, proxy).problems() == []


def test_an_unknown_attack_is_named() -> None:
    with pytest.raises(ValueError, match="no attack no-such; expected some of watch-no-window, "):
        named(["refusals", "no-such"])
