"""Asking the proxy whether a version serves: with a request to it, by the publisher's own credentials."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from mm_client_api import (
    AccessDenied,
    AckError,
    AuthenticationError,
    CallError,
    ConfigurationError,
    Credentials,
    DeadlineExceeded,
    InferenceRequest,
    LimitExceeded,
    NotAProxy,
    ProxyUnavailable,
    TritonClient,
    TritonClientError,
    encode,
)
from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused, Unavailable, UsageError
from mm_publisher.trial import free_sizes, zeros

DEFAULT_READY_SECS = 180.0
_LOOK_SECONDS = 0.25
# Triton's words for a version that is not loaded, and gRPC's for a Triton that is not there.
_NOT_LOADED = re.compile(
    r"is not found|not at ready state|unknown model|no available versions|failed to connect|connection|unavailable"
    r"|socket closed|timeout|shutting down|exiting",
    re.IGNORECASE,
)
# The end of our own deadline, which is short for the last question: no word of Triton's, and it replaces none.
_LATE = re.compile(r"deadline exceeded", re.IGNORECASE)
_NOTHING = "nothing was heard"
# A version that is loaded and refuses what it is asked does not get better by waiting; it may be just about to go.
_REFUSALS = 4
_LONGEST_ANSWER_SECS = 60.0
# What no waiting mends.
_FATAL = (AuthenticationError, AccessDenied, NotAProxy)

Sample = Mapping[str, NDArray[Any]]


class NotReadyError(Exception):
    """The version did not answer in time, or answers with errors; the text is Triton's, by way of the proxy."""


class NotGoneError(Exception):
    """A version that is to stop still answers."""


class _OddError(Exception):
    """An answer, but not that of the version as it was configured."""


class Server(Protocol):
    """Finds out whether a version serves."""

    def check(self, model: str, version: int, config: ModelConfig) -> None:
        """Makes sure, before anything is written, that it can be asked for this model at all.

        Raises:
            Refused: the credentials, or the rights that they have, do not allow it.
            Unavailable: it does not answer.
        """

    def wait(self, model: str, version: int, config: ModelConfig) -> str:
        """Waits until a version answers.

        Returns:
            How it was seen, in words.

        Raises:
            NotReadyError: it does not.
        """

    def wait_gone(self, model: str, version: int, config: ModelConfig) -> None:
        """Waits until a version no longer answers.

        Raises:
            NotGoneError: it still does.
        """


