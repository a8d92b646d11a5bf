"""Ids of the sequences of stateful models, such that the model's own control tensor holds all of them.

Triton knows a sequence by a number of 64 bits or a text. A model may ask for it (`CONTROL_SEQUENCE_CORRID`): as a text
it gets only a text, and of a number with 32 bits the low-order half.

A sequence that lives within a call of ours gets an id that is drawn (`SequenceIds.draw`). One that its caller names, in
whatever calls, gets an id that follows from the caller and the name (`SequenceIds.named`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

# As a parameter of a request, a number is a signed one; in a model that takes it as signed, it is not to turn negative.
_BITS = {"INT32": 31, "UINT32": 32, "INT64": 63, "UINT64": 63}
_TEXT = "STRING"
# In hexadecimal digits exactly the 128 characters that Triton takes at most: some releases hand the model all of their
# buffer, and what is left of it turns into further elements, with which they then refuse the request.
_TEXT_BYTES = 64
_KEY_BYTES = 64
_Holder = TypeVar("_Holder")


class SequenceIds(Generic[_Holder]):
    """Draws ids. They can't be guessed, as far as their width allows: a caller that knew one could join in.

    An id does not come again as long as its holder is there. What other proxies of the same Triton draw is not known
    here: of 32 bits, ten thousand live sequences on each of two proxies share one with a chance of 2 %.
    """

    def __init__(self, key: bytes | None = None, *, worker: int = 0, workers: int = 1) -> None:
        """None is in use.

        Args:
            key: so long as it lives, the same name is the same id, and nobody else can tell which; None draws one.
            worker: which of the proxy's processes this is, from 0: each draws ids of its own.
            workers: how many there are.
        """
        self._key = key or new_key()
        self._worker = worker
        self._workers = workers
        self._lock = threading.Lock()
        self._holders: WeakValueDictionary[int | str, _Holder] = WeakValueDictionary()

    def draw(self, datatype: str, holder: _Holder) -> int | str:
        """An id that is not in use.

        Args:
            datatype: of the model's control tensor, such as "UINT32" or "STRING".
            holder: the sequence; the id is in use until that is gone.
        """
        with self._lock:
            while (made := self._made(datatype)) in self._holders:
                pass
            self._holders[made] = holder
            return made

    def _made(self, datatype: str) -> int | str:
        if datatype == _TEXT:
            return secrets.token_hex(_TEXT_BYTES)
        # Triton takes 0 for no sequence.
        return 1 + self._worker + self._workers * secrets.randbelow((2 ** _BITS[datatype] - 1) // self._workers)

    def named(self, principal: str, model: str, sequence_id: int | str, datatype: str) -> int | str:
        """The id of the sequence that a caller names: the same each time, and never another caller's but by chance.

        The chance is that of drawn ids: of 32 bits, ten thousand live sequences share one with a chance of 1 %.

        Args:
            principal: name of the caller.
            model: the model's name.
            sequence_id: the caller's own name of the sequence; a number and the same number as a text are two names.
            datatype: as in `SequenceIds.draw`.
        """
        # repr: no two of them are the same text.
        digest = hmac.digest(self._key, repr((principal, model, sequence_id)).encode(), hashlib.sha512)
        if datatype == _TEXT:
            return digest.hex()
        most: int = 2 ** _BITS[datatype] - 1
        return 1 + int.from_bytes(digest, "big") % most


def new_key() -> bytes:
    """A key that names of sequences become ids by."""
    return secrets.token_bytes(_KEY_BYTES)
