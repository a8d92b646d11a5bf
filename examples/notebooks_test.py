"""What the notebooks show, executed by the build against the real stack, from an environment with the built wheels."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

EXECUTED = Path("examples/executed")
NAMES = ["first_inference", "language_model", "scale", "throughput", "train_and_publish", "video"]
PNG = b"\x89PNG\r\n\x1a\n"


class Notebook:
    """An executed notebook: its outputs as text, HTML and pictures."""

    def __init__(self, name: str) -> None:
        cells = json.loads((EXECUTED / f"{name}.ipynb").read_text())["cells"]
        self.cells = [cell for cell in cells if cell["cell_type"] == "code"]
        self.outputs: list[Any] = [output for cell in self.cells for output in cell["outputs"]]

    @property
    def errors(self) -> list[tuple[str, str]]:
        """Name and text of what was raised."""
        return [(one["ename"], one["evalue"]) for one in self.outputs if one["output_type"] == "error"]

    @property
    def printed(self) -> str:
        """What the cells printed."""
        return "".join("".join(one["text"]) for one in self.outputs if one["output_type"] == "stream")

    @property
    def pictures(self) -> list[bytes]:
        """Plots, as PNG."""
        return [base64.b64decode(one) for one in self._data("image/png")]

    @property
    def tables(self) -> str:
        """What objects show of themselves."""
        return "".join(self._data("text/html"))

    @property
    def values(self) -> list[str]:
        """What the cells ended with, as Python shows it."""
        return self._data("text/plain")

    def _data(self, kind: str) -> list[str]:
        return ["".join(one["data"][kind]) for one in self.outputs if kind in one.get("data", {})]


def said(shown: Notebook) -> str:
    """What a failed notebook says, for the report of a test."""
    return "\n".join(f"{name}: {text}" for name, text in shown.errors)


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_ran_and_only_the_one_that_should_fail_failed(name: str) -> None:
    shown = Notebook(name)
    failed = [cell["id"] for cell in shown.cells if any(one["output_type"] == "error" for one in cell["outputs"])]
    meant = [cell["id"] for cell in shown.cells if "raises-exception" in cell["metadata"].get("tags", [])]
    assert failed == meant, said(shown)
    assert [cell["execution_count"] for cell in shown.cells] == list(range(1, len(shown.cells) + 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_there_as_markdown_with_its_pictures(name: str) -> None:
    text = (EXECUTED / f"{name}.md").read_text()
    assert text.lstrip().startswith("# ")
    named = re.findall(r"!\[png\]\((\S+)\)", text)
    assert len(named) == len(Notebook(name).pictures) >= 1
    assert all((EXECUTED / path).read_bytes().startswith(PNG) for path in named)


def test_first_inference_finds_names_and_measures() -> None:
    shown = Notebook("first_inference")
    assert "['banana', 'car', 'stop sign']" in shown.values
    assert "(['good morning', 'one two three'], [2, 3])" in shown.values
    (loudest,) = re.findall(r"loudest: (\S+)'", "".join(shown.values))
    assert 0.69 < float(loudest) < 0.71  # a sine's RMS is its amplitude by √2
    assert len(shown.pictures) == 2
    for text in ("yolov8n version 1 (onnxruntime_onnx)", "[1, 84, 8400]", "text_normalize version 1:", "READY"):
        assert text in shown.tables
    ((name, text),) = shown.errors
    assert name == "InvalidRequest"
    assert "its shape is [640, 640, 3]; expected FP32 [1, 3, 640, 640]" in text


def test_the_video_is_counted_and_drawn() -> None:
    shown = Notebook("video")
    assert "{'car': 20, 'stop sign': 10}" in shown.values
    assert "20 frames, " in shown.printed
    assert " 0 failed; wrote results/frame_counts.jsonl and results/annotated.mp4" in shown.printed
    assert "100%" in shown.printed
    assert len(shown.pictures) == 2
    assert "mm-client: there is no file or folder clipp.mp4" in shown.printed
    assert "exit status 2" in shown.printed


def test_a_trained_model_is_served() -> None:
    shown = Notebook("train_and_publish")
    (difference,) = re.findall(r"largest difference (\S+)'", "".join(shown.values))
    assert float(difference) < 1e-5
    assert "'models:/irises/1'" in shown.values
    for text in ("published irises version 1", "1 (before: none)", "irises version 1 (onnxruntime_onnx)"):
        assert text in shown.tables
    assert "mm-publish: waiting for version 1 through the proxy" in shown.printed
    (kinds,) = (json.loads(value) for value in shown.values if re.fullmatch(r"\[\d+, \d+, \d+\]", value))
    assert sum(kinds) == 4800
    assert min(kinds) > 1000
    ((name, text),) = shown.errors
    assert (name, "options={'zipmap': False}" in text) == ("Refused", True)
    assert shown.values[-1] == "['1']"


def test_the_language_model_speaks_openais_api() -> None:
    shown = Notebook("language_model")
    assert "'smollm2'" in shown.values[0]
    assert "Paris" in shown.printed
    (pieces,) = re.findall(r"\n\n(\d+) pieces", shown.printed)
    assert int(pieces) > 5
    alike = next(json.loads(value) for value in reversed(shown.values) if value.startswith("[1.0"))
    assert alike[1] > 0.6 > 0.3 > max(alike[2:])
    assert shown.errors == [("NotFoundError", "Error code: 404 - Request for unknown model: 'smollm3' is not found")]


def test_each_way_answers_all_requests() -> None:
    shown = Notebook("throughput")
    assert shown.printed.count("120/120") == 6
    assert len(shown.pictures) == 1
    assert "'batch_size': 8" in shown.printed
    assert "expected batch_size=1 for this model" in shown.tables


def test_triton_is_scaled_up_and_down() -> None:
    shown = Notebook("scale")
    assert "(1, 3)" in shown.values
    assert shown.printed.splitlines().count("3 of 3 available, ready") == 1
    assert "inference-server: 1/1 available |" in shown.printed
    assert "(3, 1)" in shown.values
    assert "view, scale" in shown.tables
    assert "ada scaled from 1 to 3 replicas: a demo from a notebook" in "".join(shown.values)
    ((name, text),) = shown.errors
    assert name == "DeniedError"
    assert "the scale policy allows 1 to 3" in text
