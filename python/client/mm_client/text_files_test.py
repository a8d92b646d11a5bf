from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client.text_files import read_lines


def lines_of(path: Path, data: bytes) -> list[str]:
    path.write_bytes(data)
    return read_lines(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_at_any_usual_line_end(tmp_path: Path, end: str) -> None:
    assert lines_of(tmp_path / "t", f"one{end}{end}zwölf{end}".encode()) == ["one", "", "zwölf"]
    assert lines_of(tmp_path / "t", f"one{end}two".encode()) == ["one", "two"]


def test_other_separators_are_text(tmp_path: Path) -> None:
    text = "a\u2028b\x0cc\x0bd\x1ce\x1df\x1eg\x85h\u2029i"
    assert lines_of(tmp_path / "t", f"{text}\n".encode()) == [text]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, encoding: str) -> None:
    assert lines_of(tmp_path / "t", "grün\r\n\N{SNOWMAN}\r\n".encode(encoding)) == ["grün", "\N{SNOWMAN}"]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "t", b"") == []
    assert lines_of(tmp_path / "t", b"\n") == [""]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff"))))
def test_what_is_written_line_by_line_comes_back(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    assert lines_of(tmp_path_factory.mktemp("text") / "t", data) == lines


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="byte 2 is not UTF-8; expected UTF-8, or UTF-16 with a byte-order mark: save"):
        lines_of(tmp_path / "t", "grün".encode("latin-1"))
