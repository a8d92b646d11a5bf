from __future__ import annotations

from pathlib import Path

import pytest

from kind_cluster.command import KindError, run, succeeds


def test_a_program_gets_its_words_folder_variables_and_input(tmp_path: Path) -> None:
    script = 'pwd; echo "$ONE" "$@"; cat'
    printed = run(["sh", "-c", script, "sh", "a b"], env={"ONE": "1"}, folder=tmp_path, text="in")
    assert printed == f"{tmp_path}\n1 a b\nin"


def test_a_failure_shows_the_words_and_the_end_of_what_was_printed() -> None:
    with pytest.raises(KindError) as caught:
        run(["sh", "-c", "seq 100; echo why >&2; exit 7"])
    text = str(caught.value)
    assert text.startswith("failed with exit status 7: sh -c 'seq 100; echo why >&2; exit 7'\n")
    assert text.endswith("\n99\n100\nwhy")
    assert "\n50\n" not in text


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(KindError, match="cannot run no-such-program: No such file"):
        run(["no-such-program"])


def test_too_long_is_said() -> None:
    with pytest.raises(KindError, match="took longer than 0 s: sleep 60"):
        run(["sleep", "60"], timeout=0.1)


def test_success_is_exit_status_zero() -> None:
    assert succeeds(["true"])
    assert not succeeds(["false"])
    assert not succeeds(["no-such-program"])
