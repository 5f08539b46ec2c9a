"""The operations of keras.ops.numpy that look along axes: reductions, places, running sums, order, statistics.

Formulas and dtypes: keras/src/backend/tensorflow/numpy.py.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...ir import Builder, Var, dtype
from ...ir.dims import product
from ..base import as_dtype
from .common import Function, Term, axes_of, flat, inexact, kind_of, row, rows, summable, tensor, together, where
from .elementwise import nan_to_num
from .promotion import result_type

FAMILY = "numpy"
operation = partial(row, FAMILY)


# ---- reductions -----------------------------------------------------------------------------------------------


@operation("Sum")
def sum_(b: Builder, x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Var:
    x = tensor(b, x)
    return b.reduce_sum(as_dtype(b, x, dtype or summable(x)), axes=axes_of(axis), keepdims=keepdims)  # type: ignore


@operation("Prod")
def prod(b: Builder, x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Var:
    x = tensor(b, x)
    return b.reduce_prod(as_dtype(b, x, dtype or summable(x)), axes=axes_of(axis), keepdims=keepdims)  # type: ignore


def _wide(b: Builder, x: Any) -> Var:
    return tensor(b, x, result_type(kind_of(tensor(b, x)), "float32"))


@operation("Mean")
def mean(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Var:
    """In float32 at least; the result of a floating-point operand has its dtype."""
    x = tensor(b, x)
    y = b.reduce_mean(_wide(b, x), axes=axes_of(axis), keepdims=keepdims)
    return as_dtype(b, y, x.tensor.dtype) if x.tensor.dtype.is_float else y


@operation("Var")
def variance(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Var:
    x = tensor(b, x)
    y = b.reduce_variance(_wide(b, x), axes=axes_of(axis), keepdims=keepdims)
    return as_dtype(b, y, result_type(kind_of(x), "float"))


@operation("Std")
def std(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Var:
    return b.sqrt(b.reduce_variance(inexact(b, x), axes=axes_of(axis), keepdims=keepdims))  # type: ignore[no-any-return]


def _truth(op: str) -> Function:
    def call(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Var:
        return getattr(b, op)(tensor(b, x, "bool"), axes=axes_of(axis), keepdims=keepdims)  # type: ignore[no-any-return]

    return call


def _extreme(op: str, of_bool: str, pair: str) -> Function:
    """The largest or smallest; `pair` takes the number `initial` into it."""

    def call(b: Builder, x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Var:
        x = tensor(b, x)
        truth = kind_of(x) == "bool"
        y = getattr(b, of_bool if truth else op)(x, axes=axes_of(axis), keepdims=keepdims)
        if initial is None:
            return y  # type: ignore[no-any-return]
        if truth:
            return as_dtype(b, getattr(b, pair)(as_dtype(b, y, "int32"), tensor(b, initial, "int32")), "bool")
        return getattr(b, pair)(y, tensor(b, initial, y.tensor.dtype))  # type: ignore[no-any-return]

    return call


maximum, minimum = _extreme("reduce_max", "reduce_any", "maximum"), _extreme("reduce_min", "reduce_all", "minimum")
any_, all_ = _truth("reduce_any"), _truth("reduce_all")
rows(FAMILY, {"Max": maximum, "Amax": maximum, "Min": minimum, "Amin": minimum, "Any": any_, "All": all_})


@operation("Ptp")
def ptp(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Var:
    return b.sub(maximum(b, x, axis, keepdims), minimum(b, x, axis, keepdims))  # type: ignore[no-any-return]


@operation("CountNonzero")
def count_nonzero(b: Builder, x: Any, axis: Any = None) -> Var:
    counted = as_dtype(b, tensor(b, x, "bool"), "int32")
    return b.reduce_sum(counted, axes=axes_of(axis), keepdims=False)  # type: ignore[no-any-return]


@operation("Average")
def average(b: Builder, x: Any, weights: Any = None, axis: Any = None) -> Any:
    """The mean; with weights sum(w x) / sum(w), one-dimensional ones standing along the axis."""
    if weights is None:
        return b.reduce_mean(*together(b, x, beside=("float",), weak=False), axes=axes_of(axis), keepdims=False)
    s, w = (Term(b, v) for v in together(b, x, weights, beside=("float",), weak=False))
    if axis is not None and len(w.shape) == 1 != len(s.shape):
        w = w.reshape(shape=[w.shape[0] if i == axis % len(s.shape) else 1 for i in range(len(s.shape))])
    axes = axes_of(axis)
    if len(w.shape) != len(s.shape) or w.shape != s.shape:
        return (s * w).reduce_sum(axes=axes) / w.reduce_sum()
    return (s * w).reduce_sum(axes=axes) / w.reduce_sum(axes=axes)


# ---- NaN left out ---------------------------------------------------------------------------------------------


def _filled(b: Builder, x: Any, number: float) -> Var:
    """x with a number in the place of NaN."""
    t = Term(b, tensor(b, x))
    return where(t.is_nan(), number, t).var if t.var.tensor.dtype.is_float else t.var  # type: ignore[no-any-return]


def _all_nan(b: Builder, x: Var, axis: Any, keepdims: bool) -> Var:
    return b.reduce_all(b.is_nan(x), axes=axes_of(axis), keepdims=keepdims)  # type: ignore[no-any-return]


def _nan_extreme(rule: Function, number: float) -> Function:
    def call(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x = tensor(b, x)
        y = rule(b, _filled(b, x, number), axis, keepdims)
        return where(_all_nan(b, x, axis, keepdims), np.nan, Term(b, y)) if x.tensor.dtype.is_float else y

    return call


@operation("Nanmean")
def nanmean(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    x = tensor(b, x)
    if axis is not None and not isinstance(axis, int) and not len(axis):
        return x
    if not x.tensor.dtype.is_float:
        return b.reduce_mean(as_dtype(b, x, "float32"), axes=axes_of(axis), keepdims=keepdims)
    count = b.reduce_sum(as_dtype(b, b.logical_not(b.is_nan(x)), x.tensor.dtype), axes=axes_of(axis), keepdims=keepdims)
    return b.div(sum_(b, _filled(b, x, 0), axis, keepdims), count)


@operation("Nanvar")
def nanvar(b: Builder, x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    t = Term(b, tensor(b, x, result_type(kind_of(x), "float")))
    centered = where(t.is_nan(), 0.0, t - Term(b, nanmean(b, t.var, axis, True)))
    count = (~t.is_nan()).to(t.dtype).reduce_sum(axes=axes_of(axis), keepdims=keepdims)
    return centered.square().reduce_sum(axes=axes_of(axis), keepdims=keepdims) / count


rows(FAMILY, {
    "Nansum": lambda b, x, **config: sum_(b, _filled(b, x, 0), **config),
    "Nanprod": lambda b, x, **config: prod(b, _filled(b, x, 1), **config),
    "Nanmax": _nan_extreme(maximum, -np.inf), "Nanmin": _nan_extreme(minimum, np.inf),
    "Nanstd": lambda b, x, **config: nanvar(b, x, **config).sqrt(),
})  # fmt: skip


# ---- places ---------------------------------------------------------------------------------------------------


def _lowered_zero(b: Builder, x: Var) -> Var:
    """Keras orders -0.0 below 0.0: as the largest negative number."""
    if not x.tensor.dtype.is_float:
        return as_dtype(b, x, "uint8") if kind_of(x) == "bool" else x
    t = Term(b, as_dtype(b, x, result_type(kind_of(x), "float32")))
    negative = where(t.equal(0.0), 1.0 / t, 0.0) < 0
    return where(negative, -float(np.finfo(t.dtype).tiny), t).var  # type: ignore[no-any-return]


def _place(op: str) -> Function:
    def call(b: Builder, x: Any, axis: int | None = None, keepdims: bool = False) -> Var:
        x = tensor(b, x)
        rank = len(x.shape)
        ordered = _lowered_zero(b, x)
        ordered = flat(b, ordered) if axis is None or not rank else ordered
        y = getattr(b, op)(
            ordered, axis=0 if axis is None or not rank else axis, keepdims=keepdims and axis is not None
        )
        y = as_dtype(b, y, "int32")
        return b.reshape(y, shape=(1,) * rank) if keepdims and axis is None else y  # type: ignore[no-any-return]

    return call


def _nan_place(rule: Function, number: float) -> Function:
    """-1 where there are only NaN."""

    def call(b: Builder, x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        x = tensor(b, x)
        y = rule(b, _filled(b, x, number), axis, keepdims)
        return where(_all_nan(b, x, axis, keepdims), -1, Term(b, y)) if x.tensor.dtype.is_float else y

    return call


argmax, argmin = _place("argmax"), _place("argmin")
rows(FAMILY, {
    "Argmax": argmax, "Argmin": argmin,
    "Nanargmax": _nan_place(argmax, -np.inf), "Nanargmin": _nan_place(argmin, np.inf),
})  # fmt: skip


def ordered(b: Builder, x: Any, axis: int | None, what: int) -> Var:
    """x sorted along an axis (None: flattened) and the places, stable: result number `what`."""
    x = tensor(b, x)
    if axis is None or not x.shape:
        x, axis = b.reshape(x, shape=(product(x.shape),)), 0
    own = x.tensor.dtype
    comparable = as_dtype(b, x, "uint8") if own.kind == "bool" else x
    found = b.top_k(comparable, k=x.shape[axis], axis=axis, largest=False)
    return as_dtype(b, found[0], own) if what == 0 else as_dtype(b, found[1], "int32")


@operation("Sort")
def sort(b: Builder, x: Any, axis: int | None = -1) -> Var:
    return ordered(b, x, axis, 0)


@operation("Argsort")
def argsort(b: Builder, x: Any, axis: int | None = -1) -> Var:
    return ordered(b, x, axis, 1)


@operation("Argpartition")
def argpartition(b: Builder, x: Any, kth: int, axis: int | None = -1) -> Any:
    """The places of the kth + 1 smallest, then of the others, largest first.

    In Keras the others are what is largest once the smallest of all rows are set to 0 (backend/tensorflow/numpy.py);
    for a vector that is as it should be, and only these are supported.
    """
    t = Term(b, tensor(b, x, "int32"))
    t = t.reshape(shape=(product(t.shape),)) if axis is None else t
    if len(t.shape) != 1:
        raise TypeError("argpartition of more than one axis has no meaning in Keras with the TensorFlow backend")
    size = t.shape[0]
    smallest = (-t).top_k(k=kth + 1, axis=0)[1]
    cleared = t.scatter_elements(smallest, b.fill(t.same(0), shape=(kth + 1,)), axis=0)
    others = cleared.top_k(k=size - kth - 1, axis=0)[1]
    return smallest.concat(others, axis=0).to("int32")


# ---- running sums ---------------------------------------------------------------------------------------------


def _running(op: str) -> Function:
    def call(b: Builder, x: Any, axis: int | None = None, dtype: Any = None) -> Var:
        x = tensor(b, x, dtype)
        x = as_dtype(b, x, "int32") if kind_of(x) == "bool" else x
        return getattr(b, op)(x if axis is not None else flat(b, x), axis=axis or 0)  # type: ignore[no-any-return]

    return call


cumsum, cumprod = _running("cumsum"), _running("cumprod")
rows(FAMILY, {
    "Cumsum": cumsum, "Cumprod": cumprod,
    "Nancumsum": lambda b, x, **config: cumsum(b, nan_to_num(b, x).var, **config),
    "Nancumprod": lambda b, x, **config: cumprod(b, nan_to_num(b, x, nan=1.0).var, **config),
})  # fmt: skip


@operation("Diff")
def diff(b: Builder, a: Any, n: int = 1, axis: int = -1) -> Var:
    a = tensor(b, a)
    for _ in range(n):
        later = b.slice(a, starts=(1,), ends=(2**31 - 1,), axes=(axis,))
        earlier = b.slice(a, starts=(0,), ends=(-1,), axes=(axis,))
        a = b.not_equal(later, earlier) if kind_of(a) == "bool" else b.sub(later, earlier)
    return a


@operation("Trapezoid")
def trapezoid(b: Builder, y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of y by the trapezoidal rule."""
    name = result_type(kind_of(tensor(b, y)), "float")
    t = Term(b, tensor(b, y, name))
    steps: Any = dx
    if x is not None:
        steps = Term(b, diff(b, tensor(b, x, name), axis=axis if len(tensor(b, x).shape) > 1 else -1))
        if len(steps.shape) == 1:
            steps = steps.reshape(shape=[-1 if i == axis % len(t.shape) else 1 for i in range(len(t.shape))])
    later = t.slice(starts=(1,), ends=(2**31 - 1,), axes=(axis,))
    earlier = t.slice(starts=(0,), ends=(-1,), axes=(axis,))
    return ((later + earlier) * 0.5 * steps).reduce_sum(axes=(axis,))


