"""A detector with the tensors of YOLOv8n, calculated instead of trained: it finds patches of the palette's colours.

1. The mask of each colour: pixels nearer to it than RADIUS.
2. Per cell of 8 x 8 pixels: how far the masked pixels reach to each side, how many they are.
3. Per anchor of YOLOv8's three levels: the same over a window around it, by maximum and sum. If one patch lies within
   the window, these are its exact bounds.
4. The score: how near the patch's middle is to the anchor, or 0 unless the patch lies within the window, has a size
   that the level is for, fills its box and has no gap. So neighbours merged into one, and specks, get nothing; and
   neither do two patches of one colour that are so near that no window holds just one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from devstack.onnx_models import finish
from devstack.palette import COCO_CLASSES, PALETTE

SIZE = 640
INPUT_SHAPE = (1, 3, SIZE, SIZE)
OUTPUT_SHAPE = (1, 4 + COCO_CLASSES, 8400)
RADIUS = 0.5
_CELL = 8
_CELLS = SIZE // _CELL
_MINIMUM_FILL = 0.2
_HIGHEST_SCORE = 0.98


@dataclass(frozen=True)
class _Level:
    """One grid of anchors.

    Attributes:
        stride: pixels between two anchors.
        window: cells that an anchor sees in either direction, itself in their middle.
        smallest: pixels that the longer side of a patch must have.
        largest: pixels that it may have.
    """

    stride: int
    window: int
    smallest: float
    largest: float


_LEVELS = (_Level(8, 9, 10, 64), _Level(16, 18, 40, 128), _Level(32, 40, 96, 320))


class _Graph:
    """Collects nodes; each method returns the name of what it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}

    def add(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        output = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def floats(self, values: object) -> str:
        return self._constant(np.asarray(values, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        return self._constant(np.asarray(values, np.int64))

    def _constant(self, value: NDArray[np.generic]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value
        return name

    def pool(self, operator: str, value: str, kernel: tuple[int, int], strides: tuple[int, int], pad: int = 0) -> str:
        """Pools with `pad` cells on both ends of each axis that the kernel is longer than 1 on."""
        pads = [pad if length > 1 else 0 for length in kernel]
        attributes: dict[str, Any] = {"count_include_pad": 1} if operator == "AveragePool" else {}
        return self.add(operator, value, kernel_shape=kernel, strides=strides, pads=pads * 2, **attributes)


@dataclass(frozen=True)
class _Cells:
    """Names of tensors [1, classes, 80, 80], 0 where a cell holds nothing.

    Attributes:
        reach: concatenation of the reach to the right, left, bottom and top, in pixels from the opposite image border.
        area: masked part of the cell, 0 to 1.
        occupied: 1 where a cell holds anything.
    """

    reach: str
    area: str
    occupied: str


def _masked_cells(graph: _Graph) -> _Cells:
    colours = np.array([colour.rgb for colour in PALETTE], np.float32)
    squares = graph.add("Mul", "images", "images")
    features = graph.add("Concat", "images", squares, axis=1)
    # radius² - |p - c|² = 2 c·p - |p|² + radius² - |c|², positive inside.
    kernel = np.concatenate([2 * colours, -np.ones_like(colours)], axis=1)[:, :, None, None]
    bias = RADIUS**2 - (colours**2).sum(axis=1)
    inside = graph.add("Conv", features, graph.floats(kernel), graph.floats(bias))
    # Reduced along one axis before anything else, so that little is left to do per pixel.
    columns = _positive(graph, graph.pool("MaxPool", inside, (_CELL, 1), (_CELL, 1)))
    rows = _positive(graph, graph.pool("MaxPool", inside, (1, _CELL), (1, _CELL)))
    forward, backward = np.arange(1, SIZE + 1), np.arange(SIZE, 0, -1)
    reaches = []
    for occupied, shape, kernel_shape in ((columns, (1, 1, 1, SIZE), (1, _CELL)), (rows, (1, 1, SIZE, 1), (_CELL, 1))):
        for scale in (forward, backward):
            coordinates = graph.add("Mul", occupied, graph.floats(scale.reshape(shape)))
            reaches.append(graph.pool("MaxPool", coordinates, kernel_shape, kernel_shape))
    return _Cells(
        reach=graph.add("Concat", *reaches, axis=1),
        area=graph.pool("AveragePool", _positive(graph, inside), (_CELL, _CELL), (_CELL, _CELL)),
        occupied=graph.pool("MaxPool", columns, (1, _CELL), (1, _CELL)),
    )


def _positive(graph: _Graph, value: str) -> str:
    return graph.add("Cast", graph.add("Greater", value, graph.floats(0)), to=TensorProto.FLOAT)


def _anchors(level: _Level) -> NDArray[np.float32]:
    """Returns x and y of the level's anchors, [2, 1, anchors] in pixels, row by row."""
    places = (np.arange(SIZE // level.stride, dtype=np.float32) + 0.5) * level.stride
    y, x = np.meshgrid(places, places, indexing="ij")
    return np.stack([x.ravel(), y.ravel()])[:, None]


def _windows(graph: _Graph, cells: _Cells, level: _Level) -> tuple[str, str, str]:
    """Looks through the level's windows.

    Returns:
        Names of reach [4, classes, anchors] as in _Cells, masked area in pixels [1, classes, anchors], and the number
        of columns and of rows of cells that hold anything [2, classes, anchors].
    """
    step = level.stride // _CELL
    pad = (level.window - step) // 2

    def down(operator: str, value: str) -> str:
        return graph.pool(operator, value, (level.window, 1), (step, 1), pad)

    def across(operator: str, value: str) -> str:
        return graph.pool(operator, value, (1, level.window), (1, step), pad)

    def shaped(value: str, first: int) -> str:
        return graph.add("Reshape", value, graph.integers([first, len(PALETTE), (SIZE // level.stride) ** 2]))

    area = across("AveragePool", down("AveragePool", cells.area))
    columns = across("AveragePool", down("MaxPool", cells.occupied))
    rows = down("AveragePool", across("MaxPool", cells.occupied))
    return (
        shaped(across("MaxPool", down("MaxPool", cells.reach)), 4),
        shaped(graph.add("Mul", area, graph.floats((_CELL * level.window) ** 2)), 1),
        shaped(
            graph.add("Mul", graph.add("Concat", columns, rows, axis=1), graph.floats(level.window)),
            2,
        ),
    )


def _all(graph: _Graph, conditions: Sequence[str]) -> str:
    """Returns 1 for each class and anchor for which every condition [n, classes, anchors] holds, else 0."""
    numbers = [graph.add("Cast", condition, to=TensorProto.FLOAT) for condition in conditions]
    return graph.add("ReduceMin", graph.add("Concat", *numbers, axis=0), axes=[0], keepdims=1)


def _level(graph: _Graph, cells: _Cells, level: _Level) -> tuple[str, str]:
    """Returns boxes [4, classes, anchors] as centre, width and height in pixels, and scores [1, classes, anchors]."""
    reach, area, occupied = _windows(graph, cells, level)
    anchors = graph.floats(_anchors(level))
    right, left, bottom, top = (
        graph.add("Slice", reach, graph.integers([i]), graph.integers([i + 1]), graph.integers([0])) for i in range(4)
    )
    ends = graph.add("Concat", right, bottom, axis=0)
    starts = graph.add("Sub", graph.floats(SIZE), graph.add("Concat", left, top, axis=0))
    sizes = graph.add("Sub", ends, starts)
    centres = graph.add("Mul", graph.add("Add", starts, ends), graph.floats(0.5))
    width, height = (
        graph.add("Slice", sizes, graph.integers([i]), graph.integers([i + 1]), graph.integers([0])) for i in range(2)
    )
    longer = graph.add("Max", width, height)
    fill = graph.add("Div", area, graph.add("Max", graph.add("Mul", width, height), graph.floats(1)))
    first = graph.add("Floor", graph.add("Div", starts, graph.floats(_CELL)))
    last = graph.add("Ceil", graph.add("Div", ends, graph.floats(_CELL)))
    inner = graph.floats(level.window * _CELL / 2 - _CELL)
    passed = _all(
        graph,
        [
            graph.add("GreaterOrEqual", starts, graph.add("Sub", anchors, inner)),
            graph.add("LessOrEqual", ends, graph.add("Add", anchors, inner)),
            graph.add("GreaterOrEqual", sizes, graph.floats(_LEVELS[0].smallest)),
            graph.add("GreaterOrEqual", longer, graph.floats(level.smallest)),
            graph.add("LessOrEqual", longer, graph.floats(level.largest)),
            graph.add("GreaterOrEqual", fill, graph.floats(_MINIMUM_FILL)),
            # As many cells in a row as lie between the ends: none of them is empty.
            graph.add("Greater", occupied, graph.add("Sub", graph.add("Sub", last, first), graph.floats(0.5))),
        ],
    )
    offsets = graph.add("Div", graph.add("Abs", graph.add("Sub", centres, anchors)), graph.floats(level.stride))
    offset = graph.add("ReduceMax", offsets, axes=[0], keepdims=1)
    # The nearest anchor is at most half a stride away and gets the full score, one a stride away nearly none.
    slope = graph.add("Sub", graph.floats(1.9), graph.add("Mul", offset, graph.floats(1.8)))
    nearness = graph.add("Clip", slope, graph.floats(0), graph.floats(_HIGHEST_SCORE))
    firmness = graph.add("Add", graph.floats(0.75), graph.add("Mul", fill, graph.floats(0.25)))
    score = graph.add("Mul", passed, graph.add("Mul", nearness, graph.add("Min", firmness, graph.floats(1))))
    return graph.add("Concat", centres, sizes, axis=0), score


def build() -> onnx.ModelProto:
    """Builds the detector.

    Returns:
        A model with input images FP32 [1, 3, 640, 640], RGB from 0 to 1, and output output0 FP32 [1, 84, 8400]: for
        each anchor centre x, centre y, width and height of a box in pixels, then the scores of the 80 COCO classes.
    """
    graph = _Graph()
    cells = _masked_cells(graph)
    found = [_level(graph, cells, level) for level in _LEVELS]
    boxes = graph.add("Concat", *(box for box, _ in found), axis=2)
    scores = graph.add("Concat", *(score for _, score in found), axis=2)
    best_score = graph.add("ReduceMax", scores, axes=[1], keepdims=1)
    best = graph.add("ArgMax", scores, axis=1, keepdims=1)
    box = graph.add("GatherElements", boxes, graph.add("Concat", *[best] * 4, axis=0), axis=1)
    # Where there is nothing: the anchor's own cell.
    middles = np.concatenate([_anchors(level) for level in _LEVELS], axis=2)
    strides = np.concatenate([np.full((2, 1, (SIZE // level.stride) ** 2), level.stride) for level in _LEVELS], axis=2)
    seen = graph.add("Greater", best_score, graph.floats(0))
    box = graph.add("Where", seen, box, graph.floats(np.concatenate([middles, strides])))
    is_best = graph.add("Cast", graph.add("Equal", scores, best_score), to=TensorProto.FLOAT)
    only_best = graph.add("Mul", scores, is_best)
    coco = np.zeros((1, COCO_CLASSES, len(PALETTE)))
    coco[0, [colour.class_id for colour in PALETTE], range(len(PALETTE))] = 1
    classes = graph.add("MatMul", graph.floats(coco), only_best)
    box = graph.add("Reshape", box, graph.integers([1, 4, OUTPUT_SHAPE[2]]))
    graph.add("Concat", box, classes, name="output0", axis=1)
    value = helper.make_tensor_value_info
    return finish(
        "coloured_shapes",
        graph.nodes,
        [value("images", TensorProto.FLOAT, INPUT_SHAPE)],
        [value("output0", TensorProto.FLOAT, OUTPUT_SHAPE)],
        graph.constants,
    )
