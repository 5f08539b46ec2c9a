"""Reading and writing by index and sorting, against NumPy and ONNX's reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tenun.errors import RunError
from tenun.ir import dtype as tenun_dtype
from tenun.tests.kernels.harness import constant, layouts, random, run, run_all


def onnx_op(name, inputs, opset=18, outputs=1, **attrs):
    """The result of ONNX's reference implementation."""
    names = [f"x{i}" for i in range(len(inputs))]
    outs = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(name, names, outs, **attrs)
    dtypes = [helper.np_dtype_to_tensor_dtype(x.dtype) for x in inputs]
    infos = [helper.make_tensor_value_info(n, d, x.shape) for n, d, x in zip(names, dtypes, inputs)]
    results = [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outs]
    graph = helper.make_graph([node], "g", infos, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs)))[0]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("make", [np.array, constant])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int8])
def test_gather(axis, make, dtype):
    x = random(5, 6, 7)
    for places in (2, [0, 4, 1], [[3, 0], [1, 1]], [1, 3], [4, 2, 0], [2], [3, 3], [], [[0, 1]], [0, 1, 2, 3, 4]):
        indices = make(np.array(places, dtype))
        np.testing.assert_array_equal(run("gather", x, indices, axis=axis), np.take(x, np.array(places, int), axis))
        if np.dtype(dtype).kind == "i" and indices.size:
            negative = make(-indices - 1)
            np.testing.assert_array_equal(run("gather", x, negative, axis=axis), np.take(x, negative, axis))
    for layout in layouts(x):
        i = make(np.array([3, 0, 1], dtype))
        np.testing.assert_array_equal(run("gather", layout, i, axis=axis), np.take(layout, i, axis))


@pytest.mark.parametrize("make", [np.array, constant])
@pytest.mark.parametrize("bad", [3, -4, 100])
def test_gather_out_of_range(make, bad):
    x = random(3, 2)
    for name in ("gather", "gather_elements"):
        with pytest.raises(RunError, match=f"index {bad} is out of range"):
            run(name, x, make(np.int64([[0, bad]])))
    with pytest.raises(RunError, match="out of range"):
        run("gather_nd", x, make(np.int64([[0, bad]])))
    with pytest.raises(RunError, match="out of range"):
        run("gather", np.zeros((0, 2), np.float32), make(np.int64([0])))


def test_gather_of_strings_and_empty():
    assert run("gather", np.array(["a", "b"], object), np.int64([1, 0])).tolist() == ["b", "a"]
    assert run("gather", np.zeros((3, 0), np.float32), np.int64([1, 0])).shape == (2, 0)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_elements(axis):
    x = random(4, 5, 6)
    indices = random(2, 3, 4, dtype=np.int64, low=-4, high=3)
    part = list(np.s_[:2, :3, :4])
    part[axis] = slice(None)
    want = np.take_along_axis(x[tuple(part)], indices, axis)
    for array in layouts(x):
        np.testing.assert_array_equal(run("gather_elements", array, indices, axis=axis), want)
    updates = random(2, 3, 4)
    for ours, theirs in (("add", "add"), ("mul", "mul"), ("max", "max"), ("min", "min")):
        got = run("scatter_elements", x, indices, updates, axis=axis, reduction=ours)
        want = onnx_op("ScatterElements", [x, indices, updates], axis=axis, reduction=theirs)
        np.testing.assert_allclose(got, want, 1e-5)
    unique = np.argsort(random(4, 5, 6), axis=axis)[:2, :3, :4]
    want = onnx_op("ScatterElements", [x, unique, updates], axis=axis)
    np.testing.assert_array_equal(run("scatter_elements", x, unique, updates, axis=axis), want)


def test_nd():
    x = random(3, 4, 5)
    for batch, indices in ((0, [[0, 1], [2, -1]]), (0, [[[0], [2]]]), (1, [[1], [0], [-1]]),
                           (1, [[[1, 2]], [[0, 0]], [[3, 4]]]),
                           (2, [[[0]] * 4] * 3), (0, [[0, 1, 2]])):  # fmt: skip
        i = np.int64(indices)
        want = onnx_op("GatherND", [x, i], batch_dims=batch)
        np.testing.assert_array_equal(run("gather_nd", x, i, batch_dims=batch), want)
    i, updates = np.int64([[0], [2], [0]]), random(3, 4, 5, seed=7)
    for reduction in ("none", "add", "mul", "max", "min"):
        got = run("scatter_nd", x, i, updates, reduction=reduction)
        want = onnx_op("ScatterND", [x, i, updates], reduction=reduction)
        np.testing.assert_allclose(got, want, 1e-6)
    i = np.int64([[[0, 1], [2, -1]]])
    np.testing.assert_allclose(
        run("scatter_nd", x, i, random(1, 2, 5)), onnx_op("ScatterND", [x, i, random(1, 2, 5)]), 1e-6
    )


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32, np.uint8])
def test_one_hot(axis, dtype):
    indices = np.array([[0, 2, 4], [3, 1, 9]]).astype(dtype)
    if np.dtype(dtype).kind != "u":
        indices = np.concatenate([indices, -indices])
    values = np.float32([5, -1])
    got = run("one_hot", indices, values[1:], values[0], depth=5, axis=axis)
    hit = np.where(indices < 0, indices + 5, indices)[..., None] == np.arange(5)
    want = np.moveaxis(np.where(hit, -1, 5), -1, axis)
    np.testing.assert_array_equal(got, want)


