from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_publisher.report import PublishReport, size_text, versions_text

REPORT = PublishReport(
    action="published",
    model="irises",
    version=2,
    source="models:/irises/2",
    target="s3://models/triton",
    serving=(1, 2),
    was_serving=(1,),
    files=("labels.txt", "model.onnx"),
    size=1548,
    config='name: "irises"\n',
    notes=("config.pbtxt agrees with model.onnx", "model.onnx loaded and ran on zeros (ONNX Runtime 1.28.0)"),
    seen="version 2 answered after 1.1 s",
    seconds=8.66,
)


def test_what_a_terminal_shows() -> None:
    assert (
        repr(REPORT)
        == str(REPORT)
        == (
            "published irises version 2\n"
            "  from     models:/irises/2\n"
            "  to       s3://models/triton/irises/2\n"
            "  files    labels.txt, model.onnx (1.5 KB)\n"
            "  serving  1, 2 (before: 1)\n"
            "  note     config.pbtxt agrees with model.onnx\n"
            "  note     model.onnx loaded and ran on zeros (ONNX Runtime 1.28.0)\n"
            "  seen     version 2 answered after 1.1 s\n"
            "  took     8.7 s"
        )
    )


def test_a_notebook_shows_a_table_in_which_nothing_is_markup() -> None:
    shown = dataclasses.replace(REPORT, notes=("<script>alert(1)</script>",))._repr_html_()
    assert shown.startswith("<div><b>published irises version 2</b></div><table>")
    for cell in ("s3://models/triton/irises/2", "1, 2 (before: 1)", "&lt;script&gt;alert(1)&lt;/script&gt;", "8.7 s"):
        assert f">{cell}</td>" in shown
    assert "<script>" not in shown


def test_what_there_is_not_takes_no_line() -> None:
    first = dataclasses.replace(REPORT, action="planned", version=1, serving=(1,), was_serving=(), notes=(), seen="")
    assert repr(first) == (
        "planned irises version 1\n"
        "  from     models:/irises/2\n"
        "  to       s3://models/triton/irises/1\n"
        "  files    labels.txt, model.onnx (1.5 KB)\n"
        "  serving  1 (before: none)\n"
        "  took     8.7 s"
    )


def test_a_program_reads_all_of_the_report() -> None:
    assert json.loads(json.dumps(REPORT.as_dict())) == {
        "action": "published",
        "model": "irises",
        "version": 2,
        "source": "models:/irises/2",
        "target": "s3://models/triton",
        "serving": [1, 2],
        "was_serving": [1],
        "files": ["labels.txt", "model.onnx"],
        "size": 1548,
        "config": 'name: "irises"\n',
        "notes": ["config.pbtxt agrees with model.onnx", "model.onnx loaded and ran on zeros (ONNX Runtime 1.28.0)"],
        "seen": "version 2 answered after 1.1 s",
        "seconds": 8.66,
    }


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 KB"), (999_949, "999.9 KB"),
        (999_951, "1.0 MB"), (12_345_678, "12.3 MB"), (999_999_999, "1.0 GB"), (5 * 10**12, "5000.0 GB"),
    ],
)  # fmt: skip
def test_sizes_are_written_in_units(size: int, text: str) -> None:
    assert size_text(size) == text


@given(size=st.integers(0, 10**15))
def test_a_size_is_exact_to_a_twentieth(size: int) -> None:
    number, unit = size_text(size).split()
    factor = {"byte": 1, "bytes": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[unit]
    assert abs(float(number) * factor - size) <= factor / 20 + size * 1e-9
    assert float(number) < 1000 or unit == "GB"


def test_versions_are_listed() -> None:
    assert versions_text((1, 20)) == "1, 20"
    assert versions_text([]) == "none"
