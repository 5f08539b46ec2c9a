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
ELSEWHERE = {"conv", "conv_transpose", "max_pool", "avg_pool", "lstm", "gru", "rnn", "if", "loop", "scan", "chain"}
ELSEWHERE |= {"optional_none"}  # what is absent has no type at run time
X, Y, V = random(2, 3, 4), random(3, 1), random(4, low=0.5)
I, J = random(2, 3, 4, dtype=np.int64), random(3, 1, dtype=np.int64, low=1)
B, C = random(2, 3, 4, dtype=np.bool_), random(3, 1, dtype=np.bool_)
PLACES = np.int64([[0, 1], [1, 0]])
ONE = np.float32(1)
TEXT, IMAGE = np.array(["a b", "B"], object), random(2, 3, 4, 5)
GRAMS = {"least": 1, "most": 2, "skips": 1, "starts": (0, 1), "columns": (0, 1)}
STUMP = [  # a tree of one branch and one of a leaf: roots, features, thresholds, modes, missing, children
    np.int64([0, 2]), np.int64([1]), np.float32([0.5]), np.uint8([0]), np.array([True]), np.int64([[1, 2]]),
]  # fmt: skip
POOL = {"window": (2,), "strides": (2,), "dilations": (1,)}

POSITIVE = np.float32([[4, 1, 0], [1, 3, 1], [0, 1, 2]])

