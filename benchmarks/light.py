"""Models from the onnx package's own test data: structures, whose weights (all alike there) are filled at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Fill = Callable[[np.random.Generator, tuple[int, ...]], Array]
Role = tuple[str, int]  # operator and place among its operands


def shift(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """What is added: small numbers."""
    return np.asarray(generator.normal(0, 0.1, shape), np.float32)


def scale(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """What is multiplied: positive numbers around 1."""
    return np.asarray(generator.uniform(0.5, 1.5, shape), np.float32)


def _kernel(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """He's initialisation; outputs first."""
    return np.asarray(generator.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape), np.float32)


def _variance(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """About what the sums of two branches have, so that the outputs neither vanish nor saturate."""
    return np.asarray(generator.uniform(2, 4, shape), np.float32)


FILL: dict[Role, Fill] = {  # the others are shifts
    ("Conv", 1): _kernel,
    ("Gemm", 1): _kernel,
    ("BatchNormalization", 1): scale,
    ("BatchNormalization", 4): _variance,
}


def onnx_light(name: str, seed: int) -> Any:
    """The ModelProto of `light_<name>.onnx` with weights, and with any batch instead of 1."""
    import onnx
    from onnx.backend import test

    model = onnx.load(str(Path(test.__file__).parent / "data" / "light" / f"light_{name}.onnx"))
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    roles = {tensor: (node.op_type, i) for node in nodes for i, tensor in enumerate(node.input)}
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    made = {node.output[0]: tuple(stored[node.input[0]]) for node in graph.node if node.op_type == "ConstantOfShape"}
    generator = np.random.default_rng(seed)
    weights = {t: FILL.get(roles[t], shift)(generator, shape) for t, shape in made.items()}
    weights |= {t: _any_batch(value) for t, value in stored.items() if roles.get(t) == ("Reshape", 1)}
    weights |= {t: value for t, value in stored.items() if t in roles and t not in weights}
    inputs = [v for v in graph.input if v.name not in stored]
    for part, content in (
        (graph.node, nodes),
        (graph.input, inputs),
        (graph.value_info, []),
        (graph.initializer, [onnx.numpy_helper.from_array(value, t) for t, value in weights.items()]),
    ):
        kept = list(content)
        del part[:]
        part.extend(kept)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    return model


def _any_batch(shape: Array) -> Array:
    """The shape of a reshape, with the batch taken over from what is reshaped."""
    return np.array([0, *shape[1:]]) if shape[0] == 1 else shape