TOP_SHAPES = [(2000,), (3, 600), (5, 7), (600, 2)]


@given(st.integers(0, 4), st.sampled_from(TOP_SHAPES), st.sampled_from([0, -1]), st.booleans())
def test_top_k(k, shape, axis, largest):
    k = min(k, shape[axis])
    for dtype in (np.float32, np.int8, np.uint8, np.float16):
        x = random(*shape, dtype=np.int32, low=0 if dtype == np.uint8 else -100, high=100).astype(dtype)
        values, places = run_all("top_k", x, k=k, axis=axis, largest=largest)
        order = np.argsort(-x.astype(int) if largest else x.astype(int), axis=axis, kind="stable")
        np.testing.assert_array_equal(places, np.take(order, np.arange(k), axis))
        np.testing.assert_array_equal(values, np.take_along_axis(x, places, axis))


def test_top_k_with_nan():
    x = random(1000)
    x[5] = np.nan
    values, _ = run_all("top_k", x, k=3)
    assert np.isnan(values[0]) and not np.isnan(values[1:]).any()


def test_trilu():
    x = random(2, 4, 5)
    for k in (-6, -1, 0, 2, 6):
        np.testing.assert_array_equal(run("trilu", x, k=k), np.triu(x, k))
        np.testing.assert_array_equal(run("trilu", x, k=k, upper=False), np.tril(x, k))


def test_results_of_unknown_size():
    x = np.int32([[0, 3], [2, 0]])
    assert run("nonzero", x).tolist() == [[0, 1], [1, 0]]
    assert run("nonzero", np.float32(2)).shape == (0, 1)
    assert run("compress", x, np.array([False, True]), axis=1).tolist() == [[3], [0]]
    assert run("compress", x, np.array([False, True, True])).tolist() == [3, 2]


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("sorted_", [True, False])
def test_unique(axis, sorted_):
    x = np.float32([[2, 1, 2, 3], [2, 1, 2, 3], [0, 5, 0, 1]])
    values, first, inverse, counts = run_all("unique", x, axis=axis, sorted=sorted_)
    flat = x.reshape(-1) if axis is None else x
    np.testing.assert_array_equal(np.take(values, inverse, axis or 0), flat)
    np.testing.assert_array_equal(np.take(flat, first, axis or 0), values)
    assert counts.sum() == len(inverse) and (np.bincount(inverse) == counts).all()
    assert sorted_ or (np.diff(first) > 0).all()


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16", "i64"])
def test_scatter_rows(dtype):
    """The adjoint of a gather, in any layout; narrow floats are summed in float32."""
    dtype = tenun_dtype(dtype).numpy
    for axis, shape in ((0, (40, 3, 5)), (1, (3, 40, 5)), (2, (3, 5, 40))):
        places = random(40, dtype=np.int64, low=-4, high=3)
        for updates in layouts(random(*shape).astype(dtype)):
            expected = np.zeros([4 if i == axis else n for i, n in enumerate(shape)])
            np.add.at(np.moveaxis(expected, axis, 0), places, np.moveaxis(updates, axis, 0).astype(float))
            got = run("scatter_rows", updates, places, size=4, axis=axis)
            rtol = {2: 1e-2, 4: 1e-5, 8: 1e-12}[np.dtype(dtype).itemsize]
            np.testing.assert_allclose(got.astype(float), expected, rtol=rtol, atol=rtol)
    with pytest.raises(RunError, match="index 4"):
        run("scatter_rows", random(1, 2), np.array([4]), size=4)


def test_scatter_rows_in_blocks():
    """More elements than are added at a time; rows longer than that."""
    for rows, width in ((50000, 3), (3, 70000)):
        updates, places = random(rows, width), random(rows, dtype=np.int64, low=0, high=1)
        expected = np.stack([updates[places == i].sum(0, dtype=float) for i in range(2)])
        np.testing.assert_allclose(run("scatter_rows", updates, places, size=2), expected, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("most", [1, 3, 50, 600, 5000])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_scatter_rows_in_turns(most, dtype):
    """Long rows: places used once, often, or (half of the rows) one place by far the most."""
    rng = np.random.default_rng(most)
    updates, places = rng.normal(size=(900, 80)).astype(dtype), rng.integers(0, most, 900)
    for chosen in (places, np.where(rng.random(900) < 0.5, 0, places)):
        expected = np.zeros((5001, 80))
        np.add.at(expected, chosen, updates.astype(np.float64))
        got = run("scatter_rows", updates, chosen, size=5001)
        np.testing.assert_allclose(got, expected, rtol=2e-3 if dtype == "float16" else 1e-4, atol=1e-4)
