"""lstm, gru and rnn, bound, against a loop in float64, ONNX Runtime and Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenun.backends.numpy.kernels import recurrent_layer
from tenun.backends.numpy.registry import KERNELS
from tenun.backends.numpy.workers import several
from tenun.ir.attributes import LINEAR, Activation

RELU, SIGMOID, TANH = Activation("relu"), Activation("sigmoid"), Activation("tanh")
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
DEFAULTS: dict[str, dict[str, Any]] = {
    "lstm": {
        "activation": TANH,
        "recurrent_activation": SIGMOID,
        "output_activation": TANH,
        "clip": None,
        "input_forget": False,
    },
    "gru": {"activation": TANH, "recurrent_activation": SIGMOID, "reset_after": True, "clip": None},
    "rnn": {"activation": TANH, "clip": None},
}
DIRECTIONS = ["forward", "reverse", "bidirectional"]
rng = np.random.default_rng()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same operands whatever ran before."""
    rng.bit_generator.state = np.random.default_rng(0).bit_generator.state


def bind_and_run(name, operands, attrs, shapes, *, constant=True, used=(True, True, True)):
    """Bind a kernel, with poisoned memory and the weights constant or not, and run it twice."""

    def poisoned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        memory.append(np.empty(shape, dtype))
        return memory[-1]

    memory: list[np.ndarray] = []
    for key in ("w", "r", "bias", "peephole"):
        if operands.get(key) is not None:
            operands[key] = operands[key].copy()
            operands[key].flags.writeable = not constant
    out = tuple(poisoned(shape, operands["x"].dtype) if use else None for shape, use in zip(shapes, used))
    steps = KERNELS[name].call(**operands, **attrs, out=out, scratch=poisoned)
    for _ in range(2):
        for array in memory:
            array.fill(1 if array.dtype == bool else np.nan)
        for step in steps:
            step()
    return out


ACTIVATIONS = {
    "linear": lambda v: v,
    "relu": lambda v: np.maximum(v, 0),
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
}


def naive(name, o, a, direction, zero_masked):
    """One direction after the other, one sequence after the other, one step after the other."""
    x, r = o["x"], o["r"]
    (n, t, _), (d, size, _) = x.shape, r.shape
    y, last_h, last_c = np.zeros((n, t, d, size)), np.zeros((n, d, size)), np.zeros((n, d, size))
    act = ACTIVATIONS[a["activation"].name]
    gate = ACTIVATIONS[a["recurrent_activation"].name] if "recurrent_activation" in a else None
    clip = (lambda v: v) if a["clip"] is None else (lambda v: np.clip(v, -a["clip"], a["clip"]))
    zero = np.zeros((n, d, size))
    h0, c0 = (zero if o.get(k) is None else o[k] for k in ("h0", "c0"))
    for i in range(n):
        for k in range(d):
            h, c, shown = h0[i, k].astype(float), c0[i, k].astype(float), np.zeros(size)
            w, u = o["w"][k].astype(float), r[k].astype(float)
            b = 0 if o["bias"] is None else o["bias"][k].astype(float)
            times = range(t)[::-1] if direction == "reverse" or k == 1 else range(t)
            for s in times:
                if o["mask"] is None or o["mask"][i, s]:
                    v = x[i, s].astype(float)
                    if name == "rnn":
                        h = act(clip(v @ w + h @ u + b))
                    elif name == "gru":
                        b_in, b_rec = (b[0], b[1]) if o["bias"] is not None else (0 * w[0], 0 * w[0])
                        p = v @ w + b_in
                        zr = gate(clip((p + h @ u + b_rec)[: 2 * size]))
                        z, q = zr[:size], zr[size:]
                        if a["reset_after"]:
                            inner = q * ((h @ u + b_rec)[2 * size :])
                        else:
                            inner = (q * h) @ u[:, 2 * size :] + b_rec[2 * size :]
                        h = z * h + (1 - z) * act(clip(p[2 * size :] + inner))
                    else:
                        p_i, p_o, p_f = (
                            np.zeros((3, size)) if o["peephole"] is None else o["peephole"][k].reshape(3, -1)
                        )
                        gi, gf, gg, go = np.split(v @ w + h @ u + b, 4)
                        gi = gate(clip(gi + p_i * c))
                        gf = 1 - gi if a["input_forget"] else gate(clip(gf + p_f * c))
                        c = gf * c + gi * act(clip(gg))
                        h = gate(clip(go + p_o * c)) * ACTIVATIONS[a["output_activation"].name](c)
                    shown = h
                    y[i, s, k] = h
                else:
                    y[i, s, k] = 0 if zero_masked else shown
            last_h[i, k], last_c[i, k] = h, c
    return y, last_h, last_c


