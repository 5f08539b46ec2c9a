"""The type rule of every op tells the shape and dtype that its kernel gives (checked by the harness), and every op of
these families has a case here."""

from __future__ import annotations

import numpy as np
import pytest

from tenun.ir.op import OPS, lookup
from tenun.ir.ops.elementwise import BINARY, COMPARE, UNARY
from tenun.ir.ops.reduce import REDUCTIONS
from tenun.tests.kernels.harness import random, run_all

lookup("add")
ELSEWHERE = {"conv", "conv_transpose", "max_pool", "avg_pool", "lstm", "gru", "rnn", "if", "loop", "scan"}
X, Y, V = random(2, 3, 4), random(3, 1), random(4, low=0.5)
I, J = random(2, 3, 4, dtype=np.int64), random(3, 1, dtype=np.int64, low=1)
B, C = random(2, 3, 4, dtype=np.bool_), random(3, 1, dtype=np.bool_)
PLACES = np.int64([[0, 1], [1, 0]])
ONE = np.float32(1)
POOL = {"window": (2,), "strides": (2,), "dilations": (1,)}

CASES: list[tuple] = [
    *((name, [X], {}) for name in UNARY),
    *((n, [B, C] if n.startswith("logical") else [I, J] if n.startswith(("bit", "shift")) else [X, Y], {})
      for n in BINARY),
    *((name, [X, Y], {}) for name in COMPARE),
    *((n, [B if n in ("reduce_any", "reduce_all") else X], a) for n in REDUCTIONS
      for a in ({}, {"axes": (0, -1)}, {"axes": (1,), "keepdims": True})),
    ("pow", [X, J], {}), ("pow", [I, Y], {}), ("where", [C, X, Y], {}), ("cast", [X], {"to": "i8"}),
    ("logical_not", [B], {}), ("bit_not", [I], {}), ("is_nan", [X], {}), ("is_inf", [X], {}), ("identity", [X], {}),
    ("stop_gradient", [X], {}),
    ("reshape", [X], {"shape": (4, -1)}), ("transpose", [X], {"perm": (2, 0, 1)}), ("squeeze", [Y], {}),
    ("unsqueeze", [X], {"axes": (-1, 1)}), ("expand", [Y], {"shape": (2, 1, 4)}), ("concat", [X, X], {"axis": -1}),
    ("split", [X], {"axis": -1, "sizes": (1, 3)}), ("tile", [X], {"repeats": (1, 2, 0)}),
    ("slice", [X], {"starts": (-1, 1), "ends": (-(2**40), 9), "axes": (2, -2), "steps": (-2, 1)}),
    ("pad", [X], {"pads": ((1, 0), (0, 0), (-1, 2))}), ("repeat", [X], {"repeats": 3, "axis": -2}),
    ("reverse_sequence", [X, np.int64([1, 2])], {}), ("shape", [X], {}), ("size", [X], {}),
    ("fill", [ONE], {"shape": (2, 0)}), ("range", [np.int64(1), np.int64(9), np.int64(3)], {}),
    ("eye", [], {"rows": 2, "columns": 3}),
    ("matmul", [X, random(4, 5)], {}), ("matmul", [V, V], {}), ("matmul", [X, V], {}),
    ("einsum", [X, Y], {"equation": "bij,ik->kb"}), ("einsum", [X], {"equation": "...j->j..."}),
    ("batch_norm", [X, V, V, V, V], {"epsilon": 1e-3}), ("layer_norm", [X, V], {"axes": (-1,), "epsilon": 1e-3}),
    ("rms_norm", [X], {"axes": (1, 2), "epsilon": 1e-3}), ("group_norm", [X], {"groups": 2, "epsilon": 1e-3}),
    ("lrn", [X], {"size": 3, "alpha": 0.1, "beta": 0.5, "bias": 1.0}), ("lp_norm", [X], {}), ("softmax", [X], {}),
    ("log_softmax", [X], {"axis": 0}), ("hardmax", [X], {}), ("sparsemax", [X], {}),
    ("argmax", [X], {"axis": 1}), ("argmin", [X], {"axis": -1, "keepdims": True}), ("cumsum", [X], {"axis": 1}),
    ("cumprod", [I], {"axis": -1}),
    ("gather", [X, PLACES], {"axis": 1}), ("gather", [np.int64([5, 6, 7]), np.int64(1)], {}),
    ("gather_elements", [Y, PLACES[:, :1]], {}), ("gather_nd", [X, PLACES], {}),
    ("gather_nd", [X, PLACES], {"batch_dims": 1}),
    ("scatter_elements", [X, PLACES[None], random(1, 2, 2)], {"axis": 1}),
    ("scatter_nd", [X, PLACES, random(2, 4)], {}),
    ("one_hot", [PLACES, ONE, ONE], {"depth": 5, "axis": 1}), ("top_k", [X], {"k": 2, "axis": 1}), ("trilu", [X], {}),
    ("nonzero", [X], {}), ("compress", [X, np.array([True, False])], {"axis": 0}), ("compress", [X, B.reshape(-1)], {}),
    ("unique", [X], {}), ("unique", [X], {"axis": -1}),
    ("resize", [X], {"sizes": (5, 2), "axes": (0, 2), "mode": "cubic"}),
    ("max_pool_indices", [X], POOL), ("max_pool_indices", [X], {**POOL, "padding": "same_lower"}),
    ("sequence_empty", [], {"dtype": "f32"}), ("sequence_construct", [X, X], {}),
    ("sequence_at", [[X, Y], np.int64(0)], {}),
    ("sequence_insert", [[X], X], {}), ("sequence_erase", [[X]], {}), ("sequence_length", [[X]], {}),
    ("concat_from_sequence", [[X, X]], {"axis": 1}), ("concat_from_sequence", [[X, X]], {"axis": -1, "new_axis": True}),
    ("split_to_sequence", [X], {"axis": 1, "sizes": (1, 2)}),
    ("string_normalizer", [np.array(["a", "B"], object)], {"case": "UPPER"}),
    ("random_normal", [], {"shape": (2, 3), "dtype": "f16"}), ("random_uniform", [], {"shape": (2, 0)}),
]  # fmt: skip


def test_every_op_has_a_case():
    assert {name for name, *_ in CASES} == set(OPS) - ELSEWHERE


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
def test_rule(case):
    name, operands, attrs = case
    run_all(name, *operands, **attrs)


@pytest.mark.parametrize("case", [c for c in CASES if c[1] and c[1][0] is X], ids=lambda c: c[0])
def test_rule_for_other_dtypes(case):
    """float64 and float16 pass through as float32 does; integers where the op has a meaning for them."""
    name, operands, attrs = case
    for dtype in (np.float64, np.float16):
        converted = [a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype == np.float32 else a for a in operands]
        run_all(name, *converted, **attrs)
