"""ai.onnx.ml: tables of keys, maps, decision trees, coupled probabilities.

The version of the domain is the one that was released with the opset: from 5 on (opset 21) trees have another operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....ir.ops.ml import BRANCHES
from ....ir.types import DTYPES, Map, Tensor, boolean, f32, f64, i64, string
from ..emitter import Array, Emitter, Item
from . import export
from .reduce import reduced

DOMAIN = "ai.onnx.ml"
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
assert len(MODES) == len(BRANCHES)
MOST_NODES = 1 << 24  # of trees that are copied where they share branches


# ---- tables and maps -----------------------------------------------------------------------------------------


@export()
def find(w: Emitter, x: Item, keys: Item, *, strict: bool) -> Item:
    """LabelEncoder from keys to places; comparisons where it has no such keys.  An index out of range is an error."""
    known = keys.data
    if known is not None and len(known) and _encodable(x, known):
        places = w.typed(_encoded(w, x, known), Tensor(i64, x.tensor.shape))
    else:
        places = _compared(w, x, keys)
    if not strict:
        return places
    count = w.axis_size(keys, 0) if known is None else len(known)
    every = w.Range(0, w.scalar(count), 1) if isinstance(count, Item) else w.constant(np.arange(count))
    return w.Gather(every, places)  # type: ignore[no-any-return]


def _encodable(x: Item, keys: Array) -> bool:
    """Keys that LabelEncoder's attributes can hold; in ONNX Runtime NaN is not equal to itself."""
    if x.dtype.is_float:
        return x.dtype.bits <= 32 and not bool(np.isnan(keys.astype(np.float64)).any())
    return x.dtype is string or (x.dtype.is_integer and x.dtype.name != "u64")


def _encoded(w: Emitter, x: Item, keys: Array) -> Item:
    first: dict[Any, int] = {}
    for place, key in enumerate(keys.tolist()):
        first.setdefault(key, place)
    name = "strings" if x.dtype is string else "int64s" if x.dtype.is_integer else "floats"
    wide = x if x.dtype is string else w.cast(x, i64 if x.dtype.is_integer else f32)
    table = {f"keys_{name}": list(first), "values_int64s": list(first.values()), "default_int64": len(keys)}
    return w.LabelEncoder(wide, domain=DOMAIN, result=i64, **table)  # type: ignore[no-any-return]


def _compared(w: Emitter, x: Item, keys: Item) -> Item:
    """The first key that is equal; after the last one stands what equals everything."""
    if x.dtype is string:
        w.need(19, "a comparison of strings")
    wide = w.Unsqueeze(x, w.ints([-1]))
    same = w.Equal(wide, keys, result=boolean)
    if x.dtype.is_float:
        same = w.Or(same, w.And(w.IsNaN(wide, result=boolean), w.IsNaN(keys, result=boolean)))
    end = w.Expand(w.constant(True), w.Concat(w.Shape(x, result=i64), w.ints([1]), axis=0))
    numbers = w.Cast(w.Concat(same, end, axis=-1), to=6, result=DTYPES["i32"])
    return w.ArgMax(numbers, axis=-1, keepdims=0, result=i64)  # type: ignore[no-any-return]


@export()
def map_items(w: Emitter, x: Item) -> Sequence[Item]:
    """CastMap gives the values in the order of the keys; the keys themselves are beyond ONNX."""
    assert isinstance(x.type, Map) and isinstance(x.type.element, Tensor) and w.node is not None
    if w.node.outputs[0].users or x.type.key is not i64:
        raise w.refuse("no operator of ONNX gives the keys of a map", "write the model before DictVectorizer is read")
    kind = x.type.element.dtype
    target = {string: "TO_STRING", i64: "TO_INT64"}.get(kind, "TO_FLOAT")
    row = w.CastMap(x, cast_to=target, map_form="DENSE", domain=DOMAIN, result=kind)
    values = w.Squeeze(row, w.ints([0]))
    return Item(Tensor(i64, None)), values


@export()
def zip_map(w: Emitter, x: Item, *, words: Sequence[str], numbers: Sequence[int]) -> Item:
    if x.dtype is not f32:
        raise w.refuse(f"ZipMap takes f32, not {x.dtype}", "cast the scores to f32")
    keys = {"classlabels_strings": list(words)} if words else {"classlabels_int64s": list(numbers)}
    return w.ZipMap(x, domain=DOMAIN, **keys)  # type: ignore[no-any-return]