def operands(name, n, t, e, size, directions, *, bias=True, mask=False, states=False, peephole=False, dtype=np.float32):
    def array(*shape):
        return (rng.standard_normal(shape) * 0.5).astype(dtype)

    gates = GATES[name]
    given: dict[str, Any] = {
        "x": array(n, t, e),
        "w": array(directions, e, gates * size),
        "r": array(directions, size, gates * size),
        "bias": array(directions, *((2,) if name == "gru" else ()), gates * size) if bias else None,
        "mask": rng.random((n, t)) < 0.6 if mask else None,
        "h0": array(n, directions, size) if states else None,
    }
    if name == "lstm":
        given["c0"] = array(n, directions, size) if states else None
        given["peephole"] = array(directions, 3 * size) if peephole else None
    return given


def check(
    name, n=3, t=5, e=4, size=7, *, direction="forward", zero_masked=False, tol=2e-5, constant=True, attrs=None, **how
):
    directions = 2 if direction == "bidirectional" else 1
    given = operands(name, n, t, e, size, directions, **how)
    attrs = DEFAULTS[name] | (attrs or {})
    expected = naive(name, given, attrs, direction, zero_masked)[: 3 if name == "lstm" else 2]
    out = bind_and_run(
        name,
        given,
        attrs | {"direction": direction, "zero_masked": zero_masked},
        [a.shape for a in expected],
        constant=constant,
    )
    for got, want in zip(out, expected):
        largest = max(1, np.abs(want).max(initial=0))  # far above 1 where no activation is bounded
        np.testing.assert_allclose(got.astype(np.float64), want, rtol=tol, atol=tol * largest)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("mask, zero_masked", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("bias, constant", [(False, True), (True, True), (True, False)])
def test_directions_states_masks(name, direction, n, states, mask, zero_masked, bias, constant):
    check(name, n, direction=direction, states=states, mask=mask, zero_masked=zero_masked, bias=bias, constant=constant)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("input_forget", [False, True])
@pytest.mark.parametrize("peephole", [False, True])
@pytest.mark.parametrize(
    "acts", [(TANH, SIGMOID, TANH), (RELU, SIGMOID, LINEAR), (TANH, TANH, RELU), (LINEAR, RELU, SIGMOID)]
)
def test_lstm_attributes(direction, clip, input_forget, peephole, acts):
    attrs = dict(zip(("activation", "recurrent_activation", "output_activation"), acts))
    attrs |= {"clip": clip, "input_forget": input_forget}
    check("lstm", direction=direction, attrs=attrs, peephole=peephole, states=True, mask=True)
    check("lstm", direction=direction, attrs=attrs, peephole=peephole, constant=False)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("acts", [(TANH, SIGMOID), (RELU, SIGMOID), (TANH, TANH), (LINEAR, RELU)])
def test_gru_attributes(direction, clip, reset_after, bias, acts):
    attrs = dict(zip(("activation", "recurrent_activation"), acts)) | {"clip": clip, "reset_after": reset_after}
    check("gru", direction=direction, attrs=attrs, bias=bias, states=True, mask=True)
    check("gru", n=1, direction=direction, attrs=attrs, bias=bias, constant=False)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize("act", [TANH, RELU, SIGMOID, LINEAR])
def test_rnn_attributes(direction, clip, act):
    check("rnn", direction=direction, attrs={"activation": act, "clip": clip}, states=True, mask=True)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("n, t", [(0, 4), (2, 0), (1, 0), (0, 0), (1, 1), (2, 1)])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_small_and_empty(name, n, t, states, mask):
    for direction in DIRECTIONS:
        check(name, n, t, direction=direction, states=states, mask=mask)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_projection_in_chunks(name, direction, monkeypatch):
    monkeypatch.setattr(recurrent_layer, "PART_BYTES", 4096)
    check(name, 5, 23, 3, 11, direction=direction, mask=True, states=True)
    check(name, 1, 23, 3, 31, direction=direction, tol=1e-3)  # rounding grows over the steps


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("n", [1, 5])
def test_directions_side_by_side(name, n, monkeypatch):
    """The products with x of both directions on two threads, of all steps or of a few at a time."""
    monkeypatch.setattr(recurrent_layer, "FLOW_FLOPS", 0)
    with several(2):
        check(name, n, 23, 3, 11, direction="bidirectional", mask=True, states=True, tol=1e-4)
        monkeypatch.setattr(recurrent_layer, "PART_BYTES", 4096)
        check(name, n, 23, 3, 11, direction="bidirectional", mask=True, states=True, tol=1e-4)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dtype, tol", [("float64", 1e-12), ("float16", 5e-3), ("bfloat16", 4e-2)])
def test_dtypes(name, n, dtype, tol):
    dtype = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype
    check(name, n, dtype=dtype, tol=tol, direction="bidirectional", states=True, mask=True)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("n", [1, 3])
def test_unused_outputs_and_strided_x(name, direction, n):
    d, count = (2 if direction == "bidirectional" else 1), 3 if name == "lstm" else 2
    given = operands(name, n, 6, 4, 5, d, mask=True, states=True)
    given["x"] = rng.standard_normal((6, n, 9)).astype(np.float32).transpose(1, 0, 2)[..., 1::2]
    attrs = DEFAULTS[name]
    expected = naive(name, given, attrs, direction, False)[:count]
    for unused in range(count):
        used = tuple(i != unused for i in range(count))
        out = bind_and_run(
            name, given, attrs | {"direction": direction, "zero_masked": False}, [a.shape for a in expected], used=used
        )
        for got, want, use in zip(out, expected, used):
            assert (got is not None) == use
            if use:
                np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("clip", [None, 0.4])
@pytest.mark.parametrize("variant", ["lstm", "lstm peephole", "gru after", "gru before", "rnn"])
def test_against_onnxruntime(variant, direction, clip):
    onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    name, _, detail = variant.partition(" ")
    n, t, e, size, d = 3, 6, 4, 5, 2 if direction == "bidirectional" else 1
    given = operands(name, n, t, e, size, d, states=True, peephole=detail == "peephole")
    # ONNX: weights (D, G·H, E), gates iofc / zrh, bias (D, 2·G·H), states (D, N, H), peephole i o f, x (T, N, E)
    order = {"lstm": [0, 3, 1, 2], "gru": [0, 1, 2], "rnn": [0]}[name]

    def gates(a):
        return np.concatenate([np.split(a, GATES[name], axis=-1)[g] for g in order], axis=-1)

    bias = given["bias"] if name == "gru" else np.stack([given["bias"], np.zeros_like(given["bias"])], axis=1)
    feeds = {
        "x": given["x"].transpose(1, 0, 2),
        "w": gates(given["w"]).transpose(0, 2, 1),
        "r": gates(given["r"]).transpose(0, 2, 1),
        "b": gates(bias).reshape(d, -1),
        "h": given["h0"].transpose(1, 0, 2),
    }
    inputs = ["x", "w", "r", "b", "", "h"]
    if name == "lstm":
        feeds["c"], inputs = given["c0"].transpose(1, 0, 2), [*inputs, "c"]
        if detail:
            feeds["p"], inputs = given["peephole"], [*inputs, "p"]
    extra: dict[str, Any] = {"linear_before_reset": int(detail == "after")} if name == "gru" else {}
    extra |= {} if clip is None else {"clip": clip}
    outputs = ["y", "y_h", "y_c"][: 3 if name == "lstm" else 2]
    node = onnx.helper.make_node(name.upper(), inputs, outputs, hidden_size=size, direction=direction, **extra)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([node], "g", [info(k, 1, None) for k in feeds], [info(k, 1, None) for k in outputs])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, *states = session.run(None, {k: np.ascontiguousarray(v) for k, v in feeds.items()})
    expected = [y.transpose(2, 0, 1, 3), *(s.transpose(1, 0, 2) for s in states)]
    attrs = DEFAULTS[name] | {"direction": direction, "zero_masked": False, "clip": clip}
    attrs |= {"reset_after": detail == "after"} if name == "gru" else {}
    for got, want in zip(bind_and_run(name, given, attrs, [a.shape for a in expected]), expected):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("n", [1, 3])
def test_layers_side_by_side(name, direction, n):
    """Weights for several times the directions: the results of several layers."""
    each = 2 if direction == "bidirectional" else 1
    given = operands(name, n, 6, 4, 5, 3 * each, states=True, peephole=name == "lstm", mask=True)
    attrs = DEFAULTS[name] | {"direction": direction, "zero_masked": False}
    shapes = [(n, 6, 3 * each, 5), (n, 3 * each, 5), (n, 3 * each, 5)][: 3 if name == "lstm" else 2]
    whole = bind_and_run(name, given, attrs, shapes)
    for i in range(0, 3 * each, each):
        own = slice(i, i + each)
        weights = {k: given[k][own] for k in ("w", "r", "bias", "peephole") if k in given}
        states = {k: given[k][:, own] for k in ("h0", "c0") if k in given}
        alone = naive(name, given | weights | states, attrs, direction, False)
        for j, (got, want) in enumerate(zip(whole, alone)):
            np.testing.assert_allclose(got[:, :, own] if j == 0 else got[:, own], want, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name, calls", [("lstm", 8), ("gru", 10), ("rnn", 3)])
def test_calls_of_a_step(name, calls, n, direction):
    """A step in time is so few NumPy calls, in each direction and in both together."""
    counts = []
    for t in (6, 8):
        d = 2 if direction == "bidirectional" else 1
        given = operands(name, n, t, 4, 5, d)
        for key in ("w", "r", "bias"):
            given[key].flags.writeable = False
        attrs = DEFAULTS[name] | {"direction": direction, "zero_masked": False}
        out = (np.empty((n, t, d, 5), np.float32), np.empty((n, d, 5), np.float32), None)[: 3 if name == "lstm" else 2]
        counts.append(len(KERNELS[name].call(**given, **attrs, out=out, scratch=np.empty)))
    print(f"{name}: {(counts[1] - counts[0]) / 2} calls a step")
    assert counts[1] - counts[0] == 2 * calls


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("shown", [False, True])
def test_long_sequences(name, direction, n, shown, monkeypatch):
    """Later parts go through the memory, and the steps, of earlier ones; the same bits on any number of threads."""
    monkeypatch.setattr(recurrent_layer, "STEPS", 4)
    d, t = (2 if direction == "bidirectional" else 1), 43
    given, attrs = operands(name, n, t, 3, 5, d), DEFAULTS[name] | {"direction": direction, "zero_masked": False}
    expected = naive(name, given, attrs, direction, False)[: 3 if name == "lstm" else 2]
    shapes, used = [a.shape for a in expected], (shown, True, True)
    serial = bind_and_run(name, given, attrs, shapes, used=used)
    monkeypatch.setattr(recurrent_layer, "FLOW_FLOPS", 0)
    monkeypatch.setattr(recurrent_layer, "TASK_FLOPS", 0)
    for threads in (1, 2, 4):
        with several(threads):
            found = bind_and_run(name, given, attrs, shapes, used=used)
        for got, same, want in zip(found, serial, expected):
            if got is not None:
                np.testing.assert_array_equal(got, same)
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("zero_masked", [False, True])
def test_masks_against_keras(name, zero_masked):
    keras = pytest.importorskip("keras")
    n, t, e, size = 3, 7, 4, 5
    given = operands(name, n, t, e, size, 1, mask=True)
    given["mask"][0, :3] = False
    layer = getattr(keras.layers, {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}[name])(
        size, return_sequences=True, return_state=True, zero_output_for_mask=zero_masked
    )
    layer.build((n, t, e))
    layer.set_weights([given["w"][0], given["r"][0], given["bias"][0]])
    y, *states = (np.asarray(a) for a in layer(given["x"], mask=given["mask"]))
    expected = [y[:, :, np.newaxis], *(s[:, np.newaxis] for s in states)]
    attrs = DEFAULTS[name] | {"direction": "forward", "zero_masked": zero_masked}
    for got, want in zip(bind_and_run(name, given, attrs, [a.shape for a in expected]), expected):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
