"""Triton python-backend model: a language model that goes on with a text, decoupled, with vLLM's tensors.

| input, all but the first optional | |
|---|---|
| text_input BYTES [1] | the prompt |
| stream BOOL [1] | whether each token's text comes as an answer of its own; false |
| sampling_parameters BYTES [1] | a JSON object, see sampling.py; without it, the request's parameters of those names |
| exclude_input_in_output BOOL [1] | whether the prompt is left out of the answer; as stream |
| return_NAME BOOL [1] | whether an output besides the text is wanted; false |

| output | |
|---|---|
| text_output BYTES [1] | the text, or its next piece |
| finish_reason BYTES [1] | stop, length, or None while more follows |
| cumulative_logprob FP32 [1] | of all tokens so far |
| logprobs BYTES [1] | JSON: for each token of this answer, numbers of tokens to logprob, rank and decoded_token |
| num_input_tokens UINT32 [1] | tokens of the prompt |
| num_output_tokens UINT32 [1] | tokens of this answer |

Beside it lie model.onnx, as devstack/llama_graph.py describes it, and tokenizer.json. The configuration's parameters
have `max_model_len`, the most tokens of prompt and answer, and `end_token`.
"""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]  # it has no stubs
import sampling  # type: ignore[import-not-found, unused-ignore]  # beside this file in the model's folder
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]
from tokenizers import Tokenizer  # type: ignore[import-not-found, unused-ignore]  # Triton's own wheels have it

# Answers under way at once; others wait.
_AT_ONCE = 4
# A long prompt is read in parts, between which a cancel is noticed.
_PART = 256
_WANTED = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")


class _EndedError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class _Request:
    sender: Any
    prompt: str
    tokens: list[int]
    stream: bool
    prepend: bool
    sampling: Any
    wanted: frozenset[str]


@dataclass(frozen=True)
class _Piece:
    """What one token adds."""

    text: str
    finish_reason: str | None
    cumulative_logprob: float
    logprobs: dict[str, Any] | None


