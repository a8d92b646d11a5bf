"""A real MLflow server on this machine, and models that are trained and registered there.

MLflow and scikit-learn have packages of their own, and run as processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from devstack.child import Child
from devstack.ports import ADDRESS, free_ports
from devstack.runfiles import runfiles

SITE_VARIABLE = "REGISTRY_SITE"
_RUNFILES = "pip_registry/site-packages"
_TRAIN = Path(__file__).with_name("train.py")
# The first import of what it needs reads half a gigabyte.
_SECONDS = 90.0
_POLL_SECONDS = 0.1


class RegistryError(Exception):
    """The model registry is missing, did not start, or training failed; the text says why."""


def registry_packages() -> str:
    """Finds the folders to import MLflow and scikit-learn from, as PYTHONPATH has them.

    Looked for in the environment variable REGISTRY_SITE, then in Bazel's runfiles.

    Raises:
        RegistryError: neither has them.
    """
    if SITE_VARIABLE in os.environ:
        return os.environ[SITE_VARIABLE]
    for wheels in runfiles(_RUNFILES):
        return os.pathsep.join(str(folder) for folder in sorted(wheels.iterdir()))
    raise RegistryError(
        f"no MLflow in ${SITE_VARIABLE} or Bazel's runfiles; give the Bazel target data from @pip_registry, or set "
        f"{SITE_VARIABLE} to the site-packages of an environment with what bazel/locks/registry.lock has"
    )


class ModelRegistry:
    """A running MLflow server; a context manager.

    Args:
        folder: an empty folder for what it keeps.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """What MLFLOW_TRACKING_URI is to be."""
        return f"http://{ADDRESS}:{self._port}"

    def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            RegistryError: it does not, or is missing.
        """
        (self._port,) = free_ports([0])
        log = self._folder / "mlflow.log"
        self._child = Child(
            [sys.executable, "-P", "-m", "mlflow", "server", "--host", ADDRESS, "--port", str(self._port), "--workers",
             "1", "--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}", "--artifacts-destination",
             str(self._folder / "artifacts")],
            env=self._environment,
            log=log,
        )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):  # noqa: S310  the URL is our own
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(_POLL_SECONDS)
        self.stop()
        raise RegistryError(f"MLflow did not start; the end of its log: {log.read_text(errors='replace')[-1000:]}")

    def train(self, name: str) -> None:
        """Trains, exports and registers three versions of a classifier; see train.py.

        Args:
            name: of the registered model.

        Raises:
            RegistryError: it failed.
        """
        done = subprocess.run(  # noqa: S603  our own script
            [sys.executable, "-P", str(_TRAIN), name],
            env={**self._environment, "MLFLOW_TRACKING_URI": self.url},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RegistryError(f"training failed:\n{done.stderr[-2000:]}")

    def stop(self) -> None:
        """Ends it."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> ModelRegistry:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.defpath,
            "HOME": str(self._folder),
            "PYTHONPATH": registry_packages(),
            "PYTHONDONTWRITEBYTECODE": "1",
            # It tells nobody, and runs no jobs.
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "OMP_NUM_THREADS": "1",
        }
