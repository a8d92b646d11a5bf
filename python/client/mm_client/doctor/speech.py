"""What a port speaks: HTTP/2, TLS, or something else. Frames are those of RFC 9113, alerts those of RFC 8446."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from enum import Enum

from mm_client.doctor.network import Place, connect

# The preface of a client, and an empty SETTINGS frame.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4
_TLS_ALERT = b"\x15\x03"
_SHOWN_BYTES = 60


class Speech(Enum):
    """What came back for the preface of HTTP/2."""

    HTTP2 = "HTTP/2"
    HTTP1 = "HTTP/1"
    TLS = "TLS"
    OTHER = "something else"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Answer:
    """What a port answered.

    Attributes:
        speech: what it is.
        words: it in words, for people.
        hung_up: whether the server ended the connection without a word.
    """

    speech: Speech
    words: str
    hung_up: bool = False


_HUNG_UP = Answer(Speech.NOTHING, "the server hung up", hung_up=True)
_HTTP1 = Answer(Speech.HTTP1, "an HTTP/1 server answered")


def listen(place: Place, timeout_secs: float) -> Answer:
    """Send the preface of HTTP/2 in plaintext, and return what comes back."""
    try:
        with connect(place, timeout_secs) as made:
            answer = answer_to_preface(made)
        # Some answer an unknown version of HTTP without a head.
        return _HTTP1 if answer.speech is Speech.OTHER and _answers_http1(place, timeout_secs) else answer
    except OSError as error:
        return Answer(Speech.NOTHING, f"the connection failed ({error})")


def _answers_http1(place: Place, timeout_secs: float) -> bool:
    with connect(place, timeout_secs) as made:
        made.sendall(b"HEAD / HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n")
        return made.recv(_SHOWN_BYTES).startswith(b"HTTP/1")


def refusal_of_tls(made: socket.socket) -> str:
    """Return the alert with which a server ends TLS after its handshake, in OpenSSL's words; empty without one."""
    try:
        made.recv(1)
    except ssl.SSLError as error:
        return _reason(error)
    except OSError:
        pass
    return ""


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


def answer_to_preface(made: socket.socket) -> Answer:
    """Send the preface of HTTP/2 over a connection, and return what comes back before its wait ends."""
    data = b""
    try:
        made.sendall(_PREFACE)
        while len(data) < _FRAME_HEADER_BYTES:
            more = made.recv(_SHOWN_BYTES)
            if not more:
                break
            data += more
    except ssl.SSLError as error:
        return Answer(Speech.NOTHING, f"the server ended TLS ({_reason(error)})")
    except OSError as error:
        if not data:
            # What it sends before it hears anything, as SSH does, came before this.
            waited = isinstance(error, (TimeoutError, socket.timeout))
            return Answer(Speech.NOTHING, f"nothing came within {made.gettimeout():g} s") if waited else _HUNG_UP
    return _classified(data)


def _classified(data: bytes) -> Answer:
    if not data:
        return _HUNG_UP
    if data.startswith(b"HTTP/1"):
        return _HTTP1
    if data.startswith(_TLS_ALERT):
        return Answer(Speech.TLS, "a TLS server answered")
    if len(data) >= _FRAME_HEADER_BYTES and data[3] == _SETTINGS and data[5:_FRAME_HEADER_BYTES] == bytes(4):
        return Answer(Speech.HTTP2, "HTTP/2")
    shown = data[:_SHOWN_BYTES].decode("ascii", errors="replace").split("\n", 1)[0].strip()
    return Answer(Speech.OTHER, f"something else answered, {shown!r}")
