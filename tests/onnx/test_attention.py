"""The operator Attention against ONNX's reference implementation, of known and of symbolic shapes.

The node suite has no case in which two of its rules leave a query without any key, nor one of symbolic shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import tenun

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")
RANDOM = np.random.default_rng(0)
FLAGS = RANDOM.random((3, 6)) < 0.5
FLAGS[0], FLAGS[1] = np.arange(6) > 2, False  # a query whose keys are all in its future, and one without any
BIAS = np.where(RANDOM.random((2, 1, 3, 5)) < 0.5, -np.inf, 1).astype(np.float32)
BIAS[0, 0, 0] = -np.inf
PAST = RANDOM.normal(size=(2, 4, 5, 8)).astype(np.float32)

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "flags": {"attn_mask": FLAGS},
    "bias": {"attn_mask": BIAS},
    "groups": {"heads": 2, "attn_mask": FLAGS[:, :4]},
    "past": {"past_key": PAST, "past_value": PAST[::-1]},
    "filled": {"nonpad_kv_seqlen": np.array([6, 1])},
    "flags and filled": {"attn_mask": FLAGS, "nonpad_kv_seqlen": np.array([2, 5])},
}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"is_causal": 1},
    {"is_causal": 1, "softcap": 2.0},
    {"scale": 0.3, "qk_matmul_output_mode": 2, "left_window_size": 1, "right_window_size": 1},
    {"is_causal": 1, "softmax_precision": TensorProto.DOUBLE, "qk_matmul_output_mode": 3, "left_window_size": 2},
]


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: " ".join(s) or "defaults")
@pytest.mark.parametrize("case", CASES)
def test_attention(case: str, settings: dict[str, Any], symbolic: bool) -> None:
    """All outputs; of a soft cap the first three, as the reference gives capped scores where none are asked for."""
    given = dict(CASES[case])
    heads = given.pop("heads", 4)
    shapes = {"Q": (2, 4, 3, 8), "K": (2, heads, 6, 8), "V": (2, heads, 6, 8)}
    arrays = {k: RANDOM.normal(size=s).astype(np.float32) for k, s in shapes.items()} | given
    outputs = ["Y", "present_key", "present_value", *([] if "softcap" in settings else ["scores"])]
    node = helper.make_node("Attention", [n if n in arrays else "" for n in INPUTS], outputs, **settings)
    types = {k: helper.np_dtype_to_tensor_dtype(a.dtype) for k, a in arrays.items()}
    sizes = {k: [f"{k}{i}" for i in range(a.ndim)] if symbolic else a.shape for k, a in arrays.items()}
    inputs = [helper.make_tensor_value_info(k, types[k], sizes[k]) for k in arrays]
    graph = helper.make_graph([node], "attention", inputs, [helper.make_empty_tensor_value_info(o) for o in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)])
    found = tenun.compile(model).run(arrays)
    for name, want in zip(outputs, ReferenceEvaluator(model).run(None, arrays)):
        np.testing.assert_allclose(found[name], want, rtol=1e-4, atol=1e-5, err_msg=name)
