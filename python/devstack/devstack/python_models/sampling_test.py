from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.python_models.sampling import Chooser, Sampling, StreamedText, logprobs, read

_LOGITS = np.array([0.5, 2.0, 1.9, -1.0, 0.0], np.float32)
_LIKELIEST, _SECOND = 1, 2


def _chosen(how: Sampling, times: int = 200, prompt: tuple[int, ...] = ()) -> list[int]:
    chooser = Chooser(how, prompt, len(_LOGITS))
    return [chooser.choose(_LOGITS) for _ in range(times)]


def test_what_a_request_leaves_out_is_as_in_vllm() -> None:
    assert read({}) == Sampling(max_tokens=16, temperature=1.0, top_p=1.0, top_k=-1)
    assert read({"temperature": None, "n": 1}) == Sampling()


def test_everything_that_is_said_is_read() -> None:
    said = {
        "max_tokens": 5, "temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 7, "stop": "end", "ignore_eos": True,
        "logprobs": 2, "presence_penalty": 1, "frequency_penalty": -0.5, "repetition_penalty": 1.5,
    }  # fmt: skip
    assert read(said) == Sampling(5, 0, 0.5, 3, 7, ("end",), True, 2, 1, -0.5, 1.5)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ([], "sampling_parameters is list; expected a JSON object"),
        ({"temperatur": 1}, "sampling_parameters has temperatur; known are frequency_penalty,"),
        ({"n": 2}, "n must be 1: send a request for each answer"),
        ({"max_tokens": 0}, "max_tokens is 0; expected an integer from 1 to"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5; expected an integer"),
        ({"max_tokens": True}, "max_tokens is True; expected an integer"),
        ({"temperature": -1}, "temperature is -1; expected a number from 0 to 100"),
        ({"temperature": float("nan")}, "temperature is nan; expected a number"),
        ({"temperature": "hot"}, "temperature is 'hot'; expected a number"),
        ({"stop": [""]}, "stop is \\[''\\]; expected a text or a list of at most 16, none of them empty"),
        ({"stop": 1}, "stop is 1; expected a text"),
        ({"ignore_eos": 1}, "ignore_eos is 1; expected true or false"),
    ],
)
def test_what_cannot_be_is_refused_in_words(parameters: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        read(parameters)


@pytest.mark.parametrize("how", [Sampling(temperature=0), Sampling(top_k=1), Sampling(top_p=0.0), Sampling(top_p=0.3)])
def test_the_likeliest_is_chosen_where_no_other_may_be(how: Sampling) -> None:
    assert set(_chosen(how)) == {_LIKELIEST}


def test_tokens_come_as_often_as_the_model_gives_them() -> None:
    counts = np.bincount(_chosen(Sampling(seed=1), 5000), minlength=len(_LOGITS)) / 5000
    assert counts == pytest.approx(np.exp(_LOGITS) / np.exp(_LOGITS).sum(), abs=0.03)


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    assert set(_chosen(Sampling(top_k=2, seed=1))) == {_LIKELIEST, _SECOND}
    assert set(_chosen(Sampling(top_p=0.6, seed=1))) == {_LIKELIEST, _SECOND}


def test_a_seed_repeats_and_another_does_not() -> None:
    first, again, other = (_chosen(Sampling(seed=seed), 50) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_penalties_make_room_for_other_tokens() -> None:
    assert _chosen(Sampling(temperature=0, presence_penalty=1), 2) == [_LIKELIEST, _SECOND]
    assert _chosen(Sampling(temperature=0, frequency_penalty=0.2), 2) == [_LIKELIEST, _SECOND]
    # The prompt counts for this one alone.
    assert _chosen(Sampling(temperature=0, repetition_penalty=1.5), 1, (_LIKELIEST,)) == [_SECOND]
    assert _chosen(Sampling(temperature=0, presence_penalty=1), 1, (_LIKELIEST,)) == [_LIKELIEST]


def test_logprobs_are_the_models_own_with_ranks() -> None:
    chosen, listed = logprobs(_LOGITS, 0, 2)
    expected = _LOGITS - np.log(np.exp(_LOGITS).sum())
    assert chosen == pytest.approx(expected[0], abs=1e-6)
    assert [(token, rank) for token, _, rank in listed] == [(0, 3), (_LIKELIEST, 1), (_SECOND, 2)]
    assert [value for _, value, _ in listed] == pytest.approx([expected[0], expected[1], expected[2]], abs=1e-6)


def _streamed(data: bytes, cuts: set[int], stops: tuple[str, ...]) -> tuple[str, bool]:
    """What comes of a text whose bytes the tokens cut anywhere."""
    text = StreamedText(stops)
    pieces = []
    for end in sorted({*(cut for cut in cuts if cut < len(data)), len(data)}):
        pieces.append(text.take(data[:end].decode(errors="replace"), end == len(data)))
        if text.stopped:
            break
    return "".join(pieces), text.stopped


@given(
    st.text("ab🙂é", max_size=30),
    st.sets(st.integers(1, 60)),
    st.lists(st.text("ab🙂", min_size=1, max_size=4), max_size=3),
)
def test_a_text_comes_whole_up_to_the_first_stop_wherever_it_is_cut(
    text: str, cuts: set[int], stops: list[str]
) -> None:
    got, stopped = _streamed(text.encode(), cuts, tuple(stops))
    # Of two stops that overlap, the one that is complete first ends the text: later than the first one begins, perhaps.
    ends = [text.find(stop) for stop in stops if stop in text]
    assert stopped == bool(ends)
    assert text.startswith(got)
    assert len(got) >= min(ends, default=len(text))
    assert not any(stop in got for stop in stops)


def test_what_may_become_a_stop_text_is_held_back() -> None:
    text = StreamedText(("END",))
    assert [text.take("so EN", False), text.take("so ENough", False), text.take("so ENough END", False)] == [
        "so ",
        "ENough",
        " ",
    ]
    assert text.stopped


def test_half_a_character_is_held_back_and_comes_at_the_last() -> None:
    text = StreamedText(())
    assert text.take("a\N{REPLACEMENT CHARACTER}", False) == "a"
    assert text.take("a\N{REPLACEMENT CHARACTER}", True) == "\N{REPLACEMENT CHARACTER}"
