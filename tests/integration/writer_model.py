"""Triton python-backend model, decoupled, with the tensors of Triton's vLLM backend: it says what it was asked.

Its tokens are the words of its prompt, each with the space behind it, then `[pictures: N]`; where one of the words is
`forever`, all of these again and again, `pace` seconds apart (0.005). As vLLM does, it ends after `max_tokens` (16); it
knows nothing of `stop`.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the model; a thread for each request."""

    def execute(self, requests: list[Any]) -> None:
        """Takes requests; each is answered by its sender."""
        for request in requests:
            given = {each.name(): each.as_numpy().reshape(-1) for each in request.inputs()}
            threading.Thread(target=_answer, args=(request.get_response_sender(), given)).start()


def _answer(sender: Any, given: dict[str, Any]) -> None:
    try:
        _say(sender, given)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller is to hear of it
        sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{type(error).__name__}: {error}")))
    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _say(sender: Any, given: dict[str, Any]) -> None:
    prompt = given["text_input"][0].decode()
    how = json.loads(given["sampling_parameters"][0])
    if how.get("fail"):
        raise ValueError("it was asked to fail")
    pictures = [base64.b64decode(each) for each in given.get("image", ())]
    words = [*re.findall(r"\S+\s*", prompt), f"[pictures: {len(pictures)}]"]
    most = how.get("max_tokens", 16)
    endless = "forever" in prompt
    said = itertools.islice(itertools.cycle(words) if endless else words, most)
    total = most if endless else min(most, len(words))
    reason = "length" if endless or len(words) > most else "stop"
    spoken = 0
    for piece in ([word] for word in said) if given["stream"][0] else (list(said),):
        if sender.is_cancelled():
            return
        if endless:
            time.sleep(how.get("pace", 0.005))
        spoken += len(piece)
        sender.send(_response(given, len(words), piece, reason if spoken == total else "None", how.get("logprobs")))


def _response(given: dict[str, Any], prompt_tokens: int, piece: list[str], reason: str, logprobs: int | None) -> Any:
    made = {"text_output": [b"".join(word.encode() for word in piece)], "finish_reason": [reason.encode()]}
    outputs = [pb_utils.Tensor(name, np.array(value, np.object_)) for name, value in made.items()]
    if "return_num_input_tokens" in given:
        outputs.append(pb_utils.Tensor("num_input_tokens", np.array([prompt_tokens], np.uint32)))
    if "return_num_output_tokens" in given:
        outputs.append(pb_utils.Tensor("num_output_tokens", np.array([len(piece)], np.uint32)))
    if "return_logprobs" in given:
        # The chosen one first, as vLLM has it, and `logprobs` likelier ones.
        places = [
            {str(at): {"logprob": -1.0 / (at + 1), "decoded_token": word[at:]} for at in range(1 + (logprobs or 0))}
            for word in piece
        ]
        outputs.append(pb_utils.Tensor("logprobs", np.array([json.dumps(places).encode()], np.object_)))
    return pb_utils.InferenceResponse(outputs)
