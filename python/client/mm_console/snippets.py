"""Code to paste: one call of a model in Python, by curl, and by NVIDIA's tritonclient."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from mm_client.chat_model import makes_text
from mm_client.sample_inputs import sample_shape
from mm_client_api import ModelDescription, TensorSpec

# As many elements stand in a command; more are made by a program.
_MOST_SHOWN = 16
_TEXT = "Hello world"
_NUMPY = {
    "BOOL": "bool", "BYTES": "object", "FP16": "float16", "FP32": "float32", "FP64": "float64",
    **{f"{sign}INT{bits}": f"{sign.lower()}int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)},
}  # fmt: skip


@dataclass(frozen=True)
class Snippet:
    """One of them.

    Attributes:
        name: what it is for.
        language: of the text.
        text: to be pasted; addresses are the console's, the credential is the reader's own.
    """

    name: str
    language: str
    text: str


def snippets_for(model: ModelDescription, addr: str, http_url: str) -> list[Snippet]:
    """Return a call in each way, with inputs made up.

    Args:
        model: what the server says of it.
        addr: HOST:PORT of the proxy.
        http_url: of its REST; empty where that is not known.
    """
    needed = [spec for spec in model.inputs.values() if not spec.optional]
    return [
        Snippet("Python", "python", _python(model, needed, addr)),
        Snippet("curl", "sh", _curl(model, needed, http_url or "$MM_HTTP_URL")),
        Snippet("tritonclient", "python", _tritonclient(model, needed, addr)),
    ]


def _python(model: ModelDescription, needed: list[TensorSpec], addr: str) -> str:
    lines = ["import numpy as np", "from mm_client_api import TritonClient", "", "", f"client = TritonClient({addr!r})"]
    if not any(spec.datatype != "BYTES" for spec in needed):
        lines = lines[1:]
    lines.append(f"model = client.model({model.name!r}, {model.version!r})")
    inputs = "{" + ", ".join(f"{spec.name!r}: {_value(spec, model, 'python')}" for spec in needed) + "}"
    if model.decoupled:
        lines += [f"for answer in model.stream([{inputs}]):", "    print(answer)"]
    else:
        lines += [f"answer = model({inputs})", "print(answer)"]
    return "\n".join(lines) + "\n"


def _curl(model: ModelDescription, needed: list[TensorSpec], http_url: str) -> str:
    head = 'curl --fail-with-body -H "x-domino-api-key: $DOMINO_USER_API_KEY"'
    path = f"{http_url}/v2/models/{quote(model.name)}/versions/{model.version}"
    if makes_text(model) or model.decoupled:
        body = json.dumps({spec.name: _TEXT if spec.datatype == "BYTES" else 1 for spec in needed})
        way = "generate_stream" if model.decoupled else "generate"
        return f'{head} -N \\\n  "{path}/{way}" \\\n  -d {shlex.quote(body)}\n'
    if all(math.prod(_dims(spec, model)) <= _MOST_SHOWN for spec in needed):
        body = json.dumps({"inputs": [_json_input(spec, model) for spec in needed]})
        return f'{head} \\\n  "{path}/infer" \\\n  -d {shlex.quote(body)}\n'
    inputs = []
    for spec in needed:
        dims = list(_dims(spec, model))
        named = f'"name": {spec.name!r}, "datatype": "{spec.datatype}", "shape": {dims}'
        inputs.append(f'{{{named}, "data": [{_element(spec)!r}] * {math.prod(dims)}}}')
    program = f'import json; print(json.dumps({{"inputs": [{", ".join(inputs)}]}}))'
    return f'python3 -c {shlex.quote(program)} |\n{head} \\\n  "{path}/infer" \\\n  -d @-\n'


def _tritonclient(model: ModelDescription, needed: list[TensorSpec], addr: str) -> str:
    lines = [
        "import os",
        "import numpy as np",
        "from tritonclient import grpc",
        "",
        f"triton = grpc.InferenceServerClient({addr!r})",
        'headers = {"x-domino-api-key": os.environ["DOMINO_USER_API_KEY"]}',
        "inputs = []",
    ]
    for spec in needed:
        lines += [
            f"value = {_value(spec, model, 'tritonclient')}",
            f"inputs.append(grpc.InferInput({spec.name!r}, value.shape, {spec.datatype!r}))",
            "inputs[-1].set_data_from_numpy(value)",
        ]
    call = f"{model.name!r}, inputs, model_version={model.version!r}"
    name = next(iter(model.outputs))
    if model.decoupled:
        lines += [
            "",
            "def show(result, error):",
            f"    print(error or result.as_numpy({name!r}))",
            "",
            "triton.start_stream(show, headers=headers)",
            f"triton.async_stream_infer({call})",
            "triton.stop_stream()  # waits for the answers",
        ]
    else:
        lines += [f"result = triton.infer({call}, headers=headers)", f"print(result.as_numpy({name!r}))"]
    return "\n".join(lines) + "\n"


def _dims(spec: TensorSpec, model: ModelDescription) -> tuple[int, ...]:
    dims = sample_shape(spec, batches=bool(model.max_batch_size))
    # A few say as much as many.
    return tuple(
        4 if there == -1 and dim > _MOST_SHOWN and len(dims) < 3 else dim for there, dim in zip(spec.shape, dims)
    )


def _value(spec: TensorSpec, model: ModelDescription, use: str) -> str:
    dims = _dims(spec, model)
    if spec.datatype == "BYTES":
        if use == "python" and math.prod(dims) == 1:
            return repr(_TEXT)
        return f"np.full({dims}, {_TEXT.encode()!r}, dtype=object)"
    kind = _NUMPY.get(spec.datatype, "float32")
    return f"np.ones({dims}, np.{'bool_' if kind == 'bool' else kind})"


def _json_input(spec: TensorSpec, model: ModelDescription) -> dict[str, Any]:
    dims = _dims(spec, model)
    data = [_element(spec)] * math.prod(dims)
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(dims), "data": data}


def _element(spec: TensorSpec) -> Any:
    return _TEXT if spec.datatype == "BYTES" else True if spec.datatype == "BOOL" else 1
