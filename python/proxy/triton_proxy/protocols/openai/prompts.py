"""From a request to a model's inputs."""

from __future__ import annotations

from typing import Any

from mm_service.status import Code
from triton_proxy.inference.request import InputTensor
from triton_proxy.protocols.openai.members import RequestRefused
from triton_proxy.protocols.openai.messages import Conversation, joined, text_of
from triton_proxy.protocols.openai.requests import TextRequest
from triton_proxy.protocols.openai.roles import BOS, EOS, Roles, check_generates
from triton_proxy.protocols.openai.templates import Render, TemplateRefused
from triton_proxy.protocols.rest.refused import quoted

# What a model may be asked to tell beside its text.
_ASKED_FOR = ("return_prompt_tokens", "return_completion_tokens", "return_finish_reason")


def inputs_for(request: TextRequest, roles: Roles, render: Render) -> tuple[InputTensor, ...]:
    """A model's inputs.

    Args:
        request: what is asked for.
        roles: what its inputs are for.
        render: renders its chat template.

    Raises:
        RequestRefused: the model can't take the request.
    """
    check_generates(roles)
    system: str | None = None
    images: list[str] = []
    prompt = request.prompt
    if request.conversation is not None:
        prompt, system = _prompt(request, request.conversation, roles, render)
        images = list(request.conversation.images)
    made = [roles.tensor("prompt", [prompt], "messages" if request.conversation else "prompt")]
    if "system" in roles.inputs and (system or not roles.signature.inputs[roles.inputs["system"]].optional):
        made.append(roles.tensor("system", [system or ""]))
    if images:
        if "image" not in roles.inputs:
            raise RequestRefused(
                f"messages have {len(images)} pictures, and model {quoted(request.model)} has no input 'image' for"
                " them; leave them out, or ask a model that sees",
                "messages",
            )
        made.append(roles.tensor("image", images, "messages"))
    if "stream" in roles.inputs:
        made.append(roles.tensor("stream", [request.stream]))
    if "exclude_input" in roles.inputs:
        made.append(roles.tensor("exclude_input", [True]))
    made += [roles.tensor(role, [True]) for role in _ASKED_FOR if role in roles.inputs]
    return (*made, *request.sampling.tensors(roles))


def _prompt(request: TextRequest, conversation: Conversation, roles: Roles, render: Render) -> tuple[str, str | None]:
    """The prompt of a chat, and what is said to the system, where the model takes that apart."""
    if roles.template:
        return _rendered(request, conversation, roles, render), None
    if request.tools:
        raise RequestRefused(
            f"tools are described to a model by its chat template, and model {quoted(request.model)} has none; leave"
            " them out",
            "tools",
        )
    messages = list(conversation.messages)
    if "system" not in roles.inputs:
        return joined(messages), None
    system = "\n".join(text_of(each) for each in messages if each["role"] == "system")
    others = [each for each in messages if each["role"] != "system"]
    # With the system's part apart, one message of a user's needs no form.
    alone = len(others) == 1 and others[0]["role"] == "user"
    return (text_of(others[0]) if alone else joined(others)), system


def _rendered(request: TextRequest, conversation: Conversation, roles: Roles, render: Render) -> str:
    parameters = roles.signature.parameters
    words: dict[str, Any] = {
        **(request.template_words or {}),
        "messages": conversation.messages,
        "tools": request.tools or None,
        "add_generation_prompt": True,
        "bos_token": parameters.get(BOS, ""),
        "eos_token": parameters.get(EOS, ""),
    }
    try:
        return render(roles.template, words)
    except TemplateRefused as refused:
        of = f"the chat template of model {quoted(request.model)}"
        if refused.of_messages:
            raise RequestRefused(f"{of} does not take these messages: {refused}", "messages") from None
        raise RequestRefused(
            f"{of} made no prompt of the messages: {refused}; its publisher has to change it, or send other messages",
            "messages",
            Code.FAILED_PRECONDITION,
        ) from None
