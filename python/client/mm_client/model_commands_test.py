"""`mm-client models` and `mm-client try`: what is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from client_testing import echo
from client_testing.repository import BROKEN, PAIR, REASON, TALKER, RepositoryServer

from mm_client import __main__ as command
from mm_client import command_line


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[RepositoryServer]:
    monkeypatch.setenv("DOMINO_USER_API_KEY", echo.API_KEY)
    with RepositoryServer() as server:
        monkeypatch.setenv("MM_ADDR", server.addr)
        yield server


pytestmark = pytest.mark.usefixtures("repository")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_models_are_a_table_that_says_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["models"]) == command_line.OK
    assert lines(capsys) == [
        "MODEL VERSION STATE TAKES, OR WHY NOT GIVES",
        f"broken 1 UNAVAILABLE {REASON}",
        "never_loaded - NOT LOADED",
        "pair 9 UNAVAILABLE unloaded",
        "pair 10 READY x INT64 [-1, 3] x INT64 [-1, 3]",
        "t BYTES [-1, 1] t BYTES [-1, 1]",
        "scale FP32 [-1, 1], optional batches of up to 8",
        "selfish 1 READY self FP32 [1] self FP32 [1]",
        "in-put FP32 [1] batches of up to 8",
        "talker 1 READY text_input BYTES [1] text_output BYTES [1]",
        "max_tokens INT32 [1], optional any number of answers to a request (decoupled)",
    ]


def test_models_can_be_chosen_and_read_by_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["models", "--json", "p*", BROKEN]) == command_line.OK
    broken, unloaded, pair = json.loads(capsys.readouterr().out)
    assert (broken["name"], broken["ready"], broken["reason"]) == (BROKEN, False, REASON)
    assert "inputs" not in unloaded
    assert (pair["version"], pair["ready"], pair["max_batch_size"], pair["decoupled"]) == ("10", True, 8, False)
    assert pair["inputs"][2] == {"name": "scale", "datatype": "FP32", "shape": [-1, 1], "optional": True}
    assert pair["description"] == "Echoes <both> of its inputs."
    assert command.main(["models", "pear*"]) == command_line.FAILED
    assert "there is no model pear*, or you may not use it" in capsys.readouterr().err


def test_a_model_is_tried_with_inputs_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["try", PAIR]) == command_line.OK
    sent_x, sent_t, x, t, end = lines(capsys)
    assert sent_x.startswith("sent x INT64 [1, 3] ")
    assert sent_x.endswith("(made up)")
    assert sent_t == "sent t BYTES [1, 1] 'The quick brown fox jumps over the lazy dog.' (made up)"
    assert f"sent {x} (made up)" == sent_x
    assert f"sent {t} (made up)" == sent_t
    assert end.startswith("pair version 10: ")
    assert end.endswith(" ms from here and back, 2.5 ms at the proxy, 1.5 ms of them in Triton")
    # The same again, and others by another seed.
    command.main(["try", PAIR])
    assert lines(capsys)[0] == sent_x
    command.main(["try", PAIR, "--seed", "3"])
    assert lines(capsys)[0] != sent_x


def test_a_model_is_tried_with_inputs_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.array([[1, 2, 3], [4, 5, 6]]))
    flags = ["--input", f"x={tmp_path}/x.npy", "--input", "t=Hello", "--input", "t=you", "--input", "scale=0.5"]
    assert command.main(["try", PAIR, *flags, "--shape", "scale=2,1"]) == command_line.OK
    assert lines(capsys)[:5] == [
        "sent x INT64 [2, 3] 1, 2, 3, 4, 5, 6 (min 1, mean 3.5, max 6)",
        "sent t BYTES [2, 1] 'Hello', 'you'",
        "sent scale FP32 [1, 1] 0.5 (min 0.5, mean 0.5, max 0.5)",
        "x INT64 [2, 3] 1, 2, 3, 4, 5, 6 (min 1, mean 3.5, max 6)",
        "t BYTES [2, 1] 'Hello', 'you'",
    ]
    assert command.main(["try", PAIR, "--input", "x=1,2,3", "--json", "--out", str(tmp_path)]) == command_line.OK
    tried = json.loads(capsys.readouterr().out)
    ((answer,), x) = tried["answers"], tried["inputs"]["x"]
    assert x == {"dtype": "INT64", "shape": [1, 3], "first": [1, 2, 3], "min": 1, "mean": 2, "max": 3} == answer["x"]
    assert tried["timing"]["triton_infer_ms"] == 1.5
    assert np.load(tmp_path / "x.npy").tolist() == [[1, 2, 3]]


def test_each_answer_of_a_decoupled_model_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["try", TALKER, "--input", "text_input=Hello"]) == command_line.OK
    assert lines(capsys)[1:5] == [
        "answer 1",
        "text_output BYTES [1] 'Hell'",
        "answer 2",
        "text_output BYTES [1] 'o'",
    ]
    assert command.main(["try", TALKER, "--input", f"text_input={'abcd' * 25}"]) == command_line.OK
    assert "… and 5 answers more" in lines(capsys)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["try", "pear"], command_line.FAILED, "did you mean pair"),
        (["try", BROKEN], command_line.FAILED, f"version 1 is UNAVAILABLE ({REASON})"),
        (
            ["try", PAIR, "--input", "y=1"],
            command_line.WRONG_USE,
            "--input y: model pair has no such input; expected x,",
        ),
        (["try", PAIR, "--input", "x=1,2"], command_line.WRONG_USE, "its shape is [2]; expected INT64 [-1, 3]"),
        (["try", PAIR, "--input", "x=a,b,c"], command_line.WRONG_USE, "--input x=a,b,c: expected INT64 values with"),
        (["try", PAIR, "--input", "x=none.npy"], command_line.WRONG_USE, "none.npy cannot be read"),
        (["try", PAIR, "--shape", "x=1,-3"], command_line.WRONG_USE, "--shape x=1,-3: expected whole numbers"),
        (["try", PAIR, "--shape", "x=1,4"], command_line.WRONG_USE, "its shape is [1, 4]; expected INT64 [-1, 3]"),
        (["try", PAIR, "--model-version", "7"], command_line.FAILED, "model 'pair' has no version '7'; it has 9, 10"),
    ],
)
def test_each_mistake_has_a_status_and_a_sentence(
    words: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(words) == status
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error