# ---- decision trees ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Forest:
    """The operands of `tree_ensemble`."""

    roots: Array
    features: Array
    thresholds: Array
    modes: Array
    missing: Array
    children: Array
    weights: Array


@export()
def tree_ensemble(w: Emitter, x: Item, *parts: Item, aggregate: str) -> Item:
    """An average is written as a sum, so that copies of trees do not count."""
    known = [v.data for v in parts]
    if any(v is None for v in known):
        raise w.refuse("its trees are only known at run time")
    forest = _Forest(*known)  # type: ignore[arg-type]
    write = _tree_ensemble if w.version(DOMAIN) >= 5 else _tree_ensemble_regressor
    y = write(w, x, forest, "SUM" if aggregate == "average" else aggregate.upper())
    y = w.cast(y, parts[-1].dtype)
    return w.Mul(y, 1 / max(1, len(forest.roots))) if aggregate == "average" else y  # type: ignore[no-any-return]


def _tree_ensemble(w: Emitter, x: Item, f: _Forest, aggregate: str) -> Item:
    """From version 5 on: a leaf speaks of one target, so that there is a copy of the trees for each."""
    wide = f64 if f64.numpy in (f.thresholds.dtype, f.weights.dtype) else f32
    branches, (leaves, targets) = len(f.features), f.weights.shape
    alone = f.roots >= branches  # a root that is a leaf gets a branch above it, both of whose ways lead there
    more = int(alone.sum())
    total = branches + more
    ways = np.concatenate([f.children.reshape(-1, 2), np.repeat(f.roots[alone, None], 2, 1)])
    is_leaf = ways >= branches
    index = np.where(is_leaf, ways - branches, ways)
    roots = f.roots.copy()
    roots[alone] = branches + np.arange(more)

    def padded(values: Array) -> Array:
        return np.tile(np.concatenate([values, np.zeros(more, values.dtype)]), targets)

    copy = np.arange(targets)[:, None, None]
    numbers = (index + copy * np.where(is_leaf, leaves, total)).reshape(-1, 2)
    flags = np.tile(is_leaf, (targets, 1)).astype(np.int64)
    y: Item = w.TreeEnsemble(
        w.cast(x, wide), domain=DOMAIN, n_targets=targets, post_transform=0,
        aggregate_function=["AVERAGE", "SUM", "MIN", "MAX"].index(aggregate),
        tree_roots=(roots + np.arange(targets)[:, None] * total).reshape(-1).tolist(),
        nodes_featureids=padded(f.features).tolist(), nodes_modes=padded(f.modes),
        nodes_splits=padded(f.thresholds).astype(wide.numpy),
        nodes_missing_value_tracks_true=padded(f.missing).astype(int).tolist(),
        nodes_falsenodeids=numbers[:, 0].tolist(), nodes_truenodeids=numbers[:, 1].tolist(),
        nodes_falseleafs=flags[:, 0].tolist(), nodes_trueleafs=flags[:, 1].tolist(),
        leaf_targetids=np.repeat(np.arange(targets), leaves).tolist(),
        leaf_weights=f.weights.T.reshape(-1).astype(wide.numpy),
    )  # fmt: skip
    return w.typed(y, Tensor(wide, None))


def _tree_ensemble_regressor(w: Emitter, x: Item, f: _Forest, aggregate: str) -> Item:
    """Up to version 4: nodes are listed tree by tree, and what is said is f32."""
    weights = f.weights.astype(np.float32)
    if not np.array_equal(weights, f.weights):
        raise w.refuse("weights in double precision need opset 21", "write opset 21")
    numbers, trees, ids, ways = (np.concatenate(part) for part in zip(*_listed(w, f)))
    inner = numbers < len(f.features)
    leaf = ~inner

    def of_nodes(values: Array) -> Array:
        found = np.zeros(len(numbers), values.dtype)
        found[inner] = values[numbers[inner]]
        return found

    said, targets = weights[numbers[leaf] - len(f.features)], weights.shape[1]
    double = x.dtype is f64
    values, words = of_nodes(f.thresholds), said.reshape(-1)
    numeric = (
        {"nodes_values_as_tensor": values, "target_weights_as_tensor": words.astype(np.float64)}
        if double
        else {"nodes_values": values.tolist(), "target_weights": words.tolist()}
    )
    modes = [MODES[m] if i else "LEAF" for m, i in zip(of_nodes(f.modes), inner)]
    y: Item = w.TreeEnsembleRegressor(
        x, domain=DOMAIN, n_targets=targets, aggregate_function=aggregate, nodes_treeids=trees.tolist(),
        nodes_nodeids=ids.tolist(), nodes_modes=modes, nodes_featureids=of_nodes(f.features).tolist(),
        nodes_missing_value_tracks_true=of_nodes(f.missing).astype(int).tolist(),
        nodes_falsenodeids=ways[:, 0].tolist(), nodes_truenodeids=ways[:, 1].tolist(),
        target_treeids=np.repeat(trees[leaf], targets).tolist(), target_nodeids=np.repeat(ids[leaf], targets).tolist(),
        target_ids=np.tile(np.arange(targets), int(leaf.sum())).tolist(), **numeric, result=f32,
    )  # fmt: skip
    return y