CASES: list[tuple] = [
    *((name, [X], {}) for name in UNARY),
    *((n, [B, C] if n.startswith("logical") else [I, J] if n.startswith(("bit", "shift")) else [X, Y], {})
      for n in BINARY),
    *((name, [X, Y], {}) for name in COMPARE),
    *((n, [B if n in ("reduce_any", "reduce_all") else X], a) for n in REDUCTIONS
      for a in ({}, {"axes": (0, -1)}, {"axes": (1,), "keepdims": True})),
    ("pow", [X, J], {}), ("pow", [I, Y], {}), ("where", [C, X, Y], {}), ("cast", [X], {"to": "i8"}),
    ("logical_not", [B], {}), ("bit_not", [I], {}), ("is_nan", [X], {}), ("is_inf", [X], {}), ("identity", [X], {}),
    ("stop_gradient", [X], {}), ("straight_through", [X, X], {}),
    ("round_gradient", [X, ONE], {"to": "f8e5m2"}),
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
    ("attention", [X, random(5, 4), random(1, 5, 6)], {"scale": 0.5}),
    ("attention", [X, X, X, B[:, :1, :3], random(3, 3)], {"scale": 2.0, "causal": True, "soft_cap": 1.5}),
    ("argmax", [X], {"axis": 1}), ("argmin", [X], {"axis": -1, "keepdims": True}), ("cumsum", [X], {"axis": 1}),
    ("cumprod", [I], {"axis": -1}),
    ("gather", [X, PLACES], {"axis": 1}), ("gather", [np.int64([5, 6, 7]), np.int64(1)], {}),
    ("gather_elements", [Y, PLACES[:, :1]], {}), ("gather_nd", [X, PLACES], {}),
    ("gather_nd", [X, PLACES], {"batch_dims": 1}),
    ("scatter_elements", [X, PLACES[None], random(1, 2, 2)], {"axis": 1}),
    ("scatter_nd", [X, PLACES, random(2, 4)], {}),
    ("scatter_nd", [X, PLACES[:, :1], random(2, 4)], {"batch_dims": 1, "reduction": "add"}),
    ("scatter_rows", [random(2, 2, 2, 4), PLACES], {"axis": 1, "size": 3}), ("sum_like", [X, Y], {}),
    ("unslice", [X], {"shape": (2, 3, 9), "starts": (-1,), "ends": (0,), "axes": (2,), "steps": (-2,)}),
    ("one_hot", [PLACES, ONE, ONE], {"depth": 5, "axis": 1}), ("top_k", [X], {"k": 2, "axis": 1}), ("trilu", [X], {}),
    ("nonzero", [X], {}), ("compress", [X, np.array([True, False])], {"axis": 0}), ("compress", [X, B.reshape(-1)], {}),
    ("unique", [X], {}), ("unique", [X], {"axis": -1}),
    ("resize", [X], {"sizes": (5, 2), "axes": (0, 2), "mode": "cubic"}),
    ("resize_grad", [X], {"sizes": (5, 2), "axes": (0, 2), "mode": "cubic"}),
    ("conv_weight_grad", [X, random(2, 2, 6)], {"kernel": (2,), "strides": (1,), "dilations": (1,), "groups": 2}),
    ("winograd_weights", [random(3, 4, 6)], {"tile": (4,)}),
    ("winograd_conv", [X, random(4, 4, 6)], {"kernel": (3,), "tile": (2,), "padding": "same"}),
    ("winograd_weight_grad", [X, random(2, 3, 6)], {"kernel": (3,), "tile": (2,), "padding": "same"}),
    ("max_pool_record", [X], POOL), ("max_pool_record", [X], {**POOL, "padding": "same"}),
    ("max_pool_grad", [X, X[:, :1], X[:, 1:2]], POOL), ("max_pool_pick", [X, X[:, :1], X], POOL),
    ("avg_pool_grad", [X], {**POOL, "sizes": (5,), "padding": "same"}),
    ("max_pool_indices", [X], POOL), ("max_pool_indices", [X], {**POOL, "padding": "same_lower"}),
    ("sequence_empty", [], {"dtype": "f32"}), ("sequence_construct", [X, X], {}),
    ("sequence_at", [[X, Y], np.int64(0)], {}),
    ("sequence_insert", [[X], X], {}), ("sequence_erase", [[X]], {}), ("sequence_length", [[X]], {}),
    ("concat_from_sequence", [[X, X]], {"axis": 1}), ("concat_from_sequence", [[X, X]], {"axis": -1, "new_axis": True}),
    ("split_to_sequence", [X], {"axis": 1, "sizes": (1, 2)}), ("sequence_sizes", [[X, Y]], {"axis": -1}),
    ("sequence_zeros", [[X, Y]], {}), ("sequence_add", [[X, Y], [X, Y]], {}),
    ("optional_has", [X], {}), ("optional_has", [[X]], {}), ("optional_get", [X], {}),
    ("find", [I, np.int64([2, -1, 0])], {}), ("find", [TEXT, np.array(["B", "a b"], object)], {"strict": True}),
    ("map_items", [{2: ONE, 1: ONE}], {}), ("zip_map", [V], {"words": ("a", "b", "c", "d")}),
    ("tree_ensemble", [random(5, 2), *STUMP, random(2, 3)], {}),
    ("tree_ensemble", [random(5, 2), *STUMP, random(2, 1)], {"aggregate": "max"}),
    ("couple_probabilities", [np.full((2, 3, 3), 0.5, np.float32)], {}),
    ("lstm_record", [X, random(1, 4, 8), random(1, 2, 8)], {}),
    ("gru_record", [X, random(1, 4, 6), random(1, 2, 6)], {}),
    ("rnn_record", [X, random(1, 4, 2), random(1, 2, 2)], {}),
    ("lstm_grad", [X, random(1, 4, 8), random(1, 2, 8)], {}), ("rnn_grad", [X, random(1, 4, 2), random(1, 2, 2)], {}),
    ("gru_grad", [X, random(1, 4, 6), random(1, 2, 6)], {"reset_after": False}),
    ("string_normalizer", [np.array(["a", "B"], object)], {"case": "UPPER"}),
    ("string_concat", [TEXT, TEXT[:1]], {}), ("string_split", [TEXT], {}), ("string_split", [TEXT], {"maxsplit": 1}),
    ("regex_full_match", [TEXT], {"pattern": "a.*"}),
    ("ascii_lower", [TEXT], {}), ("regex_replace", [TEXT], {"pattern": "[ab]", "text": "\\1"}),
    ("tokenize", [TEXT], {"token": "[a-z]", "mark": True, "pad": "#"}), ("tokenize", [TEXT], {"separators": (" ",)}),
    ("regex_find", [TEXT], {"pattern": "[^ ]"}), ("string_ngrams", [TEXT[None]], {"widths": (1, 2, 3)}),
    ("string_ngrams", [TEXT[None], np.int64([1])], {"widths": (2, 1), "separator": "_"}),
    ("string_hash", [TEXT], {}), ("string_hash", [PLACES], {"key": (1, -2)}), ("string_hash", [TEXT], {"key": (7,)}),
    ("tf_idf", [TEXT], {**GRAMS, "mode": "TF", "words": ("B", "a b", "B")}),
    ("tf_idf", [PLACES], {**GRAMS, "mode": "TFIDF", "numbers": (1, 0, 1), "weights": (0.5, 2.0)}),
    ("quantize", [X, ONE], {"to": "i8"}), ("quantize", [X, V, np.uint8([1, 2, 3, 4])], {"to": "u8", "axis": 2}),
    ("quantize", [X, random(2, 3, 2, low=0.5)], {"to": "i16", "axis": -1, "block_size": 3, "precision": "f64"}),
    ("quantize", [X, ONE], {"to": "f8e4m3fn", "saturate": False}), ("quantize", [X, ONE], {"to": "u4"}),
    ("dequantize", [I, V], {"to": "f16", "axis": 2}), ("dequantize", [I[:, :1], ONE, np.int64(3)], {"to": "f32"}),
    ("cholesky", [POSITIVE], {}), ("eigh", [POSITIVE], {}), ("eig", [random(2, 3, 3)], {}),
    ("lu", [random(2, 3, 3)], {}),
    ("qr", [random(2, 4, 3)], {}), ("qr", [random(4, 3)], {"complete": True}),
    ("svd", [random(2, 4, 3)], {}), ("svd", [random(4, 3)], {"full": True}),
    ("solve", [POSITIVE, random(3, 2)], {}), ("triangular_solve", [POSITIVE, random(2, 3, 2)], {"lower": False}),
    ("det", [random(2, 3, 3)], {}), ("inverse", [random(2, 3, 3)], {}), ("bit_cast", [V], {"to": "i32"}),
    ("dft", [random(2, 5, 1)], {"onesided": True}), ("dft", [random(5, 3, 2)], {"axis": 0, "length": 8}),
    ("dft", [random(2, 5, 2)], {"axis": 1, "onesided": True, "inverse": True}),
    ("non_max_suppression", [random(2, 5, 4), random(2, 3, 5)], {"most": 2}),
    ("roi_align", [IMAGE, np.float32([[0, 0, 3, 3]]), np.int64([1])], {"size": (2, 3)}),
    ("grid_sample", [IMAGE, random(2, 3, 2, 2)], {"mode": "cubic"}),
    ("grid_sample", [IMAGE, random(2, 3, 2, 2)], {"padding": "reflection", "align": "corners"}),
    ("col2im", [random(1, 8, 6)], {"image": (3, 4), "block": (2, 2), "strides": (1, 1), "dilations": (1, 1),
                                   "padding": ((0, 0), (0, 0))}),
    ("decode_image", [np.frombuffer(b"P5 2 1 255\n\0\1", np.uint8)], {"format": "Grayscale"}),
    ("random_normal", [], {"shape": (2, 3), "dtype": "f16"}), ("random_uniform", [], {"shape": (2, 0)}),
    ("random_beta", [V, Y + 4], {}),
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
