from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client.addresses import is_address, masked, masked_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:s3cret@camera:554/stream", "rtsp://***@camera:554/stream"),
        ("rtsp://user:s3/cr@et#?@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://s3cret@[fe80::1]:554/", "rtsp://***@[fe80::1]:554/"),
        ("https://camera/live.m3u8?token=s3cret#s3cret", "https://camera/live.m3u8?***"),
        ("http://camera/#s3cret", "http://camera/?***"),
        ("rtsp://user:a s3cret@camera/stream", "rtsp://***@camera/stream"),
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("street.mp4", "street.mp4"),
        ("user@host.mp4", "user@host.mp4"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert masked_address(address) == shown


def test_each_address_in_a_text_is_masked() -> None:
    text = "cannot open 'RTSP://a:s3cret@b/c' nor (http+unix://d?s3cret);\nexpected HOST:PORT without http://, a@b"
    shown = "cannot open 'RTSP://***@b/c' nor (http+unix://d?***\nexpected HOST:PORT without http://, a@b"
    assert masked(text) == shown


@given(st.text().filter(lambda text: "@" not in text), st.text(st.characters(codec="ascii", categories=["L", "N"])))
def test_no_password_is_left(password: str, host: str) -> None:
    assert masked_address(f"rtsp://user:{password}@{host}/") == f"rtsp://***@{host}/"


def test_a_path_is_no_address() -> None:
    assert is_address("rtsp://camera")
    assert not is_address("/data/street.mp4")
