"""gRPC's framing: any split of the bytes, any text, any metadata, and each thing a request can have wrong."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_service.status import Code
from triton_proxy.http2 import grpc_headers as headers
from triton_proxy.http2.grpc_messages import BrokenMessage, MessageReader, compress, expand, framed, prefix
from triton_proxy.http2.grpc_status import decode_message, encode_message, of_http, of_number, of_reset

HEAD = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/s.S/M"), (b":authority", b"a")]
GRPC = (b"content-type", b"application/grpc")

messages = st.lists(st.tuples(st.binary(max_size=200), st.booleans()), max_size=8)


def on_the_wire(sent: list[tuple[bytes, bool]]) -> bytes:
    return b"".join(prefix(len(data), compressed=flag) + data for data, flag in sent)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@given(sent=messages, cuts=st.lists(st.integers(0, 2000), max_size=30))
def test_any_split_of_the_bytes_gives_the_same_messages(sent: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    reader = MessageReader(200)
    got = [message for part in split(on_the_wire(sent), cuts) for message in reader.feed(part)]
    assert [tuple(message) for message in got] == sent
    assert reader.held == 0
    reader.end()


@given(sent=messages, data=st.binary(min_size=1, max_size=50), cut=st.integers(1, 54))
def test_an_end_within_a_message_says_how_much_of_it_came(
    sent: list[tuple[bytes, bool]], data: bytes, cut: int
) -> None:
    last = on_the_wire([(data, False)])
    cut = min(cut, len(last) - 1)
    reader = MessageReader(200)
    reader.feed(on_the_wire(sent) + last[:cut])
    assert reader.held == cut
    with pytest.raises(BrokenMessage, match=f"the stream ended within a message, after {cut} bytes of it") as broken:
        reader.end()
    assert broken.value.status is Code.INTERNAL


@pytest.mark.parametrize("parts", [[b"\0\0\0\0\x0b"], [b"\0\0", b"\0\0\x0b"], [b"\0\0\0\0\1x\0\0\0\0\x0b"]])
def test_a_length_beyond_the_limit_is_refused_at_the_prefix(parts: list[bytes]) -> None:
    reader = MessageReader(10)
    for part in parts[:-1]:
        reader.feed(part)
    with pytest.raises(BrokenMessage, match=r"Received message larger than max \(11 vs. 10\)") as broken:
        reader.feed(parts[-1])
    assert broken.value.status is Code.RESOURCE_EXHAUSTED


def test_another_flag_than_0_or_1_is_refused() -> None:
    with pytest.raises(BrokenMessage, match="compressed-flag is 2: 0 or 1 is expected"):
        MessageReader(10).feed(b"\2\0\0\0\0")


@given(data=st.binary(max_size=3000), encoding=st.sampled_from(["gzip", "deflate"]))
def test_what_is_compressed_expands_to_what_it_was(data: bytes, encoding: str) -> None:
    assert expand(compress(data, encoding), encoding, len(data)) == data


def test_compression_is_what_others_understand() -> None:
    assert gzip.decompress(compress(b"data", "gzip")) == b"data"
    assert zlib.decompress(compress(b"data", "deflate")) == b"data"


@pytest.mark.parametrize(
    ("data", "encoding", "status", "text"),
    [
        (gzip.compress(bytes(101)), "gzip", Code.RESOURCE_EXHAUSTED, "more than 100 after decompression vs. 100"),
        (gzip.compress(b"x")[:-1], "gzip", Code.INTERNAL, "does not decompress as gzip: it is cut or has bytes left"),
        (
            gzip.compress(b"x") + b"y",
            "gzip",
            Code.INTERNAL,
            "does not decompress as gzip: it is cut or has bytes left",
        ),
        (b"junk", "deflate", Code.INTERNAL, "does not decompress as deflate: "),
        (b"junk", "identity", Code.INTERNAL, "grpc-encoding names no compression"),
    ],
)
def test_what_does_not_expand_says_why(data: bytes, encoding: str, status: Code, text: str) -> None:
    with pytest.raises(BrokenMessage) as broken:
        expand(data, encoding, 100)
    assert broken.value.status is status
    assert text in str(broken.value)


def test_a_large_message_is_framed_as_it_lies() -> None:
    large = bytes(20_000)
    assert framed((large, large), "identity") == (prefix(40_000), large, large)
    assert framed((large, large), "identity")[1] is large
    assert framed((b"ab", memoryview(b"c")), "identity") == (b"\0\0\0\0\3abc",)
    assert framed((bytes(70_000),), "gzip")[0] == prefix(70_000)


@given(text=st.text(max_size=200))
def test_any_text_comes_through_grpc_message(text: str) -> None:
    encoded = encode_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert decode_message(encoded) == text.encode("utf-8", "replace").decode()


def test_a_long_text_is_cut_between_characters() -> None:
    assert decode_message(encode_message("ä" * 5000)) == "ä" * (4096 // 6)
    assert encode_message("a" * 5000) == b"a" * 4096


@pytest.mark.parametrize(("value", "text"), [(b"50%", "50%"), (b"%zz", "%zz"), (b"%FF", "�"), (b"a%20b", "a b")])
def test_broken_escapes_do_not_hide_a_text(value: bytes, text: str) -> None:
    assert decode_message(value) == text


names = st.from_regex(r"x-[a-z0-9_.-]{0,9}[a-z0-9]", fullmatch=True).filter(lambda name: not name.endswith("-bin"))
printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30)


@given(texts=st.lists(st.tuples(names, printable)), binaries=st.lists(st.tuples(names, st.binary(max_size=30))))
def test_metadata_comes_back_as_it_was(texts: list[tuple[str, str]], binaries: list[tuple[str, bytes]]) -> None:
    metadata: list[tuple[str, str | bytes]] = [*texts, *((f"{name}-bin", value) for name, value in binaries)]
    fields = headers.encode_metadata(metadata)
    assert not any(value.endswith(b"=") for name, value in fields if name.endswith(b"-bin"))
    assert headers.RequestHead([*HEAD, GRPC, (b"te", b"trailers"), *fields]).metadata == metadata


def test_binary_metadata_may_be_padded_joined_or_broken() -> None:
    assert headers.decode_metadata([(b"a-bin", b"YQ==, YWI"), (b"b-bin", b"!"), (b"c-bin", b"")]) == [
        ("a-bin", b"a"), ("a-bin", b"ab"), ("c-bin", b""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "metadata", [("grpc-status", "0"), ("Upper", "x"), ("x", "ä"), ("x", "\n"), ("te", "x"), ("", "x")]
)
def test_metadata_that_can_t_be_sent_is_an_error(metadata: tuple[str, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the encoder's own among them
        headers.encode_metadata([metadata])


@pytest.mark.parametrize(
    ("value", "secs"),
    [
        (b"1H", 3600),
        (b"2M", 120),
        (b"3S", 3),
        (b"4m", 0.004),
        (b"5u", 5e-6),
        (b"6n", 6e-9),
        (b"99999999H", 99999999 * 3600),
    ],
)
def test_a_timeout_is_digits_and_a_unit(value: bytes, secs: float) -> None:
    assert headers.parse_timeout(value) == pytest.approx(secs)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1s", b"123456789S", b"-1S", b"1.5S", b" 1S"])
def test_a_malformed_timeout_is_refused(value: bytes) -> None:
    with pytest.raises(headers.HeadRefused, match="malformed grpc-timeout") as refused:
        headers.parse_timeout(value)
    assert (refused.value.http_status, refused.value.status) == (200, Code.INTERNAL)


@given(secs=st.floats(1e-6, 99_999_999))
def test_a_timeout_is_never_shorter_on_the_wire(secs: float) -> None:
    value = headers.format_timeout(secs)
    assert len(value) <= 9
    assert headers.parse_timeout(value) >= min(secs, 99_999) - 1e-9


@pytest.mark.parametrize(
    ("fields", "http_status", "status", "text"),
    [
        ([(b":method", b"GET"), (b":path", b"/"), GRPC], 405, Code.INTERNAL, "gRPC is called by POST"),
        (HEAD, 415, Code.INTERNAL, "the content-type of a gRPC request is application/grpc"),
        ([*HEAD, (b"content-type", b"application/grpc-web")], 415, Code.INTERNAL, "the content-type of"),
        ([*HEAD, (b"content-type", b"application/json")], 415, Code.INTERNAL, "the content-type of"),
        ([*HEAD, GRPC, (b"grpc-encoding", b"br")], 200, Code.UNIMPLEMENTED, "use one of identity, gzip, deflate"),
        ([*HEAD, GRPC, (b"grpc-timeout", b"1")], 200, Code.INTERNAL, "malformed grpc-timeout"),
    ],
)
def test_a_head_that_can_t_be_served_says_why(
    fields: list[tuple[bytes, bytes]], http_status: int, status: Code, text: str
) -> None:
    with pytest.raises(headers.HeadRefused) as refused:
        headers.RequestHead(fields)
    answer = dict(headers.refusal_fields(refused.value))
    assert answer[b":status"] == b"%d" % http_status
    assert answer[b"grpc-status"] == b"%d" % status
    assert text in decode_message(answer[b"grpc-message"])


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"application/grpc;charset=utf-8"])
def test_grpc_s_content_types_are_taken(kind: bytes) -> None:
    head = headers.RequestHead([*HEAD, (b"content-type", kind), (b"grpc-accept-encoding", b"identity, gzip")])
    assert (head.path, head.authority, head.timeout, head.encoding) == ("/s.S/M", "a", None, "identity")
    assert [head.accepts(encoding) for encoding in ("identity", "gzip", "deflate")] == [True, True, False]


def test_http_and_http2_errors_stand_for_statuses() -> None:
    assert [of_reset(error) for error in (0, 7, 8, 11, 12, 99)] == [
        Code.INTERNAL, Code.UNAVAILABLE, Code.CANCELLED, Code.RESOURCE_EXHAUSTED, Code.PERMISSION_DENIED,
        Code.INTERNAL,
    ]  # fmt: skip
    assert [of_http(status) for status in (b"401", b"404", b"503", b"418")] == [
        Code.UNAUTHENTICATED, Code.UNIMPLEMENTED, Code.UNAVAILABLE, Code.UNKNOWN,
    ]  # fmt: skip
    assert [of_number(value) for value in (b"0", b"16", b"17", b"", b"x")] == [
        Code.OK, Code.UNAUTHENTICATED, Code.UNKNOWN, Code.UNKNOWN, Code.UNKNOWN,
    ]  # fmt: skip
