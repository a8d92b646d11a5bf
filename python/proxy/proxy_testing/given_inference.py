"""An inference that answers what, and when, a test says: what stands for Triton where no server is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from triton_proxy.inference.answer import Answer, InferenceCancelled
from triton_proxy.triton.inference import Inference


class GivenInference(Inference):
    """Gives the answers of a test in their order; one that is an exception is raised. Not for several threads.

    Attributes:
        decoupled: see `Inference`.
        milliseconds: see `Inference`.
        cancelled: whether `cancel` was called.
        done: whether it has answered, or will not.
        stays: whether Triton is at work on it until `forget`, whenever it is done here.
    """

    milliseconds = 12.5

    def __init__(self, *given: Answer | Exception, decoupled: bool = True) -> None:
        """Is under way until `finish` or `cancel`.

        Args:
            given: what comes of it.
            decoupled: whether there may be any number of answers.
        """
        self.decoupled = decoupled
        self.cancelled = False
        self.done = False
        self.stays = False
        self._left_callbacks: list[Callable[[], None]] = []
        self._given = list(given)
        self._answer_bytes = 0
        self._callbacks: list[Callable[[int], None]] = []

    def give(self, *given: Answer | Exception) -> None:
        """Adds what comes of it."""
        self._given += given

    def finish(self, answer_bytes: int = 0) -> None:
        """Has answered; says so to those that were to be called back.

        Args:
            answer_bytes: held of the answer until it is taken.
        """
        if not self.done:
            self.done = True
            self._answer_bytes = answer_bytes
            for callback in self._callbacks:
                callback(answer_bytes)

    def add_done_callback(self, callback: Callable[[int], None]) -> None:
        """See `Inference`; at once where it is done."""
        if self.done:
            callback(self._answer_bytes)
        else:
            self._callbacks.append(callback)

    @property
    def left(self) -> bool:
        """See `Inference`."""
        return self.done and self.stays

    def add_left_callback(self, callback: Callable[[], None]) -> None:
        """See `Inference`."""
        if self.stays:
            self._left_callbacks.append(callback)
        else:
            super().add_left_callback(callback)

    def forget(self) -> None:
        """Triton is done with it, too."""
        self.stays = False
        for callback in self._left_callbacks:
            callback()

    def wait(self) -> None:
        """Nothing is to be waited for where a test goes step by step.

        Raises:
            AssertionError: it is not done.
        """
        assert self.done, "the test would wait for ever"  # noqa: S101 - a mistake of the test

    def cancel(self) -> None:
        """See `Inference`; it is done then."""
        self.cancelled = True
        self.finish()

    def answers(self) -> Iterator[Answer]:
        """See `Inference`.

        Raises:
            AssertionError: neither was the inference cancelled nor is there an answer, which a real one waits for.
        """
        while True:
            if self.cancelled:
                raise InferenceCancelled
            assert self._given, "the test would wait for ever"  # noqa: S101 - a mistake of the test
            given = self._given.pop(0)
            if isinstance(given, Exception):
                raise given
            yield given
            if given.final:
                return