def _listed(w: Emitter, f: _Forest) -> Iterator[tuple[Array, Array, Array, Array]]:
    """For each tree its nodes, root first: their numbers, the tree's, their places, those of their children."""
    branches, children, left = len(f.features), f.children.tolist(), MOST_NODES
    for tree, root in enumerate(f.roots.tolist()):
        numbers, ways = [root], []
        for number in numbers:  # which grows meanwhile
            inner = number < branches
            ways.append((len(numbers), len(numbers) + 1) if inner else (0, 0))
            numbers += children[number] if inner else []
            if len(numbers) > left:
                raise w.refuse("a tree has a cycle, or trees share so much that they cannot be written one by one")
        left -= len(numbers)
        yield np.array(numbers), np.full(len(numbers), tree), np.arange(len(numbers)), np.array(ways)


# ---- coupled probabilities -----------------------------------------------------------------------------------


@export()
def couple_probabilities(w: Emitter, pairs: Item) -> Item:
    """The iteration as a Loop, classes one after the other inside; rows that have converged keep what they have."""
    count = pairs.shape[1]
    if not isinstance(count, int):
        raise w.refuse("the number of classes is not known", "declare the shapes of the model's inputs")
    eye = np.eye(count)
    off = w.Mul(w.cast(pairs, f64), 1 - eye)
    squares = reduced(w, "ReduceSum", w.Mul(off, off), (1,), True)
    q = w.Where(w.constant(eye.astype(bool)), squares, w.Neg(w.Mul(w.Transpose(off, perm=[0, 2, 1]), off)), result=f64)
    start = w.Expand(w.constant(np.float64(1 / count)), w.vector((pairs.shape[0], count)))
    with w.inside("couple") as scope:
        scope.inputs = [Item(Tensor(i64, ())), Item(Tensor(boolean, ())), Item(Tensor(f64, (pairs.shape[0], count)))]
        scope.present.update(scope.inputs)
        p = scope.inputs[2]
        qp = w.Squeeze(w.MatMul(q, w.Unsqueeze(p, w.ints([2]))), w.ints([2]))
        pqp = reduced(w, "ReduceSum", w.Mul(p, qp), (1,), True)
        far = reduced(w, "ReduceMax", w.Abs(w.Sub(qp, pqp)), (1,), True)
        going = w.Not(w.Less(far, 0.005 / count, result=boolean))
        moved = w.Where(going, _round(w, q, p, qp, pqp, count), p, result=f64)
        left = reduced(w, "ReduceSum", w.cast(w.typed(going, Tensor(boolean, None)), i64), (0, 1), False)
        more = w.typed(w.Greater(left, 0, result=boolean), Tensor(boolean, ()))
        scope.outputs += [w.result(more), w.result(w.typed(moved, p.type))]
    end = w.Loop(w.constant(np.int64(max(100, count))), w.constant(True), start, body=scope, result=f64)
    return w.cast(end, pairs.dtype)


def _round(w: Emitter, q: Item, p: Item, qp: Item, pqp: Item, count: int) -> Item:
    """One pass over the classes."""
    for t in range(count):
        row = w.Gather(q, w.constant(np.int64(t)), axis=1)
        own, along = (w.Gather(v, w.ints([t]), axis=1) for v in (row, qp))
        diff = w.Div(w.Sub(pqp, along), own)
        scale = w.Add(diff, 1.0)
        moved = w.Mul(diff, w.Add(w.Mul(diff, own), w.Mul(along, 2.0)))
        pqp = w.Div(w.Add(pqp, moved), w.Mul(scale, scale))
        qp = w.Div(w.Add(qp, w.Mul(diff, row)), scale)
        p = w.Div(w.Add(p, w.Mul(diff, np.eye(count)[t])), scale)
    return p
