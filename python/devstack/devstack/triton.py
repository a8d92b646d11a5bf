"""A real Triton Inference Server on this machine, polling a model repository."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import time
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from devstack.child import Child, unused_folder
from devstack.ports import ADDRESS, free_ports
from devstack.triton_wheels import TritonHome

_POLL_SECONDS = 0.02
_ATTEMPTS = 5
_LOG_TAIL_LINES = 25
# A port that another process took meanwhile, and Triton's python backend, which now and then dies on a lock of its own
# while many models load at once: both pass.
_TRY_AGAIN = re.compile(
    r"already in use|Address already in use|Unable to start (HTTP|Metrics) server|boost::interprocess::lock_exception"
)
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  where POSIX shared memory lives


class TritonError(Exception):
    """Triton did not start, or a model did not become ready; the text has Triton's own words."""


class Triton:
    """A tritonserver process in poll mode; as a context manager it is started on entry and stopped on exit.

    It and its Python stubs die with this process, and leave neither shared memory nor temporary files.

    Args:
        repository: the model repository.
        wheels: folders of unpacked wheels, as `triton_wheels.triton_wheels` finds them.
        log: file that Triton's output is appended to.
        poll_secs: seconds between two looks at the repository.
        grpc_port: port of the gRPC endpoint; 0 picks a free one, which `restart` then keeps.
        http_port: port of the HTTP endpoint, likewise.
        metrics_port: port of the Prometheus endpoint, likewise.
        auto_complete_config: let Triton fill in what a config.pbtxt leaves out. Each model then costs about 0.3 s
            more at the start.
        options: more of tritonserver's options, such as "--trace-config=level=TIMESTAMPS".
    """

    def __init__(
        self,
        repository: Path,
        wheels: Sequence[Path],
        *,
        log: Path,
        poll_secs: int = 1,
        grpc_port: int = 0,
        http_port: int = 0,
        metrics_port: int = 0,
        auto_complete_config: bool = False,
        options: Sequence[str] = (),
    ) -> None:
        self._repository = repository
        self._wheels = wheels
        self._log = log
        self._poll_secs = poll_secs
        self._wanted_ports = [grpc_port, http_port, metrics_port]
        self._ports = self._wanted_ports
        self._auto_complete_config = auto_complete_config
        self._options = tuple(options)
        self._child: Child | None = None

    @property
    def grpc_url(self) -> str:
        """Address of the gRPC endpoint, such as "127.0.0.1:8001"."""
        return f"{ADDRESS}:{self._ports[0]}"

    @property
    def http_url(self) -> str:
        """URL of the HTTP endpoint, such as "http://127.0.0.1:8000"."""
        return f"http://{ADDRESS}:{self._ports[1]}"

    @property
    def metrics_url(self) -> str:
        """URL of the metrics, such as "http://127.0.0.1:8002/metrics"."""
        return f"http://{ADDRESS}:{self._ports[2]}/metrics"

    @property
    def pid(self) -> int:
        """Process id of tritonserver.

        Raises:
            TritonError: it was not started.
        """
        if self._child is None:
            raise TritonError("Triton is not running; call start() first")
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    def start(self, timeout: float = 60.0) -> None:
        """Starts Triton and waits until it has tried to load every model and answers on gRPC.

        A model that failed to load does not stop the start; see `wait_ready`.

        Args:
            timeout: longest wait in seconds.

        Raises:
            TritonError: it ended or did not answer in time; the text has the end of its log.
            TritonWheelsError: they lack a part of Triton.
        """
        deadline = time.monotonic() + timeout
        for _ in range(_ATTEMPTS):
            self._ports = free_ports(self._wanted_ports)
            log_start = self._log.stat().st_size if self._log.exists() else 0
            self._child = self._launch()
            try:
                if self._wait_live(deadline):
                    return
            except BaseException:
                self.stop()
                raise
            self.stop()
            logged = self._log.read_bytes()[log_start:].decode(errors="replace")
            if not _TRY_AGAIN.search(logged):
                break
        tail = "\n".join(logged.splitlines()[-_LOG_TAIL_LINES:])
        raise TritonError(f"Triton did not start within {timeout:g} s; the end of {self._log}:\n{tail}")

    def wait_ready(self, models: Sequence[str] | None = None, timeout: float = 30.0) -> None:
        """Waits until models are ready in every version that Triton tries to serve.

        Args:
            models: names of models; None means all in the repository.
            timeout: longest wait in seconds.

        Raises:
            TritonError: one is not ready in time; the text has the reason that Triton gives.
        """
        deadline = time.monotonic() + timeout
        reasons: dict[str, str] = {}
        while True:
            waiting = self._not_ready(models, reasons)
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise TritonError(f"not ready after {timeout:g} s: {'; '.join(waiting)}. Triton's log is {self._log}")
            time.sleep(_POLL_SECONDS)

    def request_count(self, model: str) -> int:
        """Asks Triton how many inference requests for a model reached it, failed ones included.

        Triton counts a request when it is done with it, which may be a moment after its answer arrived.

        Its metrics tell: the counts of its ModelStatistics (2.51) miss requests that ended at the same time.

        Args:
            model: name of a model.

        Returns:
            The number since Triton started, over all versions.
        """
        return self._metric("nv_inference_request_success", model) + self._metric("nv_inference_request_failure", model)

    def pending_count(self, model: str) -> int:
        """Asks Triton how many requests wait in its queue for a model, over all versions.

        Args:
            model: name of a model.
        """
        return self._metric("nv_inference_pending_request_count", model)

    def _metric(self, name: str, model: str) -> int:
        with urllib.request.urlopen(self.metrics_url, timeout=5) as answer:  # noqa: S310  the URL is our own
            text = answer.read().decode()
        return sum(int(value) for value in re.findall(rf'^{name}{{model="{re.escape(model)}",.*}} (\d+)$', text, re.M))

    def kill(self) -> None:
        """Sends SIGKILL to Triton and its stubs at once, as a crash would, and waits until they are gone."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def stop(self) -> None:
        """Ends Triton: SIGTERM first, then SIGKILL for whatever is left of its process group."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def restart(self, timeout: float = 60.0) -> None:
        """Stops Triton if it runs and starts it again on the same ports.

        Args:
            timeout: longest wait for the start in seconds.

        Raises:
            TritonError: as for `start`.
        """
        self.stop()
        self._wanted_ports = self._ports
        self.start(timeout)

    def __enter__(self) -> Triton:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self) -> Child:
        folder = unused_folder("devstack-triton-")
        try:
            folder.mkdir(0o700)
            home = TritonHome(folder, self._wheels)
            shared_memory = f"devstack_{uuid.uuid4().hex}_"
            grpc_port, http_port, metrics_port = self._ports
            command = [
                str(home.executable),
                f"--model-repository={self._repository.absolute()}",
                f"--backend-directory={home.backends}",
                f"--backend-config=python,shm-region-prefix-name={shared_memory}",
                "--model-control-mode=poll",
                f"--repository-poll-secs={self._poll_secs}",
                # One broken model must not take the others down.
                "--exit-on-error=false",
                f"--grpc-address={ADDRESS}",
                f"--grpc-port={grpc_port}",
                f"--http-address={ADDRESS}",
                f"--http-port={http_port}",
                f"--metrics-address={ADDRESS}",
                f"--metrics-port={metrics_port}",
                "--exit-timeout-secs=1",
                *self._options,
            ]
            if not self._auto_complete_config:
                command.append("--disable-auto-complete-config")
            return Child(
                command,
                env=home.environment,
                log=self._log,
                remove=[str(folder), f"{_SHARED_MEMORY / shared_memory}*"],
                # Triton takes 2-3 s to unload idle models, and nothing of it is worth waiting for here.
                grace=0.5,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _wait_live(self, deadline: float) -> bool:
        while self.running and time.monotonic() < deadline:
            if self._is_live():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _is_live(self) -> bool:
        try:
            # Bare connections first: a gRPC channel that was refused waits a second before it tries again, and the
            # other two endpoints open after the gRPC one.
            for port in self._ports:
                socket.create_connection((ADDRESS, port), timeout=1).close()
            with self._client() as client:
                return bool(client.is_server_live(client_timeout=5))
        except (OSError, InferenceServerException):
            return False

    def _not_ready(self, models: Sequence[str] | None, reasons: dict[str, str]) -> list[str]:
        """Returns a line for each model that is not ready; `reasons` keeps the last that Triton gave for each.

        Triton tries a model that failed again at each poll, and forgets the reason while it does.
        """
        try:
            with self._client() as client:
                index = client.get_model_repository_index(client_timeout=5).models
        except InferenceServerException as error:
            return [f"Triton does not answer ({error})"]
        lines = [f"{name}: not in the repository" for name in models or () if name not in {m.name for m in index}]
        for model in index:
            wanted = models is None or model.name in models
            if wanted and model.state != "READY":
                version = f"{model.name} {model.version}".strip()
                reasons[version] = model.reason or reasons.get(version, "")
                lines.append(f"{version}: {model.state or 'not loaded'} {reasons[version]}".strip())
        return lines

    def _client(self) -> contextlib.AbstractContextManager[Any]:
        client: contextlib.AbstractContextManager[Any] = grpcclient.InferenceServerClient(self.grpc_url)
        return client
