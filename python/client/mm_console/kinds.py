"""In which ways a model can be tried, by what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mm_client.chat_model import makes_text
from mm_client_api import ModelDescription, TensorSpec

IMAGE, VIDEO, SOUND, CHAT, TEXT, ARRAYS = "image", "video", "sound", "chat", "text", "arrays"
TITLES = {IMAGE: "Image", VIDEO: "Video", SOUND: "Sound", CHAT: "Chat", TEXT: "Text", ARRAYS: "Arrays"}
_FLOATS = ("FP32", "FP16", "FP64", "BF16")
# A waveform is an array of any length like others: only its name says what it is.
_SOUNDS = ("wave", "audio", "sound", "speech", "signal", "pcm", "samples")
_COLOURS = 3
# Of a picture's height and width; what is smaller is none.
_SMALLEST_SIDE = 16


@dataclass(frozen=True)
class PictureInput:
    """An input that takes a picture.

    Attributes:
        name: of the input.
        datatype: Triton's name of its element type; floating point takes 0 to 1, UINT8 0 to 255.
        planar: whether colours are its first dimension after the batch's, not the last.
        height: in pixels; None for any.
        width: likewise.
    """

    name: str
    datatype: str
    planar: bool
    height: int | None
    width: int | None

    @property
    def square(self) -> int | None:
        """The side of a picture that has to be square, in pixels."""
        return self.height if self.height == self.width else None


def kinds_of(description: ModelDescription) -> list[str]:
    """Return the ways, the most natural first; arrays are always one."""
    return [*_natural(description), ARRAYS]


def _natural(description: ModelDescription) -> Iterator[str]:
    needed = [spec for spec in description.inputs.values() if not spec.optional]
    if makes_text(description):
        yield CHAT
        return
    if len(needed) != 1 or description.decoupled or description.stateful:
        return
    picture = picture_input(description)
    if picture is not None:
        yield IMAGE
        if picture.planar and picture.square is not None and picture.datatype in _FLOATS:
            yield VIDEO
    elif takes_sound(needed[0]):
        yield SOUND
    elif needed[0].datatype == "BYTES":
        yield TEXT


def picture_input(description: ModelDescription) -> PictureInput | None:
    """Return the input that takes a picture; None for a model that takes none, or something beside it."""
    needed = [spec for spec in description.inputs.values() if not spec.optional]
    if len(needed) != 1 or len(needed[0].shape) not in (3, 4) or needed[0].datatype not in (*_FLOATS, "UINT8"):
        return None
    spec = needed[0]
    if len(spec.shape) == 4 and spec.shape[0] not in (-1, 1):
        return None
    dims = spec.shape[-3:]
    for planar, colours, sides in ((True, dims[0], dims[1:]), (False, dims[2], dims[:2])):
        if colours == _COLOURS and all(side == -1 or side >= _SMALLEST_SIDE for side in sides):
            height, width = (None if side == -1 else side for side in sides)
            return PictureInput(spec.name, spec.datatype, planar, height, width)
    return None


def takes_sound(spec: TensorSpec) -> bool:
    """Whether an input is a waveform: floating point, of any length, and named so."""
    named = any(word in spec.name.lower() for word in _SOUNDS)
    return named and spec.datatype in _FLOATS and len(spec.shape) in (1, 2) and spec.shape[-1] == -1
