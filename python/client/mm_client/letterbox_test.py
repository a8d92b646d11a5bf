from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_client.letterbox import Letterbox, to_tensor


def test_the_frame_lies_in_the_middle_of_grey() -> None:
    square = Letterbox(320, 160, 64).apply(np.full((160, 320, 3), 255, np.uint8))
    assert square.shape == (64, 64, 3)
    assert (square[:16] == 114).all()
    assert (square[48:] == 114).all()
    assert (square[16:48] == 255).all()


def test_the_tensor_is_rgb_planes_from_0_to_1() -> None:
    square = np.zeros((4, 4, 3), np.uint8)
    square[0, 1] = (51, 102, 255)
    tensor = to_tensor(square)
    assert tensor.shape == (1, 3, 4, 4)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    np.testing.assert_allclose(tensor[0, :, 0, 1], [1.0, 0.4, 0.2], rtol=1e-6)
    assert tensor.sum() == pytest.approx(1.6)


@given(
    st.integers(16, 4000),
    st.integers(16, 4000),
    st.integers(1, 20).map(lambda step: 32 * step),
    st.tuples(*[st.floats(0, 1)] * 4),
)
def test_mapping_into_the_square_and_back_is_exact_to_a_pixel_of_the_square(
    width: int, height: int, size: int, edges: tuple[float, ...]
) -> None:
    letterbox = Letterbox(width, height, size)
    box = np.array([[edges[0] * width, edges[1] * height, edges[2] * width, edges[3] * height]], np.float32)
    inside = box * np.float32(letterbox.scale) + np.array(letterbox.offset * 2, np.float32)
    np.testing.assert_allclose(letterbox.to_frame(inside), box, atol=0.51 / letterbox.scale + 0.01)
    (inner_width, inner_height), (left, top) = letterbox.inner, letterbox.offset
    assert max(inner_width, inner_height) == size
    assert 0 <= left <= (size - inner_width + 1) // 2
    assert 0 <= top <= (size - inner_height + 1) // 2
