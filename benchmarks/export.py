"""ONNX files of Keras models: Keras' own export, and one for chains of layers whose weights are too much for that."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Keras' exporter (tf2onnx) takes about forty times the memory of the weights
TOO_LARGE = 256 << 20  # bytes of weights


def export(model: Any, path: Path) -> None:
    """Write the model: what ONNX Runtime runs."""
    import onnx

    size = sum(int(np.prod(w.shape)) * 4 for w in model.weights)
    if size > TOO_LARGE:
        onnx.save(chain_model(model), path)
        return
    # tf2onnx copies the whole graph before each of its passes, to have it back when one fails; none does here
    os.environ["TF2ONNX_CATCH_ERRORS"] = "FALSE"
    model.export(path, format="onnx", verbose=False)
    written = onnx.load(path)
    if without_idle_inputs(written):
        onnx.save(written, path)


def without_idle_inputs(model: Any) -> list[str]:
    """Take those inputs out of a ModelProto that nothing reads, but that a caller would have to give; their names.

    Keras' export leaves such placeholders where constants have been folded (in EfficientNet's normalisation).
    """
    graph = model.graph
    read = {name for node in graph.node for name in node.input} | {v.name for v in graph.output}
    idle = [v for v in graph.input if v.name not in read]
    for value in idle:
        graph.input.remove(value)
    return [v.name for v in idle]


def chain_model(model: Any) -> Any:
    """A chain of Keras layers as an onnx ModelProto: one node a layer and one an activation, channels first inside."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    weights: dict[str, Any] = {}
    value = "x"
    for layer in model.layers:
        for operator, arrays, attributes in LAYERS[type(layer).__name__](layer):
            names = [f"{layer.name}/{i}" for i in range(len(arrays))]
            weights |= dict(zip(names, arrays))
            result = f"v{len(nodes)}"
            nodes.append(helper.make_node(operator, [value, *names], [result], **attributes))
            value = result
    shapes = [["N", *tensor.shape[1:]] for tensor in (model.inputs[0], model.outputs[0])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in zip(("x", value), shapes))
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, model.name, [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


Node = tuple[str, list[Any], dict[str, Any]]  # operator, weights, attributes
ACTIVATIONS = {"relu": ["Relu"], "softmax": ["Softmax"], "linear": []}


def _activation(layer: Any) -> Iterator[Node]:
    for operator in ACTIVATIONS[layer.activation.__name__]:
        yield operator, [], {}


def _input(layer: Any) -> Iterator[Node]:
    yield "Transpose", [], {"perm": [0, 3, 1, 2]}


def _conv(layer: Any) -> Iterator[Node]:
    kernel, bias = layer.get_weights()
    if layer.padding != "same" or set(layer.strides) != {1}:
        raise ValueError(f"{layer.name}: only convolutions of stride 1 that are padded to the same size")
    yield "Conv", [kernel.transpose(3, 2, 0, 1), bias], {"auto_pad": "SAME_UPPER"}
    yield from _activation(layer)


def _pool(layer: Any) -> Iterator[Node]:
    yield "MaxPool", [], {"kernel_shape": layer.pool_size, "strides": layer.strides}


def _flatten(layer: Any) -> Iterator[Node]:
    yield "Transpose", [], {"perm": [0, 2, 3, 1]}
    yield "Flatten", [], {}


def _dense(layer: Any) -> Iterator[Node]:
    yield "Gemm", layer.get_weights(), {}
    yield from _activation(layer)


LAYERS: dict[str, Callable[[Any], Iterator[Node]]] = {
    "InputLayer": _input,
    "Conv2D": _conv,
    "MaxPooling2D": _pool,
    "Flatten": _flatten,
    "Dense": _dense,
}
