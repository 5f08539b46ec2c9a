"""Kernels that move elements, against NumPy."""

from __future__ import annotations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenun.backends.numpy.evaluate import kernel_of
from tenun.ir.op import OPS, lookup
from tenun.tests.kernels.harness import constant, layouts, random, run, run_all

VIEWS = [
    ("reshape", {"shape": (4, -1)}),
    ("transpose", {"perm": (2, 0, 1)}),
    ("squeeze", {"axes": (1,)}),
    ("squeeze", {"axes": None}),
    ("unsqueeze", {"axes": (0, -1)}),
    ("expand", {"shape": (2, 1, 5, 4)}),
    ("slice", {"starts": (3,), "ends": (-(2**31),), "axes": (2,), "steps": (-2,)}),
]


@pytest.mark.parametrize("name, attrs", VIEWS)
def test_views_share_memory_and_stay_writable(name, attrs):
    x = random(3, 1, 4)
    y = run(name, x, **attrs)
    assert np.shares_memory(x, y) and y.flags.writeable
    assert not run(name, constant(x), **attrs).flags.writeable


def test_view_values():
    x = random(3, 1, 4)
    np.testing.assert_array_equal(run("reshape", x, shape=(4, -1)), x.reshape(4, 3))
    np.testing.assert_array_equal(run("transpose", x, perm=(2, 0, 1)), x.transpose(2, 0, 1))
    np.testing.assert_array_equal(run("squeeze", x), x[:, 0])
    np.testing.assert_array_equal(run("unsqueeze", x, axes=(0, -1)), x[None, ..., None])
    np.testing.assert_array_equal(run("expand", x, shape=(2, 1, 5, 4)), np.broadcast_to(x, (2, 3, 5, 4)))
    a, b = run_all("split", x, axis=-1, sizes=(1, 3))
    np.testing.assert_array_equal(np.concatenate([a, b], -1), x)
    assert np.shares_memory(a, x)


def test_reshape_that_is_no_view_raises():
    with pytest.raises(ValueError):
        kernel_of(lookup("reshape")).call(random(3, 4).T, shape=(12,))
    np.testing.assert_array_equal(run("reshape", random(3, 4).T, shape=(12,)), random(3, 4).T.reshape(12))


@given(st.data())
def test_slices(data):
    size = data.draw(st.integers(0, 6))
    start, end = (data.draw(st.integers(-9, 9)) for _ in range(2))
    step = data.draw(st.integers(-4, 4).filter(bool))
    x = random(2, size)
    got = run("slice", x, starts=(start,), ends=(end,), axes=(-1,), steps=(step,))
    np.testing.assert_array_equal(got, x[:, start:end:step])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis):
    for parts in ([random(2, 3)], [random(2, 3), random(2, 3, seed=2), random(2, 3).T.reshape(2, 3)]):
        np.testing.assert_array_equal(run("concat", *parts, axis=axis), np.concatenate(parts, axis))
    words = np.array(["a", "b"], object)
    assert run("concat", words, words, axis=0).tolist() == ["a", "b", "a", "b"]


@given(
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
    st.sampled_from(["constant", "reflect", "edge", "symmetric", "wrap"]),
    st.data(),
)
def test_pad(shape, mode, data):
    pads = tuple(tuple(data.draw(st.integers(0, 9)) for _ in range(2)) for _ in shape)
    x = random(*shape)
    if mode == "constant":
        for value in (None, np.float32(7), np.float32([7])):
            want = np.pad(x, pads, constant_values=0 if value is None else 7)
            np.testing.assert_array_equal(run("pad", x, value, pads=pads), want)
    else:
        np.testing.assert_array_equal(run("pad", x, pads=pads, mode=mode), np.pad(x, pads, mode))


def test_negative_pads_cut_away():
    x = random(5, 6)
    np.testing.assert_array_equal(run("pad", x, pads=((-1, 2), (0, -2))), np.pad(x[1:, :-2], ((0, 2), (0, 0))))
    np.testing.assert_array_equal(
        run("pad", x, pads=((-1, 2), (1, 0)), mode="reflect"), np.pad(x[1:], ((0, 2), (1, 0)), "reflect")
    )


def test_tile_and_repeat():
    x = random(2, 3)
    for layout in layouts(x):
        np.testing.assert_array_equal(run("tile", layout, repeats=(2, 3)), np.tile(layout, (2, 3)))
        for axis in (0, 1, -1):
            np.testing.assert_array_equal(run("repeat", layout, repeats=3, axis=axis), np.repeat(layout, 3, axis))
    assert run("tile", x, repeats=(0, 1)).shape == (0, 3)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_reverse_sequence(axis):
    x, lengths = random(3, 4, 5), np.int64([0, 2, 4])
    want = x.copy()
    for n, length in enumerate(lengths):
        along, source = np.moveaxis(want[n], axis % 3 - 1, 0), np.moveaxis(x[n], axis % 3 - 1, 0)
        along[:length] = source[:length][::-1]
    np.testing.assert_array_equal(run("reverse_sequence", x, lengths, axis=axis), want)


def test_shapes_as_values():
    x = random(3, 0, 5)
    assert run("shape", x).tolist() == [3, 0, 5]
    assert run("size", x).tolist() == 0
    assert run("shape", np.array(["a"], object)).tolist() == [1]
    np.testing.assert_array_equal(run("fill", np.float32([2.5]), shape=(2, 3)), np.full((2, 3), 2.5))
    assert run("range", np.int64(2), np.int64(11), np.int64(3)).tolist() == [2, 5, 8]
    assert run("range", np.int64(2), np.int64(-5), np.int64(-3)).tolist() == [2, -1, -4]
    assert run("range", np.float32(1), np.float32(2), np.float32(0.25)).tolist() == [1, 1.25, 1.5, 1.75]
    assert run("range", np.float32(1), np.float32(0), np.float32(0.25)).tolist() == []
    for k in (-5, -1, 0, 2, 9):
        np.testing.assert_array_equal(run("eye", rows=3, columns=4, k=k, dtype="i32"), np.eye(3, 4, k, np.int32))


def test_every_view_op_is_tested():
    views = {name for name in OPS if kernel_of(lookup(name)).form == "view"}
    assert views == {"identity", "split"} | {name for name, _ in VIEWS}
