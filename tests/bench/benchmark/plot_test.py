from __future__ import annotations

from pathlib import Path

from benchmark import paths
from benchmark.figures_testing import results
from benchmark.plot import draw
from benchmark.results import Key
from benchmark.rows import rows

CELL = (1024, 8)


def test_a_picture_is_drawn_whatever_failed(tmp_path: Path) -> None:
    found = results(CELL, {"direct_unary": [10, 20, 15], "ours_new_stream": [9, 9, 9]})
    found.errors[Key("naive", *CELL)] = "gone"
    target = tmp_path / "bench.png"
    draw(rows(found, paths.PATHS, [CELL, (4_915_200, 64)]), target)
    assert target.read_bytes().startswith(b"\x89PNG")
