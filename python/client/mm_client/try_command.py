"""`mm-client try MODEL`: one inference with inputs made up for the model, and its answer in short."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mm_client.command_line import OK, connected, parsed, parser, say
from mm_client.infer_inputs import by_name
from mm_client.infer_report import json_value, save
from mm_client.options import MODEL_OPTIONS, UsageError
from mm_client.sample_inputs import check_names, given, sample
from mm_client_api import InferenceRequest, InvalidRequest, Model, NamedArrays, Tensor, decode
from mm_client_api.summaries import first_values, spread
from mm_client_api.tensors import Array, Pieces

_EXAMPLES = """
mm-client try yolov8n
mm-client try yolov8n --input images=frame.npy --json
mm-client try text_normalize --input TEXT='Hello  World'
mm-client try add_sub --input INPUT0=1,2,3,4 --seed 7
mm-client try segmenter --shape image=1,3,512,512 --out results
"""
# Of a decoupled model's answers, those that are shown; the others are counted.
_SHOWN_ANSWERS = 20
_JSON_VALUES = 8


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    flags, settings = parsed(_parser(), MODEL_OPTIONS, arguments)
    with connected(settings) as client:
        model = client.model(flags.model, settings["model_version"], timeout_secs=settings["req_timeout_sec"])
        inputs = _inputs(model, flags)
        try:
            request = model.request(inputs)
        except InvalidRequest as error:
            raise UsageError(error.detail.removeprefix("not sent: ")) from error
        if model.description.stateful:
            say(f"{model.name} keeps state between the requests of a sequence: this one is refused, or stands alone")
        if not flags.json:
            _print_sent(model, request, set(by_name(flags.input)))
        began = time.perf_counter()
        answers = []
        for arrays in _answers(model, inputs):
            answers.append(arrays)
            if not flags.json and len(answers) <= _SHOWN_ANSWERS:
                print(_answer_text(arrays, len(answers) if model.description.decoupled else 0))
    milliseconds = (time.perf_counter() - began) * 1000
    if flags.json:
        print(json.dumps(_as_json(model, request, answers, milliseconds)))
    else:
        _print_end(answers, milliseconds)
    if flags.out is not None and answers:
        for path in save(answers[-1].result, flags.out):
            say(f"wrote {path}")
    return OK


def _parser() -> argparse.ArgumentParser:
    made = parser(
        "mm-client try",
        "Run one inference with inputs made up for the model, and print its answer in short.",
        _EXAMPLES,
    )
    made.add_argument("model", metavar="MODEL", help="Name of the model; mm-client models lists them.")
    made.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="Instead of a made up one: FILE.npy, a recording, text:… or @FILE.txt as in mm-client infer; or plain "
        "values, such as 1,2.5 or true, or text for BYTES.",
    )
    made.add_argument("--shape", action="append", default=[], metavar="NAME=D,D", help="Shape of a made up input.")
    made.add_argument("--rate", action="append", default=[], metavar="NAME=HZ", help="Resample a recording to.")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="Other made up values; the default is 0.")
    made.add_argument("--out", type=Path, metavar="DIR", help="Folder to save each output in, as NAME.npy.")
    made.add_argument("--json", action="store_true", help="Print it as one JSON object.")
    return made


def _inputs(model: Model, flags: argparse.Namespace) -> dict[str, Array | list[Any]]:
    described = model.description
    texts, shapes, rates = (by_name(each) for each in (flags.input, flags.shape, flags.rate))
    for flag, names in (("--input", texts), ("--shape", shapes), ("--rate", rates)):
        check_names(described, list(names), flag)
    random = np.random.default_rng(abs(flags.seed))
    return {
        name: given(spec, texts[name], rates.get(name, [None])[-1])
        if name in texts
        else sample(spec, random, batches=bool(described.max_batch_size), shape=_shape(name, shapes))
        for name, spec in model.inputs.items()
        # A model does without what is optional, and knows best what stands for it.
        if name in texts or name in shapes or not spec.optional
    }


def _shape(name: str, shapes: Mapping[str, Sequence[str]]) -> tuple[int, ...] | None:
    if name not in shapes:
        return None
    text = shapes[name][-1]
    try:
        dims = tuple(int(dim) for dim in text.split(","))
    except ValueError:
        dims = (-1,)
    if min(dims) < 0:
        raise UsageError(f"--shape {name}={text}: expected whole numbers of 0 or more with commas between them")
    return dims


def _answers(model: Model, inputs: Mapping[str, Any]) -> Iterator[NamedArrays]:
    return model.stream([inputs]) if model.description.decoupled else iter([model(inputs)])


def _print_sent(model: Model, request: InferenceRequest, own: set[str]) -> None:
    for name, tensor in request.inputs.items():
        made_up = "" if name in own else " (made up)"
        print(f"sent {name}  {_in_short(_tensor(tensor))}{made_up}")


def _tensor(value: Any) -> Tensor:
    """What was encoded for a request."""
    return Tensor(value.datatype, value.shape, b"".join(value.parts)) if isinstance(value, Pieces) else value


def _in_short(tensor: Tensor) -> str:
    array = decode(tensor)
    extent = spread(array)
    words = f"{tensor.datatype} {list(tensor.shape)}  {first_values(array)}"
    return f"{words}  ({extent})" if extent else words


def _answer_text(arrays: NamedArrays, number: int) -> str:
    lines = [f"answer {number}"] if number else []
    lines += [f"{name}  {_in_short(tensor)}" for name, tensor in arrays.result.tensors.items()]
    return "\n".join(lines)


def _print_end(answers: Sequence[NamedArrays], milliseconds: float) -> None:
    if len(answers) > _SHOWN_ANSWERS:
        print(f"… and {len(answers) - _SHOWN_ANSWERS} answers more")
    if not answers:
        print(f"no answer; {milliseconds:.1f} ms from here and back")
        return
    result = answers[-1].result
    timing = result.timing
    print(
        f"{result.model} version {result.model_version}: {milliseconds:.1f} ms from here and back, "
        f"{timing.total_ms:.1f} ms at the proxy, {timing.triton_infer_ms:.1f} ms of them in Triton"
    )


def _as_json(
    model: Model, request: InferenceRequest, answers: Sequence[NamedArrays], milliseconds: float
) -> dict[str, Any]:
    return {
        "model": model.name,
        "model_version": model.version,
        "milliseconds": milliseconds,
        "timing": answers[-1].result.timing._asdict() if answers else None,
        "inputs": {name: _summary(_tensor(value)) for name, value in request.inputs.items()},
        "answers": [{name: _summary(each) for name, each in arrays.result.tensors.items()} for arrays in answers],
    }


def _summary(tensor: Tensor) -> dict[str, Any]:
    array = decode(tensor)
    found: dict[str, Any] = {
        "dtype": tensor.datatype,
        "shape": list(tensor.shape),
        "first": [json_value(element) for element in array.ravel()[:_JSON_VALUES].tolist()],
    }
    if array.size and array.dtype.kind in "biuf":
        values = array.astype(np.float64)
        for name, value in (("min", values.min()), ("mean", values.mean()), ("max", values.max())):
            found[name] = json_value(float(value))
    return found