# ---- quantiles ------------------------------------------------------------------------------------------------


def _at_end(b: Builder, x: Var, axes: tuple[int, ...] | None) -> Var:
    """The axes as one, the last."""
    if axes is None:
        return flat(b, x)
    rank = len(x.shape)
    axes = tuple(a % rank for a in axes)
    rest = [i for i in range(rank) if i not in axes]
    moved = b.transpose(x, perm=(*rest, *axes))
    return b.reshape(moved, shape=(*(x.shape[i] for i in rest), product(x.shape[i] for i in axes)))  # type: ignore


def _between(b: Builder, y: Var, count: Term, q: Term, method: str) -> Any:
    """Elements of rows y, sorted, at the fraction q (K,) of `count` elements each: (..., K)."""
    last = count - 1.0
    exact = last * q

    def element(place: Term) -> Term:
        within = place.maximum(0.0).minimum(last)
        shape = (*y.shape[:-1], q.shape[0])
        return Term(b, y).gather_elements(within.cast(to="i64").expand(shape=shape), axis=-1)

    if method == "linear":
        above = exact.ceil().minimum(last)
        low = (above - 1.0).maximum(0.0)
        high = (low + 1.0).minimum(last)
        fraction = (high - exact).to(y.tensor.dtype)
        return element(high) * (1.0 - fraction) + element(low) * fraction
    if method == "midpoint":
        return (element(exact.floor()) + element(exact.ceil())) * 0.5
    rounding = {"lower": "floor", "higher": "ceil", "nearest": "round"}.get(method)
    if rounding is None:
        raise TypeError(f"method {method!r} is none of linear, lower, higher, nearest, midpoint")
    return element(getattr(exact, rounding)())


