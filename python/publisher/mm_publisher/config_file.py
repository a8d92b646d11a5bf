"""The one object that a switch replaces: a model's config.pbtxt in the repository."""

from __future__ import annotations

import time

from mm_publisher.config import serial_of
from mm_publisher.errors import Busy, Unavailable
from mm_publisher.repository import config_path
from mm_publisher.storage import Storage

_READ_AGAIN_SECS = (0.5, 1, 2, 4)


class NotWrittenError(Exception):
    """config.pbtxt is not what it was to be; the text says why.

    Attributes:
        there: what it is.
    """

    def __init__(self, text: str, there: str | None) -> None:
        super().__init__(text)
        self.there = there


class ConfigFile:
    """A model's config.pbtxt.

    Args:
        storage: the repository.
        model: the model's name.
    """

    def __init__(self, storage: Storage, model: str) -> None:
        self._storage = storage
        self._model = model
        self._path = config_path(model)

    def text(self) -> str | None:
        """What it says; None where there is none."""
        data = self._storage.read(self._path)
        return None if data is None else data.decode(errors="replace")

    def put(self, text: str, was: str | None) -> None:
        """Replaces it, and makes sure of it.

        Args:
            text: the new one.
            was: the one that is there; None where there is none.

        Raises:
            NotWrittenError: the store did not write it, or not as it should be.
            Busy: somebody else has changed it.
            Unavailable: nobody knows what is there, or Triton would not notice it.
        """
        # Triton reloads a model only when the newest time below its folder has grown.
        newest = self._storage.newest_ns(f"{self._model}/")
        failure = f"{self._path} is not what was just written"
        try:
            done = self._storage.swap(
                self._path, text.encode(), was=None if was is None else was.encode(), newer_than_ns=newest
            )
        except Unavailable as error:
            failure = str(error)
            there = self._read_patiently(failure)
        else:
            there = self.text()
            if not done:
                raise Busy(
                    f"{self._path} was changed by somebody else meanwhile, and was left as it is; run this again to "
                    "see what is there now"
                )
        if there != text:
            raise NotWrittenError(failure, there)
        if self._storage.newest_ns(f"{self._model}/") <= newest:
            raise Unavailable(
                f"{self._path} is not dated later than what was there before, so that Triton would not notice it; "
                "check the clock of the store, and run this again"
            )

    def restore(self, text: str, there: str) -> bool:
        """Writes an old one over what is there now; returns whether it is there then."""
        return self._storage.swap(self._path, text.encode(), was=there.encode()) and self.text() == text

    def _read_patiently(self, failure: str) -> str | None:
        for pause in _READ_AGAIN_SECS:
            time.sleep(pause)
            try:
                return self.text()
            except Unavailable:
                continue
        raise Unavailable(
            f"{failure}\nWhether {self._path} was replaced is not known; the next mm-publish of {self._model} finishes "
            "or undoes it"
        )


def numbered(text: str, serial: int) -> str:
    """A config.pbtxt as it is, under another number."""
    return f"# mm-publish switch {serial}; put back by mm-publish.\n{body(text)}"


def body(text: str) -> str:
    """A config.pbtxt without the line that has its number."""
    return text.partition("\n")[2] if serial_of(text) is not None else text