@dataclass(frozen=True)
class Proxy:
    """The proxy in front of Triton.

    Attributes:
        addr: HOST:PORT.
        credentials: who is asking; None looks in Domino's usual places.
        tls: whether to encrypt.
        ca_bundle: PEM file of the authorities to trust.
        sample: inputs to ask with instead of zeros, with the batch dimension.
        ready_secs: longest wait for a version: Triton looks at its repository every 30 s in a usual deployment, and
            then loads.
        say: takes a line about what is being waited for.
    """

    addr: str
    credentials: Credentials | None = None
    tls: bool = False
    ca_bundle: str | None = None
    sample: Sample | None = None
    ready_secs: float = DEFAULT_READY_SECS
    say: Callable[[str], None] = lambda _: None

    def check(self, model: str, version: int, config: ModelConfig) -> None:
        """See `Server.check`."""
        with self._client() as client:
            try:
                self._ask(client, model, version, config, free=1, secs=10)
            except AckError:
                # Known and allowed; that this version does not answer yet is as it should be.
                pass
            except _FATAL as error:
                raise Refused(
                    f"the proxy {self.addr} does not let {model} be asked: {error} Nothing was written"
                ) from error
            except TritonClientError as error:
                raise Unavailable(
                    f"the proxy {self.addr} cannot be asked whether a version serves: {error} Nothing was written; "
                    "--no-wait publishes without asking"
                ) from error

    def wait(self, model: str, version: int, config: ModelConfig) -> str:
        """See `Server.wait`."""
        started = time.monotonic()
        refusals, last = 0, _NOTHING
        sizes = list(free_sizes(config))
        with self._client() as client:
            while (left := started + self.ready_secs - time.monotonic()) > 0:
                try:
                    free = sizes[refusals % len(sizes)]
                    self._ask(client, model, version, config, free=free, secs=min(left, _LONGEST_ANSWER_SECS))
                except (AckError, ProxyUnavailable, DeadlineExceeded, LimitExceeded, _OddError) as error:
                    detail = str(getattr(error, "detail", error))
                    late = _LATE.search(detail) is not None
                    if last != detail and not (late and last != _NOTHING):
                        last = detail
                        self.say(f"version {version}: {last}")
                    refused = isinstance(error, (AckError, _OddError)) and not late and not _NOT_LOADED.search(detail)
                    refusals = refusals + 1 if refused else 0
                    if refusals >= _REFUSALS * len(sizes):
                        zeros = "" if self.sample else ". It was asked for inputs of zeros; give others with --sample"
                        raise NotReadyError(
                            f"version {version} is loaded and answers with an error: {last}{zeros}"
                        ) from error
                except CallError as error:
                    raise NotReadyError(f"the proxy could not be asked: {error}") from error
                else:
                    return f"version {version} answered after {time.monotonic() - started:.1f} s"
                time.sleep(min(_LOOK_SECONDS, max(left, 0)))
        raise NotReadyError(
            f"version {version} was not ready within {self.ready_secs:g} s; the last word was: {last}. Triton's log "
            "says why it did not load"
        )

    def wait_gone(self, model: str, version: int, config: ModelConfig) -> None:
        """See `Server.wait_gone`."""
        deadline = time.monotonic() + self.ready_secs
        with self._client() as client:
            while time.monotonic() < deadline:
                try:
                    self._ask(client, model, version, config, free=1, secs=_LONGEST_ANSWER_SECS)
                except (AckError, CallError) as error:
                    if isinstance(error, AckError) and _NOT_LOADED.search(error.detail):
                        return
                except _OddError:
                    pass
                time.sleep(_LOOK_SECONDS)
        raise NotGoneError(f"version {version} still answers after {self.ready_secs:g} s")

    def _client(self) -> TritonClient:
        try:
            return TritonClient(self.addr, credentials=self.credentials, tls=self.tls, ca_bundle=self.ca_bundle)
        except ConfigurationError as error:
            raise UsageError(f"the proxy cannot be asked: {error}") from error

    def _ask(
        self, client: TritonClient, model: str, version: int, config: ModelConfig, *, free: int, secs: float
    ) -> None:
        """Asks in a thread of its own.

        SIGTERM and Ctrl-C raise in the main thread, wherever that is. In the middle of grpc's own code it would leave
        with one of grpc's locks held, and everything that then needs it would wait for ever.
        """
        outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

        def ask() -> None:
            try:
                self._ask_here(client, model, version, config, free=free, secs=secs)
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
                outcome.put(error)
            else:
                outcome.put(None)

        threading.Thread(target=ask, name="mm-publish-ask", daemon=True).start()
        error = outcome.get()
        if error is not None:
            raise error

    def _ask_here(
        self, client: TritonClient, model: str, version: int, config: ModelConfig, *, free: int, secs: float
    ) -> None:
        for result in client.stream(self._requests(model, version, config, free, secs), deadline_secs=secs):
            result.raise_for_status()
            if result.model_version != str(version):
                raise _OddError(f"version {result.model_version} answered for version {version}")
            if result.missing:
                raise _OddError(f"the answer lacks {', '.join(result.missing)}, which config.pbtxt names")

    def _requests(
        self, model: str, version: int, config: ModelConfig, free: int, secs: float
    ) -> Iterator[InferenceRequest]:
        inputs = {}
        for tensor in config.inputs:
            if self.sample is not None:
                array = self.sample.get(tensor.name)
            else:
                array = (
                    None
                    if tensor.optional
                    else zeros(tensor, batching=config.max_batch_size > 0, free=free, as_model=False)
                )
            if array is not None:
                inputs[tensor.name] = encode(array, "BF16") if tensor.datatype == "BF16" else array
        request = InferenceRequest(model, inputs, [tensor.name for tensor in config.outputs], str(version), secs)
        if not config.stateful:
            yield request
            return
        # A sequence of its own has a first and a last.
        for start in (True, False):
            yield InferenceRequest(
                model, inputs, request.outputs, str(version), secs, sequence_start=start, sequence_end=not start
            )
