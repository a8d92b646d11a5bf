"""Models for chats and embeddings, of which one has a template that is an attack itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from attacks.world import BOMB, CHAT, EMBEDDER
from devstack.models import DECOUPLED, Model, Signature

_SOURCES = Path(__file__).parents[2] / "integration"
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
# Within its second of the processor, beyond it, and beyond the memory of its process.
_BOMB = (
    "{% set said = messages[0].content %}"
    "{% if said == 'busy' %}{% for i in range(99999) %}{% for j in range(9) %}{% endfor %}{% endfor %}"
    "{% elif said == 'loop' %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    "{% else %}{{ 'a' * 10 ** 10 }}{% endif %}"
)


def write_text_models(repository: Path) -> None:
    """Writes CHAT, BOMB and EMBEDDER.

    Args:
        repository: Triton's.
    """
    for name, template in ((CHAT, _TEMPLATE), (BOMB, _BOMB)):
        _writer(template).write(repository / name)
        shutil.copyfile(_SOURCES / "writer_model.py", repository / name / "1" / "model.py")
    outputs = [Signature("embedding", "FP32", (2,)), Signature("num_input_tokens", "UINT32", (1,))]
    embedder = Model([Signature("text_input", "BYTES", (1,))], outputs, "identity", max_batch_size=4)
    embedder.write(repository / EMBEDDER)
    shutil.copyfile(_SOURCES / "embedder_model.py", repository / EMBEDDER / "1" / "model.py")


def _writer(template: str) -> Model:
    return Model(
        [
            Signature("text_input", "BYTES", (1,)),
            Signature("sampling_parameters", "BYTES", (1,)),
            Signature("stream", "BOOL", (1,)),
            Signature("image", "BYTES", (-1,), optional=True),
        ],
        [Signature("text_output", "BYTES", (-1,)), Signature("finish_reason", "BYTES", (-1,))],
        "identity",
        config=f'{DECOUPLED}parameters {{ key: "chat_template" value {{ string_value: {json.dumps(template)} }} }}\n',
    )
