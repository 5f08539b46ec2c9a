"""Sequences, strings, random numbers, control flow, and places of pooled elements."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenun.errors import RunError
from tenun.ir.dims import UNKNOWN
from tenun.ir.types import Tensor, f32
from tenun.tests.kernels.harness import run, run_all

# ---- sequences and strings -----------------------------------------------------------------------------------


def test_sequences():
    a, b, c = (np.float32([i]) for i in range(3))
    s = run("sequence_construct", a, b)
    assert run("sequence_empty", dtype="f32") == []
    assert run("sequence_at", s, np.int64(-1)) is b
    assert run("sequence_length", s) == 2
    assert [x[0] for x in run("sequence_insert", s, c)] == [0, 1, 2]
    assert [x[0] for x in run("sequence_insert", s, c, np.int64(0))] == [2, 0, 1]
    assert [x[0] for x in run("sequence_insert", s, c, np.int64(-1))] == [0, 2, 1]
    assert [x[0] for x in run("sequence_insert", s, c, np.int64(2))] == [0, 1, 2]
    assert [x[0] for x in run("sequence_erase", s)] == [0]
    assert [x[0] for x in run("sequence_erase", s, np.int64(0))] == [1]
    assert len(s) == 2
    assert run("concat_from_sequence", s, axis=0).tolist() == [0, 1]
    assert run("concat_from_sequence", s, axis=-1, new_axis=True).tolist() == [[0, 1]]
    x = np.arange(6).reshape(2, 3)
    assert [p.tolist() for p in run("split_to_sequence", x, axis=1, sizes=(1, 2))] == [[[0], [3]], [[1, 2], [4, 5]]]
    assert [p.tolist() for p in run("split_to_sequence", x, axis=0, sizes=(1, 1), keepdims=False)] == x.tolist()
    parts = run("split_to_sequence", x, axis=1, sizes=(1, 2))
    assert run("sequence_sizes", parts, axis=-1).tolist() == [1, 2]
    assert [p.tolist() for p in run("sequence_zeros", parts)] == [[[0], [0]], [[0, 0], [0, 0]]]
    assert [p.tolist() for p in run("sequence_add", parts, parts)] == [[[0], [6]], [[2, 4], [8, 10]]]
    for bad in (2, -3):
        with pytest.raises(RunError, match="out of range"):
            run("sequence_at", s, np.int64(bad))
    with pytest.raises(RunError, match="empty"):
        run("concat_from_sequence", [], axis=0)


def test_optionals():
    assert run("optional_none", dtype="f32") is None
    assert not run("optional_has", None) and run("optional_has", np.float32(1)) and run("optional_has", [])
    assert run("optional_get", np.float32(2)) == 2
    with pytest.raises(RunError, match="no value"):
        run("optional_get", None)


def test_find_and_maps():
    assert run("find", np.float32([np.nan, 2, 7, 2]), np.float32([2, np.nan, 2])).tolist() == [1, 0, 3, 0]
    assert run("find", np.int64([[5]]), np.int64([])).tolist() == [[0]]
    with pytest.raises(RunError, match="'q' is none of the 1 keys"):
        run("find", np.array(["a", "q"], object), np.array(["a"], object), strict=True)
    texts, words = np.array(["a", "q"], object), np.array(["b", "q"], object)
    for writeable in (False, True, False):  # a table of constant keys is kept, of others made again
        words.flags.writeable = writeable
        assert run("find", texts, words).tolist() == [2, 1]
    words.flags.writeable = True
    del words  # and what is kept goes with them
    assert run("find", texts, np.array(["q", "a"], object)).tolist() == [1, 0]
    keys, values = run_all("map_items", {"b": np.float32(2), "a": np.float32(1)})
    assert keys.tolist() == ["a", "b"] and values.tolist() == [1, 2]
    assert run("zip_map", np.float32([[1, 2], [3, 4]]), numbers=(7, 8)) == [{7: 1, 8: 2}, {7: 3, 8: 4}]


def test_coupled_probabilities():
    """Pairs that one distribution explains give it, as exactly as libsvm's tolerance says."""
    p = np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
    pairs = p[:, :, None] / (p[:, :, None] + p[:, None, :])
    got = run("couple_probabilities", pairs)
    np.testing.assert_allclose(got, p, atol=0.01)
    np.testing.assert_allclose(got.sum(1), 1)


def test_string_normalizer():
    words = np.array(["Monday", "tuesday", "WEDNESDAY"], object)
    assert run("string_normalizer", words, case="UPPER").tolist() == ["MONDAY", "TUESDAY", "WEDNESDAY"]
    assert run("string_normalizer", words, case="LOWER", stopwords=("monday",)).tolist() == ["tuesday", "wednesday"]
    kept = run("string_normalizer", words, case_sensitive=True, stopwords=("monday", "tuesday"))
    assert kept.tolist() == ["Monday", "WEDNESDAY"]
    assert run("string_normalizer", words[None, :1], stopwords=("MONDAY",)).tolist() == [[""]]


