"""Weights that an ONNX model keeps in files of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from mm_publisher.layout import belongs


def problems(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Holds the files that a model names against those that are published with it.

    Args:
        model: loaded without its weights.
        folder: where its own file lies.

    Returns:
        A sentence for each file that is not there, is too short, or is not published.
    """
    ends: dict[str, int] = {}
    for tensor in _tensors(model):
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            ends[info.location] = max(ends.get(info.location, 0), (info.offset or 0) + (info.length or 0))
    return [found for location, end in sorted(ends.items()) if (found := _problem(location, end, folder))]


def used(model: onnx.ModelProto) -> bool:
    """Whether a model keeps weights in files of their own."""
    return any(uses_external_data(tensor) for tensor in _tensors(model))


def _problem(location: str, end: int, folder: Path) -> str:
    path = PurePosixPath(location)
    if not location or path.is_absolute() or ".." in path.parts or "\\" in location:
        return f"{location!r} leads out of the model's folder; expected a file beside the model"
    if not all(map(belongs, path.parts)):
        return f"{location!r} has a name that is left out when a model is published; expected one without a leading dot"
    file = folder / location
    if not file.is_file():
        return f"{location!r} is missing beside it"
    size = file.stat().st_size
    return f"{location!r} is too short: it has {size} bytes, and the model needs {end}" if size < end else ""


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors of a model: weights, and constants in nodes, of subgraphs and functions as well."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)
