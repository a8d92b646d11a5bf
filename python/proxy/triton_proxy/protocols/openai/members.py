"""Reading the members of a request's JSON, and why one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mm_service.status import Code
from triton_proxy.protocols.rest.refused import BodyRefused, quoted


class RequestRefused(BodyRefused):
    """The request can't be served. The text says what was wrong, what was expected, and what to do.

    Attributes:
        param: the member that it is about; None where that is none.
        code: the status that the request ends with.
    """

    def __init__(self, text: str, param: str | None = None, code: Code = Code.INVALID_ARGUMENT) -> None:
        """Says what was wrong.

        Args:
            text: see there.
            param: see there.
            code: see there.
        """
        super().__init__(text)
        self.param = param
        self.code = code


class Members:
    """The members of an object, each taken once. Null is as if the member was not there, as OpenAI has it."""

    def __init__(self, given: Mapping[str, Any], where: str = "") -> None:
        """Nothing was taken.

        Args:
            given: the object.
            where: its place in the request, such as `messages[0].`.
        """
        self._left = {name: value for name, value in given.items() if value is not None}
        self._where = where

    def refuse(self, name: str, given: object, expected: str) -> RequestRefused:
        """Says that a member is not what was expected."""
        param = self._where + name
        return RequestRefused(f"{param} is {quoted(given)}; expected {expected}", param)

    def take(self, name: str, default: Any = None) -> Any:
        """A member, whatever it is."""
        return self._left.pop(name, default)

    def required(self, name: str, expected: str) -> Any:
        """A member that must be there.

        Raises:
            RequestRefused: it is not.
        """
        if name not in self._left:
            param = self._where + name
            raise RequestRefused(f"{param} is missing; send {expected}", param)
        return self._left.pop(name)

    def text(self, name: str, default: str | None = None) -> str | None:
        """A text.

        Raises:
            RequestRefused: it is none.
        """
        given = self._left.pop(name, default)
        if given is not None and not isinstance(given, str):
            raise self.refuse(name, given, "a text")
        return given

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Whether a member is true; the default where it is not there.

        Raises:
            RequestRefused: it is neither.
        """
        given = self._left.pop(name, default)
        if not isinstance(given, bool):
            raise self.refuse(name, given, "true or false")
        return given

    def integer(self, name: str, least: int, most: int) -> int | None:
        """An integer within bounds.

        Raises:
            RequestRefused: it is none.
        """
        given = self._left.pop(name, None)
        if given is not None and (isinstance(given, bool) or not isinstance(given, int) or not least <= given <= most):
            raise self.refuse(name, given, f"an integer from {least} to {most}")
        return given

    def number(self, name: str, least: float, most: float) -> float | None:
        """A number within bounds.

        Raises:
            RequestRefused: it is none.
        """
        given = self._left.pop(name, None)
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int | float) or not least <= given <= most:
            raise self.refuse(name, given, f"a number from {least:g} to {most:g}")
        return given

    def object(self, name: str) -> Members | None:
        """An object's members.

        Raises:
            RequestRefused: it is no object.
        """
        given = self._left.pop(name, None)
        if given is None:
            return None
        if not isinstance(given, dict):
            raise self.refuse(name, given, "an object")
        return Members(given, f"{self._where}{name}.")

    def list(self, name: str, most: int) -> list[Any] | None:
        """A list.

        Raises:
            RequestRefused: it is none, or longer than that.
        """
        given = self._left.pop(name, None)
        if given is not None and (not isinstance(given, list) or len(given) > most):
            raise self.refuse(name, given, f"a list of at most {most}")
        return given

    def unserved(self, name: str, why: str, *served: Any) -> None:
        """Takes a member that has no effect with some values and is not served with any other.

        Args:
            name: the member.
            why: what is to be done instead.
            served: the values.

        Raises:
            RequestRefused: it is another.
        """
        given = self._left.pop(name, None)
        if given is not None and not any(type(given) is type(each) and given == each for each in served):
            param = self._where + name
            raise RequestRefused(f"{param} is {quoted(given)}, which is not served; {why}", param)

    def end(self, *served: str) -> None:
        """Returns where every member was taken.

        Args:
            served: what there is instead.

        Raises:
            RequestRefused: one was not.
        """
        if self._left:
            param = self._where + next(iter(self._left))
            raise RequestRefused(f"{quoted(param)} is not served; leave it out, or send {' or '.join(served)}", param)

    def rest(self) -> dict[str, Any]:
        """All members that were not taken."""
        left, self._left = self._left, {}
        return left
