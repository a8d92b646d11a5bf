from __future__ import annotations

from reference_pages.texts import Text, log_lines, refusals

SOURCE = '''
_FULL = "it is full; try again"
_TEMPLATE = "{what} is " + "wrong"

class Limits:
    def denial(self, user: str) -> str:
        """Says it."""
        return f"{user} may not"

def answer(call, name, error):
    text = f"{self._count} calls of {quoted(name)!r}, at {', '.join(names)}"
    call.end(Status(Code.RESOURCE_EXHAUSTED, text))
    call.end(Status(Code.UNAVAILABLE, _FULL))
    call.end(Status(Code.INTERNAL, str(error)))
    call.refuse(413, _TEMPLATE.format(what=name))
    call.refuse(200, "all is well")
    raise grpc_failed(grpc.StatusCode.ABORTED, "the sequence is gone")

def deny(policy, user):
    raise Denied(policy.denial(user))

def log():
    _LOG.warning("%s is slow", "it")
    _LOG.exception(_FULL)
    _LOG.debug("nobody reads this")
    other.warning("nor this")
'''


def test_texts_beside_a_status_are_found_with_words_for_what_is_filled_in() -> None:
    assert refusals([("m", SOURCE)], {"Denied": "PERMISSION_DENIED"}) == [
        Text("413", "{what} is wrong", "m"),
        Text("ABORTED", "the sequence is gone", "m"),
        Text("PERMISSION_DENIED", "{user} may not", "m"),
        Text("RESOURCE_EXHAUSTED", "{count} calls of {name}, at {names}", "m"),
        Text("UNAVAILABLE", "it is full; try again", "m"),
    ]


def test_lines_of_the_log_are_found_with_their_levels() -> None:
    assert log_lines([("m", SOURCE)]) == [
        Text("ERROR", "it is full; try again", "m"),
        Text("WARNING", "%s is slow", "m"),
    ]
