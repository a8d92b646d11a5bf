"""What all pages have: the settings, a client of the proxy, results, and how many runs may go on at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mm_client_api import Model, TritonClient
from mm_console.access import Access
from mm_console.metrics import Watch
from mm_console.pages import Pages
from mm_console.problems import Problem
from mm_console.results import Results
from mm_console.samples import Samples

# Each holds a thread, and a picture or a video in memory.
_MOST_RUNS = 4


@dataclass(frozen=True)
class Settings:
    """How the console was started.

    Attributes:
        addr: HOST:PORT of the proxy.
        tls: whether the connection to it is encrypted.
        ca_bundle: PEM file of the authorities to trust; empty for the usual ones.
        timeout_secs: longest time that Triton may take for one request.
        http_url: of the proxy's REST, for code to paste; may be empty.
        metrics_url: of the proxy's metrics; empty where it has none for us.
        scale_url: of the scale service; likewise.
        max_upload_mb: most MiB of an upload.
    """

    addr: str
    tls: bool = False
    ca_bundle: str = ""
    timeout_secs: float = 600.0
    http_url: str = ""
    metrics_url: str = ""
    scale_url: str = ""
    max_upload_mb: int = 256


class Console:
    """One running console.

    Attributes:
        settings, client, access: as given.
        pages, results, samples, uploads: see these; `uploads` is a folder.
        watch: reads the metrics; None where no address of them is known.
    """

    def __init__(self, settings: Settings, client: TritonClient, access: Access, folder: Path) -> None:
        """Begin with nothing.

        Args:
            settings: see there.
            client: of the proxy; for each call it asks for the credentials of the person that started the console.
            access: decides which callers get in.
            folder: an empty folder, which goes with the process.
        """
        self.settings = settings
        self.client = client
        self.access = access
        self.pages = Pages(access.form_token)
        for name in ("results", "samples", "uploads"):
            (folder / name).mkdir()
        self.results = Results(folder / "results")
        self.samples = Samples(folder / "samples")
        self.uploads = folder / "uploads"
        self.watch = Watch(settings.metrics_url) if settings.metrics_url else None
        self._runs = threading.BoundedSemaphore(_MOST_RUNS)

    @contextlib.contextmanager
    def watching_metrics(self) -> Iterator[None]:
        """Read the metrics in a thread, for as long as this lasts."""
        if self.watch is None:
            yield
            return
        thread = threading.Thread(target=self.watch.run, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.watch.stop()
            thread.join()

    def model(self, name: str, version: str) -> Model:
        """Return a model.

        Raises:
            ModelNotFound, ModelNotReady, CallError: as `TritonClient.model`.
        """
        return self.client.model(name, version, timeout_secs=self.settings.timeout_secs)

    @contextlib.contextmanager
    def one_run(self) -> Iterator[None]:
        """Take one of the places for runs.

        Raises:
            Problem: all are taken.
        """
        if not self._runs.acquire(blocking=False):
            raise Problem(
                f"{_MOST_RUNS} runs are under way.",
                f"At most {_MOST_RUNS} at once.",
                "Wait until one of them has ended, and try again.",
                503,
            )
        try:
            yield
        finally:
            self._runs.release()