def test_parts_of_text():
    """Letters of ASCII only, replaced literally, matches and runs of words filled up with empty strings."""
    x = np.array(["aÀB b", "", "Cc"], object)
    assert run("ascii_lower", x).tolist() == ["aÀb b", "", "cc"]
    assert run("regex_replace", x, pattern="(B|c)", text=r"\1$").tolist() == [r"aÀ\1$ b", "", r"C\1$"]
    parts, counts = run_all("regex_find", x, pattern="[^ ]+")
    assert parts.tolist() == [["aÀB", "b"], ["", ""], ["Cc", ""]]
    assert counts.tolist() == [2, 0, 1]
    assert run("string_ngrams", parts, counts, widths=(2, 1)).tolist() == [
        ["aÀB b", "aÀB", "b"], ["", "", ""], ["Cc", "", ""],
    ]  # fmt: skip
    assert run("string_ngrams", parts, widths=(2,), separator="+").tolist() == [["aÀB+b"], ["+"], ["Cc+"]]
    assert run("string_ngrams", parts, widths=(3,)).shape == (3, 0)
    assert [p.shape for p in run_all("regex_find", x[:0], pattern="a")] == [(0, 0), (0,)]
    with pytest.raises(RunError, match="no regular expression"):
        run("regex_find", x, pattern="(")


# to_hash_bucket_fast, and to_hash_bucket_strong with the key (1, 2), of TensorFlow 2.21 with 2**62 - 57 buckets
HASHES = {
    "": (1936946117179621569, 443797209252341741), "a": (3694432073954588245, 546566331822570799),
    "é": (693143013273849025, 4006969190011310591), "abcdefg": (4341691227789030229, 957890530879302020),
    "x" * 8: (416454844068956969, 3136364361150701280), "y" * 16: (4369335550805202005, 342457030691640121),
    "z" * 17: (2963606906321231321, 485167317194287243), "q" * 33: (337133943010535381, 2927727684352129737),
    "w" * 64: (4555407945498560506, 961158343003684371), "v" * 65: (978096718525207314, 4591866492097387707),
    "u" * 200: (2936433037223361146, 3537630688703656694),
}  # fmt: skip


def test_string_hash():
    texts = np.array([*HASHES], object).reshape(1, -1)
    for place, key in enumerate(((), (1, 2))):
        got = run("string_hash", texts, key=key) % np.uint64(2**62 - 57)
        assert got.tolist() == [[row[place] for row in HASHES.values()]]
    numbers = np.array([0, -7, 2**63 - 1, -(2**63)])
    digits = np.array([str(n) for n in numbers.tolist()], object)
    for dtype in (np.int64, np.int8):
        some = numbers[:2].astype(dtype) if dtype is np.int8 else numbers
        np.testing.assert_array_equal(run("string_hash", some), run("string_hash", digits[: len(some)]))
    assert run("string_hash", np.array([], object)).shape == (0,)


