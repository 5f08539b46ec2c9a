"""Classical machine learning: tables of keys, maps (dicts), decision trees, coupled probabilities."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import numpy as np

from ....errors import RunError
from ..registry import Array, Scratch, Step, function, is_constant, kernel

# ---- tables and maps -----------------------------------------------------------------------------------------


@function
def find(x: Array, keys: Array, *, strict: bool) -> Array:
    places = _find_text(x, keys) if keys.dtype == object else _find_number(x, keys)
    if strict and (places == len(keys)).any():
        unknown = x[places == len(keys)].reshape(-1)[0]
        raise RunError(f"{unknown!r} is none of the {len(keys)} keys", op="find")
    return places


_TABLES: dict[int, tuple[ref[Array], dict[Any, int]]] = {}  # of constant keys, by their identity, while they live


def _table(keys: Array) -> dict[Any, int]:
    """The place of each key, of equal ones the first; made once for a constant."""
    number = id(keys)
    known = _TABLES.get(number)
    if known is not None and known[0]() is keys:
        return known[1]
    table = {key: place for place, key in reversed([*enumerate(keys.tolist())])}
    if is_constant(keys):
        _TABLES[number] = ref(keys, lambda _: _TABLES.pop(number, None)), table
    return table


def _find_text(x: Array, keys: Array) -> Array:
    table = _table(keys)
    return np.array([table.get(v, len(keys)) for v in x.reshape(-1).tolist()], np.int64).reshape(x.shape)


def _find_number(x: Array, keys: Array) -> Array:
    if not len(keys):
        return np.zeros(x.shape, np.int64)
    order = np.argsort(keys, kind="stable")  # NaN last, as searchsorted takes it
    ranked = keys[order]
    place = np.minimum(np.searchsorted(ranked, x), len(keys) - 1)
    found = ranked[place]
    same = (found == x) | ((found != found) & (x != x))
    return np.where(same, order[place], len(keys)).astype(np.int64)


@function
def map_items(x: dict[Any, Any]) -> tuple[Array, Array]:
    keys = sorted(x)
    values = np.array([np.asarray(x[k]).reshape(()) for k in keys])
    text = any(isinstance(k, str) for k in keys)
    return np.array(keys, object if text else np.int64), values


@function
def zip_map(x: Array, *, words: tuple[str, ...], numbers: tuple[int, ...]) -> list[dict[Any, Any]]:
    return [dict(zip(words or numbers, row)) for row in x.reshape(-1, x.shape[-1])]


# ---- decision trees ------------------------------------------------------------------------------------------

BLOCK = 1 << 16  # pairs of sample and tree (and target) that are worked on at a time: they fit the cache
_COMPARE: tuple[Callable[[Array, Array], Array], ...] = (
    np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal,
)  # fmt: skip


class _Forest:
    """The trees, and what a walk down needs to know of them."""

    def __init__(
        self, roots: Array, features: Array, thresholds: Array, modes: Array, missing: Array, children: Array,
        weights: Array,
    ) -> None:  # fmt: skip
        self.roots, self.features, self.thresholds, self.modes = roots, features, thresholds, modes
        self.missing, self.next, self.weights = missing, children.reshape(-1), weights
        self.kinds = np.unique(modes).tolist()
        self.has_missing = bool(missing.any())
        self.width = int(features.max(initial=-1)) + 1
        for places in (children, roots):
            if places.size and not 0 <= places.min() <= places.max() < len(features) + len(weights):
                raise RunError("a tree leads to a node that is not there", op="tree_ensemble")
        if features.min(initial=0) < 0 or max(self.kinds, default=0) >= len(_COMPARE):
            raise RunError("a branch has no such feature, or comparison", op="tree_ensemble")

    def step(self, node: Array, value: Array) -> Array:
        """Where branches lead for the values that they look at."""
        threshold = self.thresholds[node]
        if len(self.kinds) == 1:
            goes = _COMPARE[self.kinds[0]](value, threshold)
        else:
            mode = self.modes[node]
            goes = np.select([mode == k for k in self.kinds], [_COMPARE[k](value, threshold) for k in self.kinds])
        if self.has_missing:
            goes |= self.missing[node] & np.isnan(value)
        return self.next[2 * node + goes]

    def leaves(self, x: Array) -> Array:
        """The leaf of each tree for each row of x, (N, T): all walk down at once, those that arrive stay behind."""
        rows, trees, branches = len(x), len(self.roots), len(self.features)
        reached = np.repeat(self.roots[None], rows, 0).reshape(-1)
        flat, place = x.reshape(-1), np.flatnonzero(reached < branches)
        node, start = reached[place], place // max(trees, 1) * x.shape[1]
        for _ in range(branches):
            if not len(place):
                break
            node = self.step(node, flat[start + self.features[node]])
            inside = node < branches
            if not inside.all():
                reached[place] = node
                node, start, place = node[inside], start[inside], place[inside]
        if len(place):
            raise RunError("a tree has a cycle", op="tree_ensemble")
        return (reached - branches).reshape(rows, trees)


_AGGREGATE: dict[str, Callable[..., Any]] = {
    "sum": partial(np.add.reduce, dtype=np.float64),
    "average": np.mean,
    "min": np.min,
    "max": np.max,
}


@kernel
def tree_ensemble(
    x: Array, roots: Array, features: Array, thresholds: Array, modes: Array, missing: Array, children: Array,
    weights: Array, *, aggregate: str, out: Array, scratch: Scratch,
) -> Step:  # fmt: skip
    parts = (roots, features, thresholds, modes, missing, children, weights)
    forest = partial(_Forest, *parts)
    if all(map(is_constant, parts)):
        known = forest()
        forest = lambda: known  # type: ignore[assignment] # noqa: E731
    rows = max(1, BLOCK // max(1, len(roots) * weights.shape[1]))
    return partial(_answer, forest, x, _AGGREGATE[aggregate], rows, out)


def _answer(forest: Callable[[], _Forest], x: Array, aggregate: Callable[..., Any], rows: int, out: Array) -> None:
    trees = forest()
    if trees.width > x.shape[1]:
        raise RunError(f"the trees look at {trees.width} features, there are {x.shape[1]}", op="tree_ensemble")
    for start in range(0, len(x), rows):
        leaves = trees.leaves(np.ascontiguousarray(x[start : start + rows]))
        words = trees.weights[:, 0][leaves][..., None] if out.shape[1] == 1 else trees.weights[leaves]
        out[start : start + rows] = aggregate(words, axis=1)


# ---- coupled probabilities -----------------------------------------------------------------------------------


@function
def couple_probabilities(pairs: Array) -> Array:
    """All rows are iterated together; those that have converged keep what they have."""
    r = pairs.astype(np.float64)
    n, k, _ = r.shape
    off = r * (1 - np.eye(k))
    q = -off.swapaxes(1, 2) * off
    q[:, np.arange(k), np.arange(k)] = (off * off).sum(1)
    p = np.full((n, k), 1 / k)
    live = np.arange(n)
    for _ in range(max(100, k)):
        ql, pl = q[live], p[live]
        qp = (ql @ pl[..., None])[..., 0]
        pqp = (pl * qp).sum(1)
        going = np.abs(qp - pqp[:, None]).max(1, initial=0) >= 0.005 / k
        live, ql, pl, qp, pqp = live[going], ql[going], pl[going], qp[going], pqp[going]
        if not len(live):
            break
        for t in range(k):
            diff = (pqp - qp[:, t]) / ql[:, t, t]
            pl[:, t] += diff
            scale = 1 + diff
            pqp = (pqp + diff * (diff * ql[:, t, t] + 2 * qp[:, t])) / scale**2
            qp = (qp + diff[:, None] * ql[:, t]) / scale[:, None]
            pl /= scale[:, None]
        p[live] = pl
    return p.astype(pairs.dtype)