class TritonPythonModel:
    """One instance of the model; it answers several requests at once."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the model and its tokenizer."""
        folder = Path(args["model_repository"]) / args["model_version"]
        parameters = json.loads(args["model_config"])["parameters"]
        self._longest = int(parameters["max_model_len"]["string_value"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._end = self._tokenizer.token_to_id(parameters["end_token"]["string_value"])
        options = onnxruntime.SessionOptions()
        # Answers run beside each other; threads that share one product mostly wait for each other.
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._caches = [value for value in self._session.get_inputs() if value.name.startswith("past_")]
        self._closing = threading.Event()
        self._workers = ThreadPoolExecutor(_AT_ONCE)

    def execute(self, requests: list[Any]) -> None:
        """Takes requests; each is answered later, by its sender."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                read = self._read(request, sender)
            except (ValueError, TypeError) as error:
                _send_error(sender, str(error))
            else:
                self._workers.submit(self._answer, read)

    def finalize(self) -> None:
        """Ends what is under way."""
        self._closing.set()
        self._workers.shutdown()

    def _read(self, request: Any, sender: Any) -> _Request:
        prompt = _text(request, "text_input") or ""
        stream = _flag(request, "stream") or False
        exclude = _flag(request, "exclude_input_in_output")
        if stream and exclude is False:
            raise ValueError("exclude_input_in_output is false; a streamed answer never holds the prompt: leave it out")
        how = sampling.read(_parameters(request))
        tokens = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        if not 0 < len(tokens) < self._longest:
            raise ValueError(f"text_input has {len(tokens)} tokens; expected from 1 to {self._longest - 1}")
        wanted = frozenset(name for name in _WANTED if _flag(request, f"return_{name}"))
        return _Request(sender, prompt, tokens, stream, not stream and not exclude, how, wanted)

    def _answer(self, request: _Request) -> None:
        try:
            pieces = self._pieces(request)
            if request.stream:
                for piece in pieces:
                    _send(request, [piece])
            else:
                _send(request, list(pieces))
        except _EndedError as error:
            pb_utils.Logger.log_info(str(error))
            _send_error(request.sender, str(error), pb_utils.TritonError.CANCELLED)
        except Exception as error:  # noqa: BLE001  whatever it was: without an answer the caller waits for ever
            pb_utils.Logger.log_error(traceback.format_exc())
            _send_error(request.sender, f"the text could not be continued: {error!r}")

    def _pieces(self, request: _Request) -> Iterator[_Piece]:
        how = request.sampling
        most = min(how.max_tokens, self._longest - len(request.tokens))
        said: list[int] = []
        cumulative = 0.0
        text = sampling.StreamedText(how.stop)
        chooser = None
        for logits in self._logits(request, said):
            chooser = chooser or sampling.Chooser(how, request.tokens, len(logits))
            token = chooser.choose(logits)
            ended = token == self._end and not how.ignore_eos
            said.append(token)
            last = ended or len(said) >= most
            # The end is counted as a token, and has no text.
            piece = text.take(self._tokenizer.decode(said), last)
            reason = "stop" if ended or text.stopped else "length" if last else None
            logprob, likeliest = sampling.logprobs(logits, token, how.logprobs or 0)
            cumulative += logprob
            listed = None if how.logprobs is None else {str(each[0]): self._described(*each) for each in likeliest}
            yield _Piece(piece, reason, cumulative, listed)
            if reason:
                return

    def _described(self, token: int, logprob: float, rank: int) -> dict[str, Any]:
        decoded = self._tokenizer.decode([token], skip_special_tokens=False)
        return {"logprob": logprob, "rank": rank, "decoded_token": decoded}

    def _logits(self, request: _Request, said: list[int]) -> Iterator[Any]:
        """The model's logits for each next token, after those that were appended to `said` meanwhile."""
        state = [np.zeros([1, cache.shape[1], 0, cache.shape[3]], np.float32) for cache in self._caches]
        names = [cache.name for cache in self._caches]
        total, waiting = 0, request.tokens
        while True:
            while waiting:
                if self._closing.is_set() or request.sender.is_cancelled():
                    raise _EndedError(f"cancelled after {len(said)} of {request.sampling.max_tokens} tokens")
                part, waiting = waiting[:_PART], waiting[_PART:]
                total += len(part)
                feed = {
                    "tokens": np.array([part], np.int64),
                    "last": np.array([total - 1], np.int32),
                    "total": np.array(total, np.int32),
                    **dict(zip(names, state, strict=True)),
                }
                logits, *state = self._session.run(self._outputs, feed)
            yield logits[0, 0]
            waiting = said[-1:]


def _text(request: Any, name: str) -> str | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        return None
    values = tensor.as_numpy()
    try:
        return str(values.reshape(-1)[0].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} holds bytes that are not UTF-8: {error}") from error


def _flag(request: Any, name: str) -> bool | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else bool(tensor.as_numpy().reshape(-1)[0])


def _parameters(request: Any) -> Any:
    text = _text(request, "sampling_parameters")
    if text is None:
        # There may be others, which are about the call.
        given = json.loads(request.parameters() or "{}")
        return {name: value for name, value in given.items() if name in sampling.NAMES}
    try:
        return json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"sampling_parameters is no JSON: {error}; expected an object") from error


def _send(request: _Request, pieces: list[_Piece]) -> None:
    last = pieces[-1]
    text = (request.prompt if request.prepend else "") + "".join(piece.text for piece in pieces)
    values = {
        "text_output": _bytes(text),
        "finish_reason": _bytes(str(last.finish_reason)),
        "cumulative_logprob": np.array([last.cumulative_logprob], np.float32),
        "logprobs": _bytes(json.dumps([piece.logprobs for piece in pieces] if last.logprobs is not None else None)),
        "num_input_tokens": np.array([len(request.tokens)], np.uint32),
        "num_output_tokens": np.array([len(pieces)], np.uint32),
    }
    names = ["text_output", *(name for name in _WANTED if name in request.wanted)]
    tensors = [pb_utils.Tensor(name, values[name]) for name in names]
    flags = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last.finish_reason else 0
    request.sender.send(pb_utils.InferenceResponse(tensors), flags)


def _bytes(text: str) -> Any:
    return np.array([text.encode()], np.object_)


def _send_error(sender: Any, text: str, *code: Any) -> None:
    error = pb_utils.TritonError(text, *code)
    sender.send(pb_utils.InferenceResponse(error=error), pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