def _quantile(b: Builder, x: Any, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool) -> Any:
    """The q-quantiles over axes; NaN where there is one, or (skip_nan) those of the other elements."""
    x = tensor(b, x, result_type(kind_of(tensor(b, x)), "float"))
    q = tensor(b, q, "float64")
    axes = axes_of(axis)
    rows = _at_end(b, x, axes)
    unknown = b.is_nan(rows)
    y = sort(b, where(unknown, np.inf, Term(b, rows)).var)
    valid = Term(b, as_dtype(b, b.logical_not(unknown), "float64")).reduce_sum(axes=(-1,), keepdims=True)
    count = valid.maximum(1.0) if skip_nan else _row_length(b, rows)
    nan = valid.equal(0.0) if skip_nan else valid < count
    found = _between(b, y, count, Term(b, flat(b, b.reshape(q, shape=(product(q.shape),)))), method)
    found = where(nan, np.nan, found)
    return _arranged(found, len(x.shape), axes, q.shape, keepdims)


def _row_length(b: Builder, x: Var) -> Term:
    """The size of the last axis as a float64."""
    sizes = b.shape(x)
    return Term(b, b.cast(b.slice(sizes, starts=(-1,), ends=(2**31 - 1,), axes=(0,)), to="f64"))


def _arranged(found: Any, rank: int, axes: Any, shape: Any, keepdims: bool) -> Any:
    """(..., K) with the axes of q first, and (keepdims) the reduced ones as ones."""
    last = len(found.shape) - 1
    found = found.transpose(perm=(last, *range(last)))
    found = found.reshape(shape=(*shape, *found.shape[1:]))
    if not keepdims:
        return found
    gone = range(rank) if axes is None else sorted(a % rank for a in axes)
    return found.unsqueeze(axes=tuple(len(shape) + a for a in gone))


