"""A real S3 server on this machine: versitygw, whose buckets are folders, as a mount of S3 shows them to Triton."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path

from devstack.child import Child
from devstack.ports import ADDRESS, free_ports
from devstack.runfiles import runfiles

BINARY_VARIABLE = "VERSITYGW"
_RUNFILE = "versitygw/bin/versitygw"
_SECONDS = 20.0
_POLL_SECONDS = 0.05


class ObjectStoreError(Exception):
    """The S3 server is missing or did not start; the text says why."""


def versitygw() -> Path:
    """Finds the program: in the environment variable VERSITYGW, then in Bazel's runfiles.

    Raises:
        ObjectStoreError: it is in neither.
    """
    if BINARY_VARIABLE in os.environ:
        return Path(os.environ[BINARY_VARIABLE])
    for found in runfiles(_RUNFILE):
        return found
    raise ObjectStoreError(
        f"no versitygw in ${BINARY_VARIABLE} or Bazel's runfiles; give the Bazel target data from @versitygw//:tool, "
        f"or set {BINARY_VARIABLE} to the program"
    )


class ObjectStore:
    """A running S3 server; a context manager.

    Args:
        folder: an empty folder for what it keeps.

    Attributes:
        access_key: of the only user.
        secret_key: the user's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = 0
        self._child: Child | None = None
        self.access_key = "devstack"
        self.secret_key = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """What AWS_ENDPOINT_URL_S3 is to be."""
        return f"http://{ADDRESS}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes boto3 use it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            # Nobody asks a cloud's metadata service who this machine is.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self, name: str) -> Path:
        """Makes a bucket; returns the folder whose files are its objects."""
        folder = self._folder / "buckets" / name
        folder.mkdir(parents=True)
        return folder

    def start(self) -> None:
        """Starts it and waits until it listens.

        Raises:
            ObjectStoreError: it does not, or is missing.
        """
        (self._folder / "buckets").mkdir(exist_ok=True)
        (self._folder / "metadata").mkdir(exist_ok=True)
        program = versitygw()
        self._port = free_ports([self._port])[0]
        self._child = Child(
            # Attributes of objects lie beside: not every file system has extended ones.
            # With O_TMPFILE another name would come and go beside each object that is replaced: where one does while
            # Triton lists the folder, Triton unloads all models until its next poll.
            [str(program), "--port", f"{ADDRESS}:{self._port}", "posix", "--disableotmp",
             "--sidecar", str(self._folder / "metadata"), str(self._folder / "buckets")],
            env={"PATH": os.defpath, "ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
            log=self._folder / "versitygw.log",
        )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and self._child.poll() is None:
            try:
                socket.create_connection((ADDRESS, self._port), timeout=1).close()
            except OSError:
                time.sleep(_POLL_SECONDS)
            else:
                return
        self.stop()
        logged = (self._folder / "versitygw.log").read_text(errors="replace")
        raise ObjectStoreError(f"versitygw did not start: {logged[-500:]}")

    def stop(self) -> None:
        """Ends it; what it keeps stays."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def __enter__(self) -> ObjectStore:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
