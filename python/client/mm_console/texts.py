"""Texts through a model: labels with bars, how near they are to each other, or texts again."""

from __future__ import annotations

import time

import numpy as np

from mm_client_api import Model, NamedArrays
from mm_console.blocks import Answer, Block, Table, labelled, outputs_table, save_arrays, summary_of, texts_of
from mm_console.problems import Problem
from mm_console.results import Result

_MOST_COMPARED = 12
# A vector of fewer numbers is no embedding.
_SHORTEST_VECTOR = 16
_SHOWN_LETTERS = 30


def run(model: Model, text: str, result: Result) -> Answer:
    """Send texts.

    Args:
        model: takes one input of BYTES.
        text: one text a line.
        result: where files go.

    Raises:
        Problem: there is none, or more than the model takes.
        AckError, CallError: as `Model`.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise Problem("There is no text.", "One text a line.", "Write something.")
    (spec,) = (spec for spec in model.inputs.values() if not spec.optional)
    fixed = spec.shape[0] if spec.shape else 1
    if fixed not in (-1, len(lines)):
        raise Problem(
            f"{len(lines)} texts were given.", f"{fixed} for model {model.name}, one a line.", "Leave out or add lines."
        )
    began = time.perf_counter()
    # Each line is an element; where the model has more dimensions, they are 1.
    shaped = np.array(lines, dtype=object).reshape((len(lines),) + (1,) * (len(spec.shape) - 1))
    arrays = model({spec.name: shaped})
    answer = Answer(summary_of(arrays.result, (time.perf_counter() - began) * 1000))
    answer.blocks += [*texts_of(arrays), *labelled(arrays, model.description), *_nearness(lines, arrays)]
    answer.blocks.append(outputs_table(arrays, {name: spec.datatype for name, spec in model.outputs.items()}))
    save_arrays(answer, result, arrays)
    return answer


def _nearness(lines: list[str], arrays: NamedArrays) -> list[Block]:
    """How near texts are to each other, by the cosine of their vectors."""
    blocks: list[Block] = []
    for name, array in arrays.items():
        vectors = array.reshape(len(array), -1) if array.ndim > 1 else array[:0]
        count = min(len(lines), _MOST_COMPARED)
        if array.dtype.kind != "f" or len(vectors) != len(lines) or count < 2 or vectors.shape[1] < _SHORTEST_VECTOR:
            continue
        units = vectors[:count].astype(np.float64)
        units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
        cosines = units @ units.T
        titles = [line if len(line) <= _SHOWN_LETTERS else f"{line[:_SHOWN_LETTERS]}…" for line in lines[:count]]
        rows = [
            (f"{number + 1}. {titles[number]}", *(f"{value:.2f}" for value in cosines[number]))
            for number in range(count)
        ]
        columns = (f"Nearness by {name}: 1 is the same", *(str(number + 1) for number in range(count)))
        blocks.append(Table("Nearness", columns, rows))
    return blocks
