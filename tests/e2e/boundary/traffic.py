"""Streams of packets from a client's pod, that go on while something happens to the servers."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

from boundary import accounting
from boundary.accounting import Account
from boundary.kube import Kube
from boundary.names import CALLER, COMPUTE, INFERENCE, PROXY
from kind_cluster.command import KindError

STREAMS = 4
_END_SECONDS = 90


class Traffic:
    """Streams through the proxy's Service, as a context manager: they flow within it.

    Args:
        kube: the cluster.
    """

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._lines: list[dict[str, Any]] = []
        self._news = threading.Condition()

    def __enter__(self) -> Traffic:
        address = f"{PROXY}.{INFERENCE}.svc.cluster.local:50051"
        program = ("python3", "/e2e/traffic.py", address, str(STREAMS))
        words = self._kube.kubectl_words("exec", f"--namespace={COMPUTE}", CALLER, "--", *program)
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._lines.append(json.loads(line))
                self._news.notify_all()

    def wait_for(self, condition: Callable[[Sequence[int], int], bool], seconds: float) -> None:
        """Waits until the numbers are so, a stream has ended, or the time is up; the accounts tell what came of it.

        Args:
            condition: of the good answers of each stream so far, and of all failed ones.
            seconds: how long.
        """

        def over() -> bool:
            last = self._lines[-1] if self._lines else {}
            return bool(last) and (bool(last.get("ended")) or condition(last["good"], last["failed"]))

        with self._news:
            self._news.wait_for(over, seconds)

    def more(self, packets: int, seconds: float) -> None:
        """Waits until every stream has that many more good answers than now."""
        with self._news:
            before = self._lines[-1]["good"] if self._lines else [0] * STREAMS
        wanted = [count + packets for count in before]
        self.wait_for(lambda good, _: all(a >= b for a, b in zip(good, wanted, strict=True)), seconds)

    def _errors(self) -> str:
        if self._process.poll() is None:
            return ""
        assert self._process.stderr is not None
        return f"; the program ended with {self._process.returncode}: {self._process.stderr.read()[-800:]}"

    def finish(self) -> list[Account]:
        """Lets the streams end and returns what became of every packet."""
        self._kube.execute(COMPUTE, CALLER, "touch", "/tmp/stop")  # noqa: S108  the pod's own
        self._reader.join(_END_SECONDS)
        if not self._lines or "streams" not in self._lines[-1]:
            raise KindError(f"the streams did not end within {_END_SECONDS} s{self._errors()}")
        return accounting.read(self._lines[-1]["streams"])

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
