"""Operators of ONNX Runtime (`com.microsoft`) against ONNX Runtime itself."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

import tenun
from tenun.frontends.onnx.registry import REFUSED, ROWS
from tenun.tests.onnx.contrib_cases import CASES, Case, integers, normal
from tenun.tests.onnx.models import model, node, run, tensor, value

DOMAIN = "com.microsoft"
onnxruntime.set_default_logger_severity(4)


def proto_of(case: Case) -> tuple[ModelProto, list[Any]]:
    """A model of one node, and its inputs; a negative number of outputs: the first and the last only."""
    names = ["_" if v is None else f"x{i}" for i, v in enumerate(case.inputs)]
    inputs, fixed, arrays = [], [], []
    for i, array in enumerate(case.inputs):
        if array is None:
            continue
        if i in case.fixed:
            fixed.append(tensor(names[i], array))
            continue
        inputs.append(value(names[i], array.shape, helper.np_dtype_to_tensor_dtype(array.dtype)))
        arrays.append(array)
    count = abs(case.outputs)
    outputs = [f"y{i}" for i in range(count)]
    kept = outputs if case.outputs > 0 else [outputs[0], outputs[-1]]
    made = node(
        case.op, " ".join(names), " ".join(o if o in kept else "_" for o in outputs), domain=case.domain, **case.attrs
    )
    opset = 1 if case.domain == "" and case.op != "SimplifiedLayerNormalization" else 17
    return model([made], inputs, kept, fixed, opset=opset, domains={DOMAIN: 1}), arrays


def expected(proto: ModelProto, arrays: list[Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays)))


def close(got: Any, want: Any, case: Case) -> None:
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    if want.dtype.kind == "O":
        np.testing.assert_array_equal(got, want)
        return
    if case.step and want.dtype.kind in "iu":
        off = np.abs(got.astype(np.int64) - want.astype(np.int64))
        assert off.max(initial=0) <= case.step
        assert (off > 0).mean() < 0.1
        return
    largest = np.abs(want[np.isfinite(want)]).max(initial=1)
    np.testing.assert_allclose(got, want, case.tolerance, case.tolerance * largest)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.op)
def test_as_onnx_runtime(case: Case) -> None:
    proto, arrays = proto_of(case)
    want = expected(proto, arrays)
    for found, right in zip(run(proto, *arrays), want, strict=True):
        close(np.asarray(found), right, case)


# ---- what ONNX Runtime has for other processors only, and what one call cannot say -----------------------------


def _norm(x: Any, gamma: Any, beta: Any) -> Any:
    """Group normalisation of (N, H, W, C) in 2 groups."""
    parts = x.reshape(*x.shape[:3], 2, -1)
    mean, variance = (f(parts, axis=(1, 2, 4), keepdims=True) for f in (np.mean, np.var))
    return ((parts - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma + beta


def _silu(x: Any) -> Any:
    return x / (1 + np.exp(-x))


def _gelu(x: Any, approximate: bool = False) -> Any:
    if approximate:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def _softmax(x: Any) -> Any:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def _complex(x: Any) -> Any:
    return x[..., 0] + 1j * x[..., 1]


def _pairs(x: Any) -> Any:
    return np.stack([x.real, x.imag], -1)


def _buckets(table: Any, queries: Any, keys: Any, both: bool = False) -> Any:
    """The bias of T5, one pair of places after the other."""
    result = np.empty((1, table.shape[1], int(queries[0]), int(keys[0])), np.float32)
    count = len(table) // 2 if both else len(table)
    for i, j in np.ndindex(result.shape[2:]):
        n = abs(i - j) if both else max(i - j, 0)
        exact = count // 2
        far = exact + int(math.log(max(n, 1) / exact) / math.log(20 / exact) * (count - exact))
        bucket = n if n < exact else min(far, count - 1)
        result[0, :, i, j] = table[bucket + (count if both and j > i else 0)]
    return result


def _gated(x: Any, bias: Any, places: Any, weight: Any, more: Any, scale: Any) -> Any:
    q = (x + bias).reshape(2, 5, 3, 4).transpose(0, 2, 1, 3)
    u, r = 1 / (1 + np.exp(-(q @ weight + more).reshape(2, 3, 5, 2, 4).sum(-1))).transpose(3, 0, 1, 2)
    return (u * (r * scale[..., 0] - 1) + 2)[..., None] * places


def _mixed(x: Any, scores: Any, w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, activation: Any) -> Any:
    """Two experts for each token, one token after the other."""
    rows = []
    for token, shares in zip(x, _softmax(scores)):
        best = np.argsort(-shares)[:2]
        hidden = [activation(w1[e] @ token + b1[e]) * (w3[e] @ token + b3[e]) for e in best]
        rows.append(sum(shares[e] * (w2[e] @ h + b2[e]) for e, h in zip(best, hidden)))
    return np.stack(rows)


P, EXPERTS = (
    normal(5, 8),
    (normal(3, 16, 8), normal(3, 16), normal(3, 8, 16), normal(3, 8), normal(3, 16, 8), normal(3, 16)),
)
W1, Z = normal(6, 6, 1), normal(2, 3, 4, 2)
X, V, M = normal(2, 3, 4, 6), normal(6), normal(6, 5)
U = integers(np.uint8, 3, 4)
FORMULAS: list[tuple[Case, Any]] = [
    (Case("BiasAdd", (X, V, X)), lambda x, bias, skip: x + bias + skip),
    (Case("BiasSplitGelu", (X, V)), lambda x, bias: (x + bias)[..., :3] * _gelu((x + bias)[..., 3:])),
    (Case("BiasDropout", (X, V, X)), lambda x, bias, skip: x + bias + skip),
    (Case("BiasSoftmax", (X, V), {"axis": 3, "is_inner_broadcast": 0}), lambda x, bias: _softmax(x + bias)),
    (Case("GemmFastGelu", (X, M, normal(5))), lambda x, w, bias: _gelu(x @ w + bias, True)),
    (Case("GroupNorm", (X, V, V), {"groups": 2, "activation": 1}), lambda x, g, b: _silu(_norm(x, g, b))),
    (Case("SkipGroupNorm", (X, V, V, X[:, 0, 0], V), {"groups": 2, "activation": 0}),
     lambda x, g, b, skip, bias: _norm(x + skip[:, None, None] + bias, g, b)),
    (Case("MulInteger", (U, np.uint8(3), U, np.uint8(9))), lambda a, z, b, y: (a * 1.0 - z) * (b * 1.0 - y)),
    (Case("Rfft", (V,), {"signal_ndim": 1}), lambda x: np.stack([(f := np.fft.rfft(x)).real, f.imag], -1)),
    (Case("Irfft", (normal(4, 2),), {"signal_ndim": 1}), lambda x: np.fft.irfft(x[:, 0] + 1j * x[:, 1])),
    (Case("QLinearReduceMean", (U, np.float32(0.1), np.uint8(7), np.float32(0.2), np.uint8(9)), {"axes": [1]}, step=1),
     lambda x, s, z, t, y: np.clip(np.rint((x * 1.0 - z).mean(1, keepdims=True) * s / t) + y, 0, 255)),
    (Case("NhwcConv", (X[:, 0], W1)), lambda x, w: np.einsum("nwc,oc->nwo", x, w[..., 0])),
    (Case("NhwcFusedConv", (X[:, 0], W1, V, X[:, 1]), {"activation": "Relu"}),
     lambda x, w, b, z: np.maximum(np.einsum("nwc,oc->nwo", x, w[..., 0]) + b + z, 0)),
    (Case("FusedMatMulActivation", (X, M), {"activation": "LeakyRelu", "activation_alpha": 0.25, "alpha": 0.5}),
     lambda x, w: np.where((y := x @ w / 2) > 0, y, y / 4)),
    (Case("FusedMatMulActivation", (X, X), {"activation": "Softmax", "activation_axis": -1, "transB": 1}),
     lambda x, w: _softmax(x @ w.swapaxes(2, 3))),
    (Case("ComplexMul", (Z, Z[0])), lambda a, b: _pairs(_complex(a) * _complex(b))),
    (Case("ComplexMulConj", (Z, Z[0])), lambda a, b: _pairs(_complex(a) * _complex(b).conj())),
    (Case("SwiGLU", (X, X[0])), lambda x, y: _silu(x) * y),
    (Case("SwiGLU", (X,), {"limit": 0.5, "activation_alpha": 1.7, "activation_beta": 1.0}),
     lambda x: (g := np.minimum(x[..., :3], 0.5)) / (1 + np.exp(-1.7 * g)) * (np.clip(x[..., 3:], -0.5, 0.5) + 1)),
    (Case("SwiGLU", (X.astype(np.float16), X.astype(np.float16)), {"round_activation": 1}, tolerance=1e-3),
     lambda x, y: _silu(x.astype(np.float32)).astype(np.float16) * y),
    (Case("IsAllFinite", (X, V)), lambda x, y: np.array(True)),
    (Case("IsAllFinite", (X, np.float32([1, np.inf]))), lambda x, y: np.array(False)),
    (Case("IsAllFinite", (X, np.float32([1, np.inf])), {"isnan_only": 1}), lambda x, y: np.array(True)),
    (Case("ReduceSumInteger", (U,), {"axes": [1], "keepdims": 0}), lambda x: x.sum(1, dtype=np.uint32)),
    (Case("GemmaRotaryEmbedding", (X[:, 0], X, 2 * X, X, X)),
     lambda e, q, r, *_: q * np.cos(e)[:, None] + r * np.sin(e)[:, None]),
    (Case("MoE", (P, normal(5, 3), *EXPERTS), {"activation_type": "silu", "k": 2}), lambda *x: _mixed(*x, _silu)),
    (Case("MoE", (P, normal(5, 3), *EXPERTS), {"activation_type": "swiglu", "k": 2, "activation_alpha": 1.5}),
     lambda *x: _mixed(*x, lambda g: _silu(1.5 * g) / 1.5)),
    (Case("TorchEmbedding", (M, np.array([[1, 5], [0, 1]]))), lambda w, i: w[i]),
    (Case("RelativePositionBias", (normal(8, 3), np.array([7]), np.array([40])), {"max_distance": 20}), _buckets),
    (Case("RelativePositionBias", (normal(8, 3), np.array([40]), np.array([30])),
          {"max_distance": 20, "is_bidirectional": 1}), lambda *x: _buckets(*x, both=True)),
    (Case("GatedRelativePositionBias", (normal(2, 5, 12), normal(12), normal(1, 3, 5, 5), normal(4, 8), normal(8),
                                        normal(1, 3, 1, 1)), {"num_heads": 3}), _gated),
]  # fmt: skip


@pytest.mark.parametrize(("case", "formula"), FORMULAS, ids=lambda v: getattr(v, "op", ""))
def test_as_the_formula(case: Case, formula: Any) -> None:
    proto, arrays = proto_of(replace(case, inputs=tuple(map(np.asarray, case.inputs))))
    (got,) = run(proto, *arrays)
    close(got, formula(*case.inputs).astype(got.dtype), case)


def test_grouped_queries_whose_cache_has_room() -> None:
    """Past and present in one buffer, longer than what it holds, as programs that generate text bind them."""
    q, k, v = normal(2, 1, 64), normal(2, 1, 32), normal(2, 1, 32)
    past, lengths = (normal(2, 2, 12, 16), normal(2, 2, 12, 16)), np.array([6, 4], np.int32)
    attrs = {"num_heads": 4, "kv_num_heads": 2}
    case = Case("GroupQueryAttention", (q, k, v, *past, lengths, np.array(7, np.int32)), attrs, outputs=3)
    proto, arrays = proto_of(case)
    got = run(proto, *arrays)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(a.copy()) for a in arrays]
    for described, held in zip(session.get_inputs(), values):
        binding.bind_ortvalue_input(described.name, held)
    binding.bind_output("y0")
    for name, held in (("y1", values[3]), ("y2", values[4])):
        binding.bind_ortvalue_output(name, held)
    session.run_with_iobinding(binding)
    for found, held in zip(got, binding.get_outputs()):
        np.testing.assert_allclose(found, held.numpy(), 1e-5, 1e-5)


def test_grouped_queries_normalised() -> None:
    """q_norm_weight: as if q and k were normalised before; ONNX Runtime has it for other processors only."""
    q, k, v, a, c = normal(1, 5, 64), normal(1, 5, 32), normal(1, 5, 32), normal(16), normal(16)
    attrs = {"num_heads": 4, "kv_num_heads": 2, "qk_norm_epsilon": 0.1}
    ends = None, None, np.array([4], np.int32), np.array(5, np.int32)
    normed = Case("GroupQueryAttention", (q, k, v, *ends, *(None,) * 7, a, c), attrs)

    def rms(x: Any, weight: Any) -> Any:
        heads = x.reshape(1, 5, -1, 16)
        return (heads / np.sqrt((heads**2).mean(-1, keepdims=True) + 0.1) * weight).reshape(x.shape)

    plain = replace(normed, inputs=(rms(q, a), rms(k, c), v, *ends))
    proto, arrays = proto_of(normed)
    np.testing.assert_allclose(run(proto, *arrays)[0], expected(*proto_of(plain))[0], 1e-5, 1e-5)


@pytest.mark.parametrize("kind", ["q, k and v", "k and v"])
def test_packed_heads(kind: str) -> None:
    """Packed as (B, S, N, 3, D) or (B, T, N, 2, D), which ONNX Runtime has for other processors only."""
    whole = normal(2, 5, 3, 3, 4)
    q, k, v = (whole[:, :, :, i].reshape(2, 5, 12) for i in range(3))
    inputs = (whole,) if kind == "q, k and v" else (q, np.ascontiguousarray(whole[:, :, :, 1:]))
    proto, arrays = proto_of(Case("MultiHeadAttention", inputs, {"num_heads": 3}))
    plain = proto_of(Case("MultiHeadAttention", (q, k, v), {"num_heads": 3}))
    np.testing.assert_allclose(run(proto, *arrays)[0], expected(*plain)[0], 1e-5, 1e-5)


def test_attention_with_a_square_mask() -> None:
    """(B, 1, M, M) for a longest sequence M: rows of the queries, columns of the keys; (B, S, T) says the same."""
    mask = integers(np.int32, 2, 1, 5, 5, low=0, high=1)
    x, w, bias = normal(2, 5, 12), normal(12, 36), normal(36)
    got, want = (Case("Attention", (x, w, bias, m), {"num_heads": 3}) for m in (mask, mask[:, 0]))
    proto, arrays = proto_of(got)
    np.testing.assert_allclose(run(proto, *arrays)[0], expected(*proto_of(want))[0], 1e-5, 1e-5)


def test_a_sparse_product() -> None:
    sparse, y = np.zeros((3, 4), np.float32), normal(4, 5)
    sparse[1, 2], sparse[2, 0] = 3, -1
    values, places = tensor("a", [3, -1], np.float32), tensor("i", [6, 8], np.int64)
    made = model(
        [node("SparseToDenseMatMul", "a y", "z", domain=DOMAIN, alpha=0.5)], [value("y", [4, 5])], ["z"],
        domains={DOMAIN: 1}, sparse_initializer=[helper.make_sparse_tensor(values, places, [3, 4])],
    )  # fmt: skip
    np.testing.assert_allclose(run(made, y)[0], 0.5 * sparse @ y, 1e-6)


# ---- the table -----------------------------------------------------------------------------------------------


def schemas() -> dict[str, Any]:
    """All operators of the domain."""
    return {s.name: s for s in runtime.get_all_operator_schema() if s.domain == DOMAIN}


def registered() -> set[str]:
    """The operators of the domain that ONNX Runtime has for CPUs."""
    kernels = runtime.get_all_opkernel_def()
    return {k.op_name for k in kernels if k.domain == DOMAIN and k.provider == "CPUExecutionProvider"}


def test_each_operator_is_known_or_has_a_reason() -> None:
    rows, refused = ({name for domain, name in table if domain == DOMAIN} for table in (ROWS, REFUSED))
    assert not (set(schemas()) | registered()) - rows - refused
    assert not rows & refused


def test_each_row_takes_what_the_schema_has() -> None:
    known = schemas()
    for (domain, name), rows in ROWS.items():
        if domain == DOMAIN:
            assert set(rows[-1].attributes) >= set(known[name].attributes), name
            assert rows[-1].most is None or rows[-1].most >= len(known[name].inputs), name


def test_each_row_that_runs_on_cpus_has_a_case() -> None:
    rows = {name for domain, name in ROWS if domain == DOMAIN}
    assert not (rows & registered()) - {c.op for c in CASES} - {"SparseToDenseMatMul"}


def test_the_page_lists_them() -> None:
    page = (Path(tenun.__file__).parent / "docs" / "custom_ops.md").read_text()
    listed = [name for line in page.splitlines() if line.startswith("| ") for name in line.split("|")[2].split()]
    assert sorted(listed) == sorted(name for domain, name in ROWS if domain == DOMAIN)


def test_a_refusal_tells_the_reason() -> None:
    proto = model([node("WordConvEmbedding", "x", "y", domain=DOMAIN)], [value("x", [1])], ["y"], domains={DOMAIN: 1})
    with pytest.raises(tenun.UnsupportedError, match="no exporter"):
        tenun.load(proto)
