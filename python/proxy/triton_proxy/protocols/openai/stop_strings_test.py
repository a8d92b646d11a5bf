"""Text is cut at a stop string, however its bytes come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.protocols.openai.stop_strings import StoppedText

# Few letters, so that stop strings begin, break off and come; some of two, three and four bytes.
_TEXTS = st.text("abä…🐟", max_size=24)
_STOPS = st.lists(st.text("abä🐟", min_size=1, max_size=4), max_size=3)


def cut(text: str, stops: list[str]) -> tuple[str, bool]:
    """What comes of a text, told without its pieces: the stop string that is complete first ends it."""
    for end in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:end].endswith(stop)]
        if ended:
            return text[: end - max(map(len, ended))], True
    return text, False


@given(text=_TEXTS, stops=_STOPS, sizes=st.lists(st.integers(1, 5), max_size=40))
def test_it_ends_where_the_text_as_one_piece_does(text: str, stops: list[str], sizes: list[int]) -> None:
    stopped, said = StoppedText(stops), ""
    left = text.encode()
    for size in [*sizes, len(left)]:
        piece, left = left[:size], left[size:]
        more = stopped.feed(piece)
        said += more
        # What was said stays said.
        assert cut(text, stops)[0].startswith(said)
    said += stopped.end()
    assert (said, stopped.stopped) == cut(text, stops)


@given(text=_TEXTS, sizes=st.lists(st.integers(1, 5), max_size=40))
def test_without_stop_strings_every_whole_character_comes_at_once(text: str, sizes: list[int]) -> None:
    stopped, said, fed = StoppedText(), "", b""
    left = text.encode()
    for size in [*sizes, len(left)]:
        piece, left = left[:size], left[size:]
        fed += piece
        said += stopped.feed(piece)
        assert said == fed.decode(errors="ignore")


def test_what_may_become_a_stop_string_is_held_back_and_no_more() -> None:
    stopped = StoppedText(["\nuser:"])
    assert [stopped.feed(piece) for piece in (b"Yes.\n", b"us", b"ual\nu", b"ser:x")] == ["Yes.", "", "\nusual", ""]
    assert stopped.stopped
    assert (stopped.feed(b"more"), stopped.end()) == ("", "")


@pytest.mark.parametrize(("last", "text"), [(b"", "\ufffd"), (b"x", "\ufffdx")])
def test_a_broken_character_is_shown_as_one(last: bytes, text: str) -> None:
    stopped = StoppedText()
    assert stopped.feed(b"\xe2\x80") + stopped.feed(last) + stopped.end() == text
