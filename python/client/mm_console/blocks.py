"""What the page shows of an answer, one block below the other."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Union

import numpy as np

from mm_client_api import InferenceResult, ModelDescription
from mm_client_api.summaries import first_values, spread
from mm_client_api.tensors import Array
from mm_console.results import Result

_BARS = 5
_MOST_CLASSES = 100_000
_MOST_TEXTS = 50


@dataclass(frozen=True)
class Table:
    """Rows of cells."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Bars:
    """Labels with a value from 0 to 1 each."""

    kind: ClassVar[str] = "bars"
    title: str
    rows: Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Plot:
    """An SVG of `plots`."""

    kind: ClassVar[str] = "plot"
    title: str
    svg: str


@dataclass(frozen=True)
class Picture:
    """A file that is a picture; `alt` says what is on it."""

    kind: ClassVar[str] = "picture"
    title: str
    address: str
    alt: str


@dataclass(frozen=True)
class Film:
    """A file that is a video."""

    kind: ClassVar[str] = "film"
    title: str
    address: str


@dataclass(frozen=True)
class Words:
    """A text as it is."""

    kind: ClassVar[str] = "words"
    title: str
    text: str


Block = Union[Table, Bars, Plot, Picture, Film, Words]


@dataclass
class Answer:
    """What came of a try.

    Attributes:
        summary: one line: what served it, and how long that took.
        blocks: see above.
        downloads: names and addresses of files.
        notes: what people should know besides.
    """

    summary: str
    blocks: list[Block] = field(default_factory=list)
    downloads: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def summary_of(result: InferenceResult, milliseconds: float) -> str:
    """One line about an inference that took so long from here and back."""
    timing = result.timing
    return (
        f"{result.model} version {result.model_version} answered in {milliseconds:.1f} ms: {timing.total_ms:.1f} ms "
        f"at the proxy, {timing.triton_infer_ms:.1f} ms of them in Triton"
    )


def outputs_table(arrays: Mapping[str, Array], datatypes: Mapping[str, str]) -> Table:
    """Each output in a few words."""
    rows = [
        (name, f"{datatypes[name]} {list(array.shape)}", first_values(array), spread(array) if array.size > 1 else "")
        for name, array in arrays.items()
    ]
    return Table("Outputs", ("Name", "Type and shape", "Values", "Range"), rows)


def save_arrays(answer: Answer, result: Result, arrays: Mapping[str, Array]) -> None:
    """Offer each output as a .npy file."""
    for number, (name, array) in enumerate(arrays.items()):
        buffer = io.BytesIO()
        plain = array
        if array.dtype == object:
            # numpy would write objects as Python's pickle.
            texts = [each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in array.flat]
            plain = np.array(texts, dtype=np.str_).reshape(array.shape)
        np.save(buffer, plain, allow_pickle=False)
        safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).lstrip(".")
        file = f"{safe or f'output{number}'}.npy"
        answer.downloads.append((file, result.write(file, buffer.getvalue())))


def labelled(arrays: Mapping[str, Array], description: ModelDescription) -> list[Block]:
    """Labels with bars, where the outputs are such: scores from 0 to 1 of one item, with or without names.

    Names are an output of texts of the scores' shape, or the configuration's parameter `labels`, with commas.
    """
    names = [part.strip() for part in description.parameters.get("labels", "").split(",")]
    texts = [array for array in arrays.values() if array.dtype == object]
    blocks: list[Block] = []
    for name, array in arrays.items():
        scores = array.ravel()
        if array.dtype.kind != "f" or not _are_scores(array):
            continue
        beside = next((text.ravel() for text in texts if text.size == scores.size), None)
        order = np.argsort(-scores, kind="stable")[:_BARS].tolist()
        if beside is not None:
            rows = [(_text(beside[index]), float(scores[index])) for index in order]
        else:
            named = len(names) == scores.size
            rows = [(names[index] if named else f"{name}[{index}]", float(scores[index])) for index in order]
        shown = f"the highest {len(rows)} of {scores.size}" if scores.size > len(rows) else "the highest first"
        blocks.append(Bars(f"{name}, {shown}", rows))
    return blocks


def texts_of(arrays: Mapping[str, Array]) -> list[Block]:
    """Each output of texts, in full."""
    return [
        Words(name, "\n".join(_text(element) for element in array.ravel()[:_MOST_TEXTS]))
        for name, array in arrays.items()
        if array.dtype == object and array.size
    ]


def _are_scores(array: Array) -> bool:
    """Whether it can be a score for each class of one item."""
    one_item = array.ndim > 0 and array.size == array.shape[-1] and 2 <= array.size <= _MOST_CLASSES
    return one_item and bool(np.isfinite(array).all()) and float(array.min()) >= 0 and float(array.max()) <= 1


def _text(element: Any) -> str:
    return element.decode(errors="backslashreplace") if isinstance(element, bytes) else str(element)
