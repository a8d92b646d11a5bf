"""A unary call to Triton of which the test says what comes."""

from __future__ import annotations

from triton_proxy.triton.direct.calls import Call


class GivenCall(Call):
    """A call that a test answers, or fails."""

    def end(self, outcome: BaseException | bytes) -> None:
        """Ends it so, unless it is over."""
        if isinstance(outcome, BaseException):
            self.fail(outcome)
        elif not self.done():
            self._future.set_result(outcome)


def ended(outcome: BaseException | bytes) -> GivenCall:
    """A call that is over."""
    call = GivenCall()
    call.end(outcome)
    return call
