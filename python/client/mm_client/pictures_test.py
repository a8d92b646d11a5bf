from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from client_testing import media

from mm_client.media import Frame, MediaError, Unreadable
from mm_client.pictures import PictureSource, is_picture, read_picture


def half_red() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """80×40, the left half red."""
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40] = (0, 0, 255)
    return image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_pictures_are_read_upright(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_bytes(media.picture(suffix, half_red()))
    assert read_picture(path).shape == (40, 80, 3)
    path.write_bytes(media.picture(suffix, half_red(), orientation=6))
    image = read_picture(path)
    assert image.shape == (80, 40, 3)
    # The left half is on top.
    np.testing.assert_allclose(image[10, 20], (0, 0, 255), atol=4)
    np.testing.assert_allclose(image[70, 20], (0, 0, 0), atol=4)


@pytest.mark.parametrize(
    "image",
    [
        np.full((40, 80), 120, np.uint8),
        np.full((40, 80, 4), 120, np.uint8),
        np.full((40, 80), 120 * 257, np.uint16),
        np.full((40, 80, 3), 120 * 257, np.uint16),
    ],
)
def test_grey_transparent_and_deep_pictures_have_three_channels_of_bytes(tmp_path: Path, image: np.ndarray) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    read = read_picture(path)
    assert read.shape == (40, 80, 3)
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read, 120, atol=1)


def test_a_folder_is_read_by_name_and_what_is_broken_is_said(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "d.webp"):
        (tmp_path / name).write_bytes(media.picture(Path(name).suffix.lower(), half_red()))
    (tmp_path / "c.jpg").write_bytes(media.picture(".jpg", half_red())[:300])
    (tmp_path / "e.jpg").write_bytes(b"")
    (tmp_path / "._a.jpg").write_bytes(b"of macOS")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "more").mkdir()
    source = PictureSource(tmp_path)
    items = list(source.frames())
    assert [item.file.name for item in items if item.file] == ["a.jpeg", "b.PNG", "c.jpg", "d.webp", "e.jpg"]
    assert [item.ts_ms for item in items] == [0, 1000, 2000, 3000, 4000]
    assert [type(item) for item in items] == [Frame, Frame, Unreadable, Frame, Unreadable]
    for item in (items[2], items[4]):
        assert isinstance(item, Unreadable)
        assert "cannot be decoded as a picture: it is damaged or of another format; expected JPEG" in item.reason
    assert (source.frame_count, source.missing, source.left_out) == (5, 0, ("notes.txt",))
    assert len(list(source.frames(limit=2))) == 2


def test_a_picture_is_known_by_its_suffix_or_its_beginning(tmp_path: Path) -> None:
    assert is_picture(tmp_path / "none.JPG")
    assert not is_picture(tmp_path / "none.mp4")
    for suffix in (".jpg", ".png", ".webp"):
        (tmp_path / "picture").write_bytes(media.picture(suffix, half_red()))
        assert is_picture(tmp_path / "picture")
        (tmp_path / "photo.jfif").write_bytes(media.picture(suffix, half_red()))
        assert is_picture(tmp_path / "photo.jfif")
    assert not is_picture(media.write(tmp_path / "v.mp4", media.grey_frames(2)))
    (tmp_path / "camera.mjpeg").write_bytes(media.picture(".jpg", half_red()) * 2)
    assert not is_picture(tmp_path / "camera.mjpeg")


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    (tmp_path / "photo.heic").write_bytes(b"of a phone")
    with pytest.raises(MediaError, match=r"has no pictures; expected files that end in \.jpeg, \.jpg, \.png, \.webp"):
        PictureSource(tmp_path)
