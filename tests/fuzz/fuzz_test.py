"""The inputs that fuzzing has kept: each gets the answer that it got then, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing.campaign import Subject
from fuzzing.inputs import LEFT, SILENT, Input, Kept, read_corpus, write_corpus
from fuzzing.peer import PATIENCE_SECS, ask, outcome_of
from fuzzing.rules import problem
from fuzzing.surfaces import SURFACES, Surface

CORPUS = Path(__file__).with_name("corpus")


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    with Subject() as running:
        yield running
        assert "Traceback" not in running.log()


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.name)
def test_what_was_found_once_is_answered_as_before(subject: Subject, surface: Surface) -> None:
    kept = read_corpus(CORPUS / f"{surface.name}.jsonl")
    assert len(kept) > 20
    for each in kept:
        # No answer comes to what had none: that is no time to wait for.
        waits = 0.001 if each.outcome in {SILENT, LEFT} else PATIENCE_SECS
        received = ask(subject.ports[surface.port], each.input, waits)
        assert problem(each.input, received) is None, each
        if each.outcome != SILENT:
            assert outcome_of(each.input, received) == each.outcome, (each, received[:500])
    assert subject.settled() == {}


def test_a_corpus_is_read_as_it_was_written(tmp_path: Path) -> None:
    kept = [Kept(Input(bytes(range(256)), 3), LEFT), Kept(Input(b"x"), "200")]
    write_corpus(tmp_path / "x.jsonl", kept)
    assert sorted(read_corpus(tmp_path / "x.jsonl"), key=str) == sorted(kept, key=str)
    assert read_corpus(tmp_path / "nothing.jsonl") == []