# ---- random --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
def test_random(dtype):
    x = run("random_normal", shape=(100, 100), mean=2.0, scale=0.5, dtype=dtype, seed=3).astype(float)
    assert abs(x.mean() - 2) < 0.02 and abs(x.std() - 0.5) < 0.02
    y = run("random_uniform", shape=(100, 100), low=-1.0, high=3.0, dtype=dtype, seed=3).astype(float)
    assert y.min() >= -1 and y.max() <= 3 and abs(y.mean() - 1) < 0.05
    for name in ("random_normal", "random_uniform"):
        first, second = (run(name, shape=(9,), dtype=dtype, seed=5) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert (run(name, shape=(9,), dtype=dtype) != run(name, shape=(9,), dtype=dtype)).any()


@pytest.mark.parametrize("alpha, beta", [(0.2, 0.2), (1e-6, 1e-6), (2.0, 0.5), (40.0, 60.0)])
def test_random_beta(alpha, beta):
    """Mean and variance, also where nearly all the numbers are 0 or 1; the same ones for equal keys."""
    shape, key = np.full((200, 100), alpha, np.float32), np.uint32([1, 2])
    y = run("random_beta", shape, np.float32(beta), key)
    mean, total = alpha / (alpha + beta), alpha + beta
    assert y.dtype == np.float32 and y.min() >= 0 and y.max() <= 1
    np.testing.assert_allclose(y.mean(dtype=float), mean, atol=0.02)
    np.testing.assert_allclose(y.var(dtype=float), mean * (1 - mean) / (total + 1), rtol=0.05)
    np.testing.assert_array_equal(y, run("random_beta", shape, np.float32(beta), key))
    assert (y != run("random_beta", shape, np.float32(beta), key + np.uint32(1))).any()


# ---- control flow --------------------------------------------------------------------------------------------


def graph(*types):
    """Make a Python function a subgraph with outputs of these types."""

    def wrap(call):
        call.output_types = types
        return call

    return wrap


def test_if():
    then, orelse = graph(Tensor(f32, ()))(lambda a, b: [a]), graph(Tensor(f32, ()))(lambda a, b: [b])
    for condition in (True, False):
        got = run("if", np.array([condition]), np.float32(1), np.float32(2), then=then, orelse=orelse)
        assert got == (1 if condition else 2)


@graph(Tensor(f32, ()), Tensor(f32, (2,)), Tensor(f32, (2, UNKNOWN)))
def doubling(i, going, x, step):
    return [x[0] < 10, x + step, np.stack([x, x * 0 + i], 1)]


def test_loop():
    x, step = np.float32([1, 2]), np.float32(3)
    final, seen = run_all("loop", np.int64(3), np.array(True), x, step, carried=1, body=doubling)
    assert final.tolist() == [10, 11] and seen.shape == (3, 2, 2) and seen[:, 0, 1].tolist() == [0, 1, 2]
    final, seen = run_all("loop", None, None, x, step, carried=1, body=doubling)
    assert final.tolist() == [13, 14] and len(seen) == 4
    final, seen = run_all("loop", np.int64(0), None, x, step, carried=1, body=doubling)
    assert final is x and seen.shape == (0, 2, 0) and seen.dtype == np.float32
    assert run_all("loop", np.int64(5), np.array([False]), x, step, carried=1, body=doubling)[0] is x


@graph(Tensor(f32, (3,)), Tensor(f32, (3,)))
def adding(total, x, factor):
    return [total + x * factor, total + x * factor]


@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_scan(axis, reverse):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    given = np.moveaxis(x, 0, axis)
    how = {"input_axes": (axis,), "output_axes": (1,), "input_reverse": (reverse,), "output_reverse": (reverse,)}
    how |= {"carried": 1, "scanned": 1, "body": adding}
    final, seen = run_all("scan", np.zeros(3, np.float32), given, np.float32(2), **how)
    want = 2 * (np.cumsum(x[::-1], 0)[::-1] if reverse else np.cumsum(x, 0))
    np.testing.assert_array_equal(seen, want.T)
    np.testing.assert_array_equal(final, 2 * x.sum(0))
    empty = given[:0] if axis == 0 else given[:, :0]
    _, seen = run_all("scan", np.zeros(3, np.float32), empty, np.float32(2), **how)
    assert seen.shape == (3, 0)


def test_empty_loop_of_unknown_rank():
    body = graph(Tensor(f32, ()), Tensor(f32, None))(lambda i, going: [going, i])
    with pytest.raises(RunError, match="rank"):
        run_all("loop", np.int64(0), None, carried=0, body=body)


# ---- max_pool_indices ----------------------------------------------------------------------------------------


def naive_indices(x, window, strides, dilations, pads, places):
    out = np.zeros((len(x), *places, x.shape[-1]), np.int64)
    for n, *place, c in np.ndindex(out.shape):
        best, where = None, 0
        for tap in product(*map(range, window)):
            at = tuple(p * s + t * d - b for p, s, t, d, (b, _) in zip(place, strides, tap, dilations, pads))
            if all(0 <= a < size for a, size in zip(at, x.shape[1:-1])):
                value = x[(n, *at, c)]
                if best is None or value > best:
                    best, where = value, np.ravel_multi_index(at, x.shape[1:-1])
        out[(n, *place, c)] = where
    return out


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_max_pool_indices(data):
    spatial = data.draw(st.integers(1, 2))
    size, window, strides, dilations = (
        tuple(data.draw(st.integers(low, high)) for _ in range(spatial))
        for low, high in ((5, 8), (1, 3), (1, 3), (1, 2))
    )
    pads = tuple((data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, w - 1))) for w in window)
    x = np.random.default_rng(0).integers(0, 5, (2, *size, 2)).astype(np.float32)
    for ceil_mode in (False, True):
        attrs = {"window": window, "strides": strides, "dilations": dilations, "padding": pads, "ceil_mode": ceil_mode}
        got = run("max_pool_indices", x, **attrs)
        np.testing.assert_array_equal(got, naive_indices(x, window, strides, dilations, pads, got.shape[1:-1]))


def test_max_pool_indices_of_same_padding_and_nan():
    x = np.float32([1, np.nan, 3, -np.inf, -np.inf]).reshape(1, 5, 1)
    attrs = {"window": (2,), "strides": (2,), "dilations": (1,), "padding": "same"}
    assert run("max_pool_indices", x, **attrs).reshape(-1).tolist() == [1, 2, 4]
