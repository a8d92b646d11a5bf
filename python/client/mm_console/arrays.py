"""Any inputs: .npy files, JSON, or made up; and every answer as arrays."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mm_client.sample_inputs import sample
from mm_client_api import Model, NamedArrays, TensorSpec
from mm_console.blocks import Answer, labelled, outputs_table, save_arrays, summary_of, texts_of
from mm_console.problems import Problem
from mm_console.results import Result

# Of a decoupled model's answers, those that are shown; the others are counted.
_SHOWN_ANSWERS = 20


@dataclass(frozen=True)
class Given:
    """One input as it came.

    Attributes:
        json: a JSON value; empty where a file is given, or it is to be made up.
        file: a .npy file or one of JSON; None without.
        name: what the person calls the file.
    """

    json: str = ""
    file: Path | None = None
    name: str = ""


def run(model: Model, given: Mapping[str, Given], result: Result) -> Answer:
    """Send arrays.

    Args:
        model: any.
        given: by the inputs' names; what is not given is made up, unless it is optional.
        result: where files go.

    Raises:
        Problem: a value cannot be read.
        AckError, CallError: as `Model`.
    """
    random = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    made_up = []
    for name, spec in model.inputs.items():
        value = given.get(name, Given())
        if value.file is not None or value.json.strip():
            inputs[name] = _read(spec, value)
        elif not spec.optional:
            inputs[name] = sample(spec, random, batches=bool(model.description.max_batch_size), shape=None)
            made_up.append(name)
    began = time.perf_counter()
    answers = _answers(model, inputs)
    milliseconds = (time.perf_counter() - began) * 1000
    if not answers:
        return Answer(f"{model.name} version {model.version} gave no answer in {milliseconds:.1f} ms")
    answer = Answer(summary_of(answers[-1].result, milliseconds))
    if made_up:
        answer.notes.append(f"Made up: {', '.join(made_up)}.")
    if len(answers) > _SHOWN_ANSWERS:
        answer.notes.append(f"The first {_SHOWN_ANSWERS} of {len(answers)} answers are shown.")
    datatypes = {name: spec.datatype for name, spec in model.outputs.items()}
    for arrays in answers[:_SHOWN_ANSWERS]:
        answer.blocks += [*texts_of(arrays), *labelled(arrays, model.description), outputs_table(arrays, datatypes)]
    save_arrays(answer, result, answers[-1])
    return answer


def _answers(model: Model, inputs: Mapping[str, Any]) -> list[NamedArrays]:
    if not model.description.decoupled:
        return [model(inputs)]
    with closing(model.stream([inputs])) as answers:
        return list(answers)


def _read(spec: TensorSpec, given: Given) -> Any:
    # numpy looks at how a file begins, not at its name.
    if given.file is not None and given.file.open("rb").read(6) == b"\x93NUMPY":
        try:
            array = np.load(given.file, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError):
            raise _unreadable(spec, given.name, "it is damaged, or holds Python objects") from None
        return array.astype(object) if array.dtype.kind in "SU" else array
    try:
        text = given.file.read_text(encoding="utf-8") if given.file is not None else given.json
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"it is no JSON ({error})" if given.file is None else "it is neither a .npy file nor JSON"
        raise _unreadable(spec, given.name or "what was written", reason) from None
    return _array_of(spec, value, given)


def _array_of(spec: TensorSpec, value: Any, given: Given) -> Any:
    try:
        array = np.array(value, dtype=object if spec.datatype == "BYTES" else None)
    except ValueError:
        raise _unreadable(spec, given.name or "what was written", "its lists differ in length") from None
    kinds = "O" if spec.datatype == "BYTES" else "b" if spec.datatype == "BOOL" else "if"
    if array.dtype.kind not in kinds or (kinds == "O" and not all(isinstance(each, str) for each in array.flat)):
        raise _unreadable(spec, given.name or "what was written", "its values are of another type")
    if array.dtype.kind == "f" and spec.datatype.startswith(("INT", "UINT")):
        raise _unreadable(spec, given.name or "what was written", "it has fractions")
    return value if array.ndim == 0 else array


def _unreadable(spec: TensorSpec, name: str, reason: str) -> Problem:
    return Problem(
        f"Input {spec.name}: {name} cannot be read: {reason}.",
        f"A .npy file, or JSON such as [[1, 2], [3, 4]], for {spec}.",
        "Correct it, or leave the input empty to have it made up.",
    )
