"""A lease on one model of a repository: of two publishers one waits, and one that was killed is not waited for long.

Leases are numbered, and each is created only if nobody else did: the publisher with the highest number holds the model
until it is released, or was not renewed for longer than it says. A publisher that slept through that finds a higher
number and stops, whatever its own clock says. Ages are those of the store's clock.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType

from mm_publisher.errors import Busy, PublisherError, Unavailable
from mm_publisher.storage import Storage

DEFAULT_SECS = 30.0
_LOOK_SECONDS = 0.5


def me() -> str:
    """This publisher's name, for people to read: user, machine and process."""
    with contextlib.suppress(OSError, KeyError):
        return f"{os.environ.get('DOMINO_STARTING_USERNAME') or getpass.getuser()}@{socket.gethostname()}"
    return f"uid {os.getuid()}@{socket.gethostname()}"


class Lease:
    """The right to change one model; a context manager.

    Args:
        storage: the repository.
        model: the model's name.
        secs: how long it holds without being renewed; it is renewed three times as often.
        wait_secs: longest wait for somebody else's.
        say: takes a line about what is being waited for.
    """

    def __init__(
        self,
        storage: Storage,
        model: str,
        *,
        secs: float = DEFAULT_SECS,
        wait_secs: float,
        say: Callable[[str], None],
    ) -> None:
        self._storage = storage
        self._model = model
        self._secs = secs
        self._wait_secs = wait_secs
        self._say = say
        self._pattern = re.compile(rf"\.mm-publish\.lease\.(\d{{8}})\.{re.escape(model)}\.json")
        self._content = {"owner": f"{me()}, process {os.getpid()}", "token": uuid.uuid4().hex, "secs": float(secs)}
        self._number = 0
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None

    def __enter__(self) -> Lease:
        """Waits for it and takes it.

        Raises:
            Busy: somebody else holds it all the time.
            Unavailable: the store failed, or does not keep two publishers apart.
        """
        deadline = time.monotonic() + self._wait_secs
        announced = ""
        while not self._take():
            holder = self._holder()
            if time.monotonic() >= deadline:
                raise Busy(
                    f"{self._model} is being published by {holder}, who has renewed the lease within its time; nothing "
                    f"was changed. Waited {self._wait_secs:g} s; try again when that is done, or wait longer "
                    "(--wait-for-lease)"
                )
            if holder != announced:
                self._say(f"waiting for {holder}, who publishes {self._model}")
                announced = holder
            time.sleep(min(_LOOK_SECONDS, self._secs / 4))
        self._renewing = threading.Thread(target=self._renew, name="mm-publish-lease", daemon=True)
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._renewing is not None:
            self._renewing.join()
        # What went wrong before must not be hidden; the lease runs out by itself.
        with contextlib.suppress(PublisherError):
            if self._highest() == self._number:
                self._storage.write(self._path(self._number), self._text(released=True))

    def check(self) -> None:
        """Makes sure that it is still held; to be called before what must not happen without it.

        Raises:
            Busy: somebody else has taken it over.
        """
        if self._highest() != self._number:
            raise Busy(
                f"{self._holder()} has taken {self._model} over, because this process did not renew its lease within "
                f"{self._secs:g} s; nothing more was changed. Publish again when that is done"
            )
        self._storage.write(self._path(self._number), self._text(released=False))

    def _take(self) -> bool:
        highest = self._highest()
        if highest and not self._free(highest):
            return False
        number = highest + 1
        if not self._storage.swap(self._path(number), self._text(released=False), was=None):
            return False
        if self._storage.swap(self._path(number), b"{}", was=None):
            if self._highest() != number:
                # This process slept so long that somebody else has taken it over and removed it.
                return False
            raise Unavailable(
                f"{self._storage.url} overwrites what it was asked to create only (If-None-Match): it cannot keep two "
                "publishers apart. Use a store with conditional writes, or publish through a mount of it"
            )
        self._number = number
        for older in self._numbers():
            if older < number:
                self._storage.delete(self._path(older))
        return True

    def _free(self, number: int) -> bool:
        path = self._path(number)
        found = _parsed(self._storage.read(path))
        age = self._storage.age_secs(path)
        secs = found.get("secs")
        return age is None or bool(found.get("released")) or age > (secs if isinstance(secs, float) else DEFAULT_SECS)

    def _renew(self) -> None:
        while not self._ended.wait(self._secs / 3):
            # It may fail for a while; `check` decides.
            with contextlib.suppress(PublisherError):
                if self._highest() == self._number:
                    self._storage.write(self._path(self._number), self._text(released=False))

    def _numbers(self) -> list[int]:
        found = (self._pattern.fullmatch(item.path) for item in self._storage.list(".mm-publish.lease."))
        return [int(match[1]) for match in found if match]

    def _highest(self) -> int:
        return max(self._numbers(), default=0)

    def _holder(self) -> str:
        return str(_parsed(self._storage.read(self._path(self._highest()))).get("owner", "somebody"))

    def _path(self, number: int) -> str:
        return f".mm-publish.lease.{number:08d}.{self._model}.json"

    def _text(self, *, released: bool) -> bytes:
        return json.dumps({**self._content, "released": released}).encode()


def _parsed(data: bytes | None) -> dict[str, object]:
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        # Being written, on a mount where that takes two steps.
        return {}
    return found if isinstance(found, dict) else {}
