"""LSTM, GRU and RNN over their attributes, against ONNX Runtime (in its layout: it refuses layout 1)."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest

from .models import check, model, node, reference, run, value

T, N, E, H = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULTS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
OUTPUTS = {"LSTM": "Y Y_h Y_c", "GRU": "Y Y_h", "RNN": "Y Y_h"}
DIRECTIONS = ("forward", "reverse", "bidirectional")
CELLS = sorted(GATES)


def case(
    op: str,
    direction: str,
    parts: str = "",
    layout: int = 0,
    lengths: tuple[int, ...] = (5, 2, 3),
    seed: int = 0,
    **attrs: Any,
) -> tuple[onnx.ModelProto, list[Any]]:
    """A model of one cell and its arrays; parts: B(ias), L(engths), h, c (initial states), P(eepholes)."""
    rng = np.random.default_rng(seed)
    d, g = 2 if direction == "bidirectional" else 1, GATES[op]
    shapes: dict[str, tuple[int, ...]] = {"X": (T, N, E), "W": (d, g * H, E), "R": (d, g * H, H)}
    optional = {"B": (d, 2 * g * H), "L": (N,), "h": (d, N, H), "c": (d, N, H), "P": (d, 3 * H)}
    names = ["X", "W", "R", *(p if p in parts else "_" for p in ("BLhcP" if op == "LSTM" else "BLh"))]
    shapes |= {p: optional[p] for p in names if p in optional}
    arrays = {n: rng.uniform(-1, 1, s).astype(np.float32) for n, s in shapes.items()}
    if "L" in arrays:
        arrays["L"] = np.array(lengths, np.int32)
    if layout:
        arrays = {n: a.swapaxes(0, 1) if n in "Xhc" else a for n, a in arrays.items()}
    if layout:
        attrs["layout"] = layout
    inputs = [
        value(n, a.shape, onnx.TensorProto.INT32 if n == "L" else onnx.TensorProto.FLOAT) for n, a in arrays.items()
    ]
    cell = node(op, " ".join(names), OUTPUTS[op], direction=direction, hidden_size=H, **attrs)
    return model([cell], inputs, OUTPUTS[op].split(), opset=14), list(arrays.values())


@pytest.mark.parametrize(("op", "direction", "parts"), list(product(CELLS, DIRECTIONS, ("", "B", "L", "h", "BLh"))))
def test_inputs(op: str, direction: str, parts: str) -> None:
    check(*_spread(case(op, direction, parts)))


@pytest.mark.parametrize(("direction", "parts"), list(product(DIRECTIONS, ("c", "P", "hc", "BLhcP", "BP"))))
def test_lstm_inputs(direction: str, parts: str) -> None:
    check(*_spread(case("LSTM", direction, parts)))


@pytest.mark.parametrize(("direction", "input_forget", "parts"), list(product(DIRECTIONS, (0, 1), ("B", "BLhcP"))))
def test_lstm_input_forget(direction: str, input_forget: int, parts: str) -> None:
    check(*_spread(case("LSTM", direction, parts, input_forget=input_forget)))


@pytest.mark.parametrize(("direction", "reset", "parts"), list(product(DIRECTIONS, (0, 1), ("", "B", "BLh"))))
def test_gru_linear_before_reset(direction: str, reset: int, parts: str) -> None:
    check(*_spread(case("GRU", direction, parts, linear_before_reset=reset)))


@pytest.mark.parametrize(("op", "direction"), list(product(CELLS, DIRECTIONS)))
def test_clip(op: str, direction: str) -> None:
    check(*_spread(case(op, direction, "BLh", clip=0.4)))


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize("lengths", [(5, 5, 5), (1, 2, 5)])
def test_lengths(op: str, lengths: tuple[int, ...]) -> None:
    check(*_spread(case(op, "bidirectional", "BLh", lengths=lengths)))


@pytest.mark.parametrize("op", CELLS)
def test_empty_sequence(op: str) -> None:
    """Its last state is the initial one (ONNX Runtime gives 0 even where one is given)."""
    check(*_spread(case(op, "bidirectional", "BL", lengths=(0, 3, 1))))
    proto, arrays = case(op, "forward", "Lh", lengths=(0, 3, 1))
    np.testing.assert_array_equal(run(proto, *arrays)[1][:, 0], arrays[-1][:, 0])


ACTIVATIONS: list[tuple[str, list[float], list[float]]] = [
    ("Relu", [], []),
    ("Tanh", [], []),
    ("Sigmoid", [], []),
    ("Softsign", [], []),
    ("Softplus", [], []),
    ("LeakyRelu", [0.3], []),
    ("ThresholdedRelu", [0.2], []),
    ("Elu", [0.7], []),
    ("HardSigmoid", [0.3], [0.4]),
    ("Affine", [0.6], [0.1]),
    ("ScaledTanh", [0.9], [0.5]),
]


@pytest.mark.parametrize("op", CELLS)
@pytest.mark.parametrize(("name", "alpha", "beta"), ACTIVATIONS, ids=[a[0] for a in ACTIVATIONS])
def test_activations(op: str, name: str, alpha: list[float], beta: list[float]) -> None:
    """As the last of the cell's activations."""
    names = [*DEFAULTS[op][:-1], name]
    extra = {k: v for k, v in (("activation_alpha", alpha), ("activation_beta", beta)) if v}
    check(*_spread(case(op, "forward", "B", activations=names, **extra)))