def _percent(b: Builder, q: Any) -> Var:
    return b.div(tensor(b, q, "float32"), 100.0)  # type: ignore[no-any-return]


def _quantiles(percent: bool, skip_nan: bool) -> Function:
    def call(b: Builder, x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False) -> Any:
        return _quantile(b, x, _percent(b, q) if percent else q, axis, method, keepdims, skip_nan)

    return call


def _median(skip_nan: bool) -> Function:
    return lambda b, x, axis=None, keepdims=False: _quantile(b, x, 0.5, axis, "linear", keepdims, skip_nan)


rows(FAMILY, {
    "Quantile": lambda b, x, q, method="linear", **how: _quantiles(False, False)(b, x, q, **how),  # as Keras runs it
    "Percentile": _quantiles(True, False), "Median": _median(False),
    "Nanquantile": _quantiles(False, True), "Nanpercentile": _quantiles(True, True), "Nanmedian": _median(True),
})  # fmt: skip


# ---- counts ---------------------------------------------------------------------------------------------------


@operation("Bincount")
def bincount(b: Builder, x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """How often each of 0, 1, ... is in a row, up to the largest number of all, at least `minlength` places."""
    if sparse:
        raise TypeError("sparse=True is not supported: tenun has no sparse tensors")
    t = Term(b, tensor(b, x))
    t = t.to(t.dtype if t.dtype in ("int32", "int64") else "int32")
    name = "int32" if weights is None else result_type(kind_of(x), kind_of(tensor(b, weights)))
    depth = (t.reduce_max() + 1).maximum(minlength).cast(to="i64").reshape(shape=())
    one = Term(b, b.constant(np.array(1, dtype(name).numpy)))
    hits = t.one_hot(one, one * 0, depth=depth.var, axis=-1)
    if weights is not None:
        hits = hits * Term(b, tensor(b, weights, name)).unsqueeze(axes=(-1,))
    return hits.reduce_sum(axes=(-2,))


def insertion(b: Builder, edges: Var, x: Var, right: bool) -> Var:
    """How many of the sorted edges (K,) are below x, or (right) at most x: i32 in the shape of x."""
    below = b.less_equal(edges, b.unsqueeze(x, axes=(-1,))) if right else b.less(edges, b.unsqueeze(x, axes=(-1,)))
    return b.reduce_sum(as_dtype(b, below, "int32"), axes=(-1,), keepdims=False)  # type: ignore[no-any-return]


@operation("SearchSorted")
def searchsorted(b: Builder, sorted_sequence: Any, values: Any, side: str = "left") -> Var:
    edges, x = together(b, sorted_sequence, values, weak=False)
    return insertion(b, edges, x, right=side == "right")


@operation("Digitize")
def digitize(b: Builder, x: Any, bins: Any) -> Var:
    """The bin of each element: edges belong to the bin above them.  Compared in float64, which holds both."""
    edges = tensor(b, tensor(b, bins, "float32"), "float64")
    return insertion(b, edges, tensor(b, x, "float64"), right=True)


@operation("Histogram")
def histogram(b: Builder, x: Any, bins: int = 10, range: Any = None) -> Any:
    """Counts in `bins` equal parts between the extremes (or `range`), and their edges."""
    t = Term(b, flat(b, tensor(b, x)))
    name = t.dtype if t.var.tensor.dtype.is_float else "float64"
    low, high = (Term(b, tensor(b, v)).to(name) for v in range or (t.reduce_min().var, t.reduce_max().var))
    fractions = Term(b, b.constant(np.arange(bins + 1, dtype=np.float64))).to(name)
    edges = low + (high - low) / float(bins) * fractions
    edges = where(fractions.equal(float(bins)), high, edges).to(t.dtype)
    inside = (t >= low.to(t.dtype)) & (t <= high.to(t.dtype))
    inner = edges.slice(starts=(1,), ends=(-1,), axes=(0,))
    places = Term(b, insertion(b, inner.var, t.var, right=True))
    one = Term(b, t.same(1))
    hits = places.one_hot(one, one * 0, depth=bins, axis=-1) * inside.to(t.dtype).unsqueeze(axes=(-1,))
    return [hits.reduce_sum(axes=(0,)), edges]


@operation("Corrcoef")
def corrcoef(b: Builder, x: Any) -> Any:
    """Correlations of the rows of x."""
    name = kind_of(x)
    t = Term(b, tensor(b, x, name if dtype(name).is_float else "float32"))
    if not t.shape:
        return b.constant(np.float32(np.nan))
    centered = t - t.reduce_mean(axes=(-1,), keepdims=True)
    vector = len(t.shape) == 1
    rows = centered.unsqueeze(axes=(0,)) if vector else centered
    products = rows.matmul(Term(b, b.swap(rows.var)))
    spread = rows.square().reduce_sum(axes=(-1,)).sqrt()
    scaled = products / (spread.unsqueeze(axes=(-1,)) * spread.unsqueeze(axes=(-2,)))
    scaled = scaled.clip(low=-1.0, high=1.0)
    return scaled.reshape(shape=()) if vector else scaled


@operation("IsIn")
def isin(b: Builder, x: Any, y: Any, assume_unique: bool = False, invert: bool = False) -> Var:
    """Whether each element of x is among those of y."""
    x, y = together(b, x, y, weak=False)
    found = b.reduce_any(b.equal(b.unsqueeze(x, axes=(-1,)), flat(b, y)), axes=(-1,), keepdims=False)
    return b.logical_not(found) if invert else found  # type: ignore[no-any-return]
