"""Run a kernel of any form on arrays, in conditions that make its mistakes visible.

A bound kernel gets an output and scratch full of garbage, and its steps run twice; constants are read-only, and
operands that a kernel wrote to are an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tenun.backends.numpy.evaluate import call_view, flat_steps, kernel_attributes, kernel_of, run_time_type
from tenun.ir.attributes import check
from tenun.ir.op import infer, lookup
from tenun.ir.types import DType, Optional, Tensor, dtype


def garbage(shape: Any, dtype: Any = np.float32) -> np.ndarray:
    """An array full of NaN, or of bytes that mean nothing."""
    array = np.empty(shape, dtype)
    if array.dtype.hasobject:
        array.fill("garbage")
    elif array.dtype.kind in "fc":
        array.fill(np.nan)
    elif array.dtype.kind == "b":
        array.fill(True)
    else:
        array.view(np.uint8 if array.ndim else array.dtype).fill(0x55)
    return array


def attributes(name: str, attrs: dict[str, Any]) -> dict[str, Any]:
    """All attributes of an op in canonical form."""
    op = lookup(name)
    unknown = set(attrs) - set(op.attributes)
    assert not unknown, unknown
    return {k: check(a, attrs[k]) if k in attrs else a.default for k, a in op.attributes.items()}


def constant(array: Any) -> np.ndarray:
    """A read-only copy."""
    copy = np.array(array)
    copy.flags.writeable = False
    return copy


def run_all(name: str, *operands: Any, **attrs: Any) -> tuple[Any, ...]:
    """The outputs of an op, by its kernel; shapes and dtypes are checked against the type rule."""
    op, graphs = lookup(name), {k: attrs.pop(k) for k in lookup(name).graphs}
    operands = tuple(_array(a) for a in operands)
    operands = (*operands, *(None,) * (op.slots - len(operands)))
    canonical = attributes(name, attrs)
    types = tuple(None if a is None else run_time_type(a) for a in operands)
    row, given = kernel_of(op), kernel_attributes(op, canonical, types)
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in operands]
    expected = None if graphs else infer(op, types, canonical)
    with np.errstate(all="ignore"):
        if row.form == "kernel":
            repeats = not op.has("random") or given["seed"] is not None
            results = _run_bound(row, operands, given, expected, op.many, repeats)
        else:
            results = call_view(row, operands, given) if row.form == "view" else row.call(*operands, **given, **graphs)
            results = tuple(results) if op.many else (results,)
    for before, after in zip(copies, operands):
        if isinstance(before, np.ndarray):
            np.testing.assert_array_equal(before, after, err_msg=f"{name} wrote to an operand")
    for t, result in zip(expected or (), results):
        check_type(name, t, result)
    return results


def _array(value: Any) -> Any:
    """NumPy's scalars as arrays of rank 0, which is what kernels get."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def check_type(name: str, t: Any, result: Any) -> None:
    """The type rule gave a type that the kernel's result has."""
    if not isinstance(t, Tensor):
        assert result is None if isinstance(t, Optional) else isinstance(result, list), name
        return
    result = np.asarray(result)
    assert dtype(result) is t.dtype, f"{name}: rule says {t.dtype}, kernel gave {result.dtype}"
    if t.shape is not None:
        assert len(t.shape) == result.ndim, f"{name}: rule says {t}, kernel gave {result.shape}"
        for a, b in zip(t.shape, result.shape):
            assert not isinstance(a, int) or a == b, f"{name}: rule says {t}, kernel gave {result.shape}"


def _run_bound(
    row: Any, operands: Any, attrs: dict[str, Any], types: Any, many: bool, repeats: bool
) -> tuple[Any, ...]:
    outs = tuple(garbage(t.static, t.dtype.numpy) for t in types)
    scratches: list[np.ndarray] = []

    def scratch(shape: Any, dtype: Any = np.float32) -> np.ndarray:
        scratches.append(garbage(shape, dtype))
        return scratches[-1]

    steps = flat_steps(row.call(*operands, **attrs, out=outs if many else outs[0], scratch=scratch))
    for step in steps:
        step()
    first = [o.copy() for o in outs]
    for array in (*outs, *scratches):
        array[...] = garbage(array.shape, array.dtype)
    for step in steps:
        step()
    for a, b in zip(first, outs) if repeats else ():
        np.testing.assert_array_equal(a, b, err_msg="the second run differs")
    return outs


def run(name: str, *operands: Any, **attrs: Any) -> Any:
    """The only output of an op."""
    (result,) = run_all(name, *operands, **attrs)
    return result


def run_in_place(name: str, place: int, *operands: np.ndarray, **attrs: Any) -> np.ndarray:
    """The result of a bound kernel whose output is one of its operands (which is copied before)."""
    op = lookup(name)
    assert op.has("inplace")
    operands = tuple(_array(a).copy() for a in operands)
    steps = kernel_of(op).call(*operands, **attributes(name, attrs), out=operands[place], scratch=garbage)
    with np.errstate(all="ignore"):
        for step in flat_steps(steps):
            step()
    return operands[place]


def layouts(x: np.ndarray) -> list[np.ndarray]:
    """x in several memory layouts: as it is, column-major, every second element of a larger array, reversed."""
    if not x.ndim:
        return [x]
    wide = np.repeat(x, 2, axis=-1)[..., ::2]
    return [x, np.asfortranarray(x), wide, np.flip(np.flip(x, 0).copy(), 0)]


def random(*shape: int, dtype: Any = np.float32, seed: int = 0, low: float = -3, high: float = 3) -> np.ndarray:
    """Seeded numbers between bounds."""
    generator = np.random.default_rng(seed + sum(shape))
    numpy = dtype.numpy if isinstance(dtype, DType) else np.dtype(dtype)
    if numpy.kind in "iu":
        return generator.integers(int(max(low, 0) if numpy.kind == "u" else low), int(high) + 1, shape).astype(numpy)
    if numpy.kind == "b":
        return generator.random(shape) < 0.5
    return generator.uniform(low, high, shape).astype(numpy)