@pytest.mark.parametrize("op", CELLS)
def test_same_activations_in_both_directions(op: str) -> None:
    names = [*DEFAULTS[op][:-1], "LeakyRelu"] * 2
    proto, arrays = case(op, "bidirectional", "BLh", activations=names, activation_alpha=[0.3, 0.3])
    check(proto, *arrays)


@pytest.mark.parametrize("op", CELLS)
def test_other_activations_backwards(op: str) -> None:
    """Two ops of one direction each, side by side."""
    names = [*DEFAULTS[op][:-1], "Relu", *DEFAULTS[op][:-1], "Softsign"]
    check(*_spread(case(op, "bidirectional", "BLh" + "cP" * (op == "LSTM"), activations=names)))


@pytest.mark.parametrize(("op", "direction"), list(product(CELLS, DIRECTIONS)))
def test_layout_1(op: str, direction: str) -> None:
    """The batch first, what ONNX Runtime does not know: compared with its layout 0."""
    parts = "BLhc" if op == "LSTM" else "BLh"
    got = run(*_spread(case(op, direction, parts, layout=1)))
    want = reference(*_spread(case(op, direction, parts)))
    want = [want[0].transpose(2, 0, 1, 3), *(w.swapaxes(0, 1) for w in want[1:])]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", CELLS)
def test_symbolic_shapes(op: str) -> None:
    """Batch and time as symbols, weights as initialisers."""
    proto, arrays = case(op, "bidirectional", "BLh")
    weights = {"W", "R", "B"}
    names = [i.name for i in proto.graph.input]
    given = dict(zip(names, arrays))
    shapes = {"X": ["time", "batch", E], "L": ["batch"], "h": [2, "batch", H]}
    kept = [
        value(n, shapes[n], i.type.tensor_type.elem_type) for n, i in zip(names, proto.graph.input) if n not in weights
    ]
    constants = [onnx.numpy_helper.from_array(given[n], n) for n in names if n in weights]
    symbolic = model(list(proto.graph.node), kept, OUTPUTS[op].split(), constants, opset=14)
    for got, want in zip(run(symbolic, *(given[i.name] for i in kept)), reference(proto, *arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_only_the_last_state() -> None:
    """Outputs left out."""
    proto, arrays = case("LSTM", "forward", "B")
    proto.graph.node[0].output[:] = ["", "Y_h"]
    del proto.graph.output[:]
    proto.graph.output.extend([onnx.helper.make_empty_tensor_value_info("Y_h")])
    check(proto, *arrays)


def test_double_precision_loop() -> None:
    """The LSTM's formula, written out in float64."""
    proto, arrays = case("LSTM", "forward", "B")
    x, w, r, b = (a.astype(np.float64) for a in arrays)
    h = c = np.zeros((N, H))
    for x_t in x:
        i, o, f, g = np.split(x_t @ w[0].T + h @ r[0].T + b[0, : 4 * H] + b[0, 4 * H :], 4, -1)
        sigmoid = [1 / (1 + np.exp(-v)) for v in (i, o, f)]
        c = sigmoid[2] * c + sigmoid[0] * np.tanh(g)
        h = sigmoid[1] * np.tanh(c)
    np.testing.assert_allclose(run(proto, *arrays)[1][0], h, rtol=1e-5, atol=1e-6)


def _spread(pair: tuple[onnx.ModelProto, list[Any]]) -> list[Any]:
    return [pair[0], *pair[1]]
