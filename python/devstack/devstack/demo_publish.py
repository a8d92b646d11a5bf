"""`demo_publish`: from training to serving, each step a command that is shown with what it prints."""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shlex
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devstack.child import scratch_folder
from devstack.command import leave_on_signals
from devstack.domino import DominoStandIn
from devstack.model_registry import ModelRegistry, RegistryError
from devstack.object_store import ObjectStore, ObjectStoreError
from devstack.proxy import Proxy, python_environment
from devstack.stack import USER
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from devstack.up import START_ERRORS, say
from mm_client_api import ApiKey, TritonClient, TritonClientError

MODEL = "irises"
TARGET = "s3://models/triton/inference-dev/triton-inference-server/models"
_FLOWER = np.array([[6.0, 2.7, 5.1, 1.6]], np.float32)
_CALLERS = 8
# Triton looks at its repository every second here; a usual deployment looks every 30 s.
_READY_TIMEOUT = "5"
_ROLLED_BACK = 4
_FAILED = 1
_EXAMPLES = """
Brings up MLflow, an S3 server, Triton on its bucket and the proxy on free ports of this machine, trains three versions
of a classifier, publishes them by mm-publish while clients infer, and takes everything down.

exit status:
  0    every command ended as it should, and every inference was answered
  1    something differs or did not start; standard output or standard error says what
  2    wrong arguments
  130  interrupted by Ctrl-C (129 and 143: by SIGHUP and SIGTERM); nothing is left running
"""


@dataclass(frozen=True)
class Step:
    """A command of the demo.

    Attributes:
        what: the step, in words.
        words: after `mm-publish`.
        status: the exit status it should have.
    """

    what: str
    words: Sequence[str]
    status: int = 0


STEPS = (
    Step("the first version", ["publish", f"models:/{MODEL}@champion", TARGET]),
    Step("the next version", ["publish", f"models:/{MODEL}/2", TARGET]),
    Step(
        "a version that passes every check, and that Triton cannot load",
        ["publish", f"models:/{MODEL}/3", TARGET, "--ready-timeout", _READY_TIMEOUT],
        _ROLLED_BACK,
    ),
    Step("what lies there", ["list", TARGET]),
    Step("is it what was published?", ["verify", TARGET]),
    Step("back to the first version", ["rollback", MODEL, TARGET]),
)


def main() -> int:
    """Runs the command; returns its exit status."""
    leave_on_signals()
    argparse.ArgumentParser(
        prog="demo_publish",
        description="Show how a model gets from training to serving, by mm-publish.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    with scratch_folder("devstack-") as folder:
        try:
            problems = _demonstrate(folder)
        except (*START_ERRORS, RegistryError, ObjectStoreError) as error:
            print(f"demo_publish: {error}", file=sys.stderr)
            return _FAILED
    for problem in problems:
        print(f" ✗ {problem}")
    print(" ✗ something differs from what it should be" if problems else " ✓ all as it should be", flush=True)
    return _FAILED if problems else 0


def _demonstrate(folder: Path) -> list[str]:
    """Publishes from MLflow through an S3 server into Triton; returns what was not as it should be."""
    with contextlib.ExitStack() as stack:
        environment = _bring_up(stack, folder)
        problems: list[str] = []
        callers = _Callers(environment["MM_ADDR"], environment["DOMINO_USER_API_KEY"])
        for number, step in enumerate(STEPS):
            if number == 1:
                say(f"{_CALLERS} clients begin to infer, without naming a version")
                stack.enter_context(callers.running())
            problems += _run(step, environment)
    print(f"\n{_CALLERS} clients inferred all the while, {sum(callers.answers.values())} answers in all:")
    for (version, answer), count in sorted(callers.answers.items()):
        print(f"  version {version} said {answer} {count} times")
    if callers.errors:
        problems.append(f"{len(callers.errors)} inferences failed, the first: {callers.errors[0]}")
    if sorted(version for version, _ in callers.answers) != ["1", "2"]:
        problems.append("expected one answer of version 1 and one of version 2, and no other")
    return problems


def _bring_up(stack: contextlib.ExitStack, folder: Path) -> dict[str, str]:
    """Starts everything; returns the environment of a publisher."""
    say("starting an S3 server and MLflow")
    store = stack.enter_context(ObjectStore(folder))
    bucket, _, prefix = TARGET.removeprefix("s3://").partition("/")
    repository = store.make_bucket(bucket) / prefix
    repository.mkdir(parents=True)
    registry = stack.enter_context(ModelRegistry(folder))
    say("training, exporting and registering three versions of a classifier")
    registry.train(MODEL)
    say("starting Triton on the bucket, and the proxy")
    domino = stack.enter_context(DominoStandIn())
    api_key = secrets.token_urlsafe(24)
    domino.add_user(USER, api_key=api_key)
    triton = stack.enter_context(Triton(repository, triton_wheels(), log=folder / "triton.log"))
    settings = {"REQUIRE_MODEL_VERSION": "false"}
    proxy = stack.enter_context(Proxy(triton.grpc_url, domino.url, log=folder / "proxy.log", settings=settings))
    return {
        **python_environment(),
        **store.environment,
        "MLFLOW_TRACKING_URI": registry.url,
        "MM_ADDR": proxy.addr,
        "DOMINO_USER_API_KEY": api_key,
    }


def _run(step: Step, environment: dict[str, str]) -> list[str]:
    print(f"\n── {step.what}\n$ mm-publish {shlex.join(step.words)}", flush=True)
    done = subprocess.run(  # noqa: S603  our own command
        [sys.executable, "-P", "-m", "mm_publisher", *step.words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode == step.status:
        return []
    return [f"mm-publish {step.words[0]} ended with {done.returncode}, expected {step.status}"]


class _Callers:
    """Clients that infer without a pause."""

    def __init__(self, addr: str, api_key: str) -> None:
        self._addr = addr
        self._api_key = api_key
        self._stopping = threading.Event()
        self._counting = threading.Lock()
        self.answers: Counter[tuple[str, str]] = Counter()
        self.errors: list[str] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._call) for _ in range(_CALLERS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _call(self) -> None:
        with TritonClient(self._addr, credentials=ApiKey(self._api_key)) as client:
            while not self._stopping.is_set():
                try:
                    result = client.infer(MODEL, {"measurements": _FLOWER}, outputs=["probabilities"])
                except TritonClientError as error:
                    with self._counting:
                        self.errors.append(str(error))
                    continue
                answer = "[" + " ".join(f"{value:.3f}" for value in result.outputs["probabilities"][0]) + "]"
                with self._counting:
                    self.answers[result.model_version, answer] += 1
                # The demo is about publishing; Triton and the publisher want the processor, too.
                self._stopping.wait(0.02)


if __name__ == "__main__":
    sys.exit(main())
