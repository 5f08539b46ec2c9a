"""ai.onnx.ml: decision trees and ensembles of them, the older operators and the newer one as one core op.

The lists of nodes are brought into one form while reading: branches by number, then leaves with a row of weights each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....errors import GraphError
from ....ir.attributes import Floats, Ints, Strs
from ....ir.graph import Var
from ....ir.types import f32, f64
from ..lowering import Lowering
from ..registry import onnx
from .ml import DOMAIN, POST, best, chosen, labels_of, transformed, two_columns

Array = np.ndarray[Any, Any]
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")  # places: the core op's modes
MEMBER, EQUAL = len(MODES), MODES.index("BRANCH_EQ")
ABSENT = {"sum": 0.0, "average": 0.0, "min": np.inf, "max": -np.inf}  # where a leaf says nothing of a target


@dataclass
class Forest:
    """Trees as the core op takes them, weights without the choice of an aggregate."""

    roots: Array
    features: Array
    thresholds: Array
    modes: Array
    missing: Array
    children: Array
    leaves: int

    def apply(self, b: Lowering, X: Var, weights: Array, aggregate: str) -> Var:
        """The aggregated weights, (N, targets); X is compared in the precision of the finer of X and thresholds."""
        x = b.unsqueeze(X, axes=(0,)) if len(X.shape) == 1 else X
        wide = f64 if f64.numpy in (x.tensor.dtype.numpy, self.thresholds.dtype) else f32
        x = x if x.tensor.dtype is wide else b.cast(x, to=wide)
        parts = (self.roots, self.features, self.thresholds.astype(wide.numpy), self.modes, self.missing, self.children)
        y = b.tree_ensemble(x, *map(b.constant, parts), b.constant(weights), aggregate=aggregate)
        if not np.isfinite(weights).all():  # no leaf of any tree said anything
            y = b.where(b.is_inf(y), b.constant(0, dtype=weights.dtype), y)
        return y  # type: ignore[no-any-return]

    def weights(self, leaf: Array, target: Array, weight: Array, targets: int, aggregate: str) -> Array:
        """(leaves, targets): what is said of one target more than once counts in sum."""
        if len(leaf) and not 0 <= target.min() <= target.max() < targets:
            raise GraphError(f"a leaf speaks of target {target.max()} of {targets}")
        said = np.zeros((self.leaves, targets), bool)
        said[leaf, target] = True
        total = np.where(said, 0.0, ABSENT[aggregate]).astype(weight.dtype)
        np.add.at(total, (leaf, target), weight)
        return total


def _given(values: Any, tensor: Any) -> Array:
    return np.asarray(values, np.float32) if tensor is None else np.asarray(tensor)


class Nodes:
    """The lists of TreeEnsembleClassifier and TreeEnsembleRegressor: nodes by tree and number, leaves among them."""

    def __init__(self, trees: Any, ids: Any, modes: Strs, features: Any, values: Array, missing: Any) -> None:
        self.trees, self.ids = (np.asarray(v, np.int64) for v in (trees, ids))
        if not len(self.ids):
            raise GraphError("the ensemble has no nodes")
        if self.ids.min() < 0 or max(self.ids.max(), np.abs(self.trees).max()) >= 1 << 31:
            raise GraphError("numbers of trees and nodes are out of range")
        key = self._keys(self.trees, self.ids)
        self.order = np.argsort(key, kind="stable")
        self.ranked = key[self.order]
        if (self.ranked[1:] == self.ranked[:-1]).any():
            raise GraphError("two nodes of a tree have the same number")
        unknown = set(modes) - {*MODES, "LEAF"}
        if unknown:
            raise GraphError(f"nodes_modes has {', '.join(sorted(unknown))}, known are {', '.join(MODES)}, LEAF")
        self.is_leaf = np.array([m == "LEAF" for m in modes])
        self.number = np.where(self.is_leaf, np.cumsum(self.is_leaf) - 1, np.cumsum(~self.is_leaf) - 1)
        self.number[self.is_leaf] += int((~self.is_leaf).sum())  # branches first, then leaves
        self.modes, self.features, self.values = modes, np.asarray(features, np.int64), values
        self.missing = np.asarray(missing if len(missing) else np.zeros(len(modes)), bool)

    @staticmethod
    def _keys(trees: Array, ids: Array) -> Array:
        return (trees << 32) + ids

    def find(self, trees: Array, ids: Array) -> Array:
        """The places of nodes in the lists."""
        key = self._keys(np.asarray(trees, np.int64), np.asarray(ids, np.int64))
        place = np.minimum(np.searchsorted(self.ranked, key), len(self.ranked) - 1)
        if (self.ranked[place] != key).any():
            raise GraphError("a node is named that its tree does not have")
        return self.order[place]

    def forest(self, on_true: Any, on_false: Any) -> Forest:
        """The trees; the root of each is the node that is nobody's child."""
        inner = ~self.is_leaf
        ways = [self.find(self.trees[inner], np.asarray(ids, np.int64)[inner]) for ids in (on_false, on_true)]
        is_root = np.ones(len(self.ids), bool)
        is_root[np.concatenate(ways)] = False
        if len(np.unique(self.trees)) != is_root.sum():
            raise GraphError("a tree has not one root")
        modes = [MODES.index(m) for m in self.modes if m != "LEAF"]
        return Forest(
            roots=self.number[is_root], features=self.features[inner], thresholds=self.values[inner],
            modes=np.array(modes, np.uint8), missing=self.missing[inner],
            children=self.number[np.stack(ways, 1)].reshape(-1, 2), leaves=int(self.is_leaf.sum()),
        )  # fmt: skip

    def leaf(self, trees: Any, ids: Any) -> Array:
        """The numbers of leaves."""
        places = self.find(trees, ids)
        if not self.is_leaf[places].all():
            raise GraphError("a branch of a tree has weights")
        return self.number[places] - int((~self.is_leaf).sum())


@onnx("TreeEnsembleRegressor", domain=DOMAIN)
def tree_ensemble_regressor(
    b: Lowering, X: Var, *, aggregate_function: str = "SUM", base_values: Floats = (),
    base_values_as_tensor: Any = None, n_targets: int = 1, nodes_falsenodeids: Ints, nodes_featureids: Ints,
    nodes_hitrates: Floats = (), nodes_hitrates_as_tensor: Any = None, nodes_missing_value_tracks_true: Ints = (),
    nodes_modes: Strs, nodes_nodeids: Ints, nodes_treeids: Ints, nodes_truenodeids: Ints, nodes_values: Floats = (),
    nodes_values_as_tensor: Any = None, post_transform: str = "NONE", target_ids: Ints, target_nodeids: Ints,
    target_treeids: Ints, target_weights: Floats = (), target_weights_as_tensor: Any = None,
) -> Var:  # fmt: skip
    """The sum (AVERAGE, MIN, MAX) of the weights of the leaves that a sample reaches, + base_values."""
    values = _given(nodes_values, nodes_values_as_tensor)
    nodes = Nodes(nodes_treeids, nodes_nodeids, nodes_modes, nodes_featureids, values, nodes_missing_value_tracks_true)
    forest, aggregate = nodes.forest(nodes_truenodeids, nodes_falsenodeids), aggregate_function.lower()
    if aggregate not in ABSENT:
        raise b.refuse(f"aggregate_function is {aggregate_function!r}")
    leaf, weight = nodes.leaf(target_treeids, target_nodeids), _given(target_weights, target_weights_as_tensor)
    weights = forest.weights(leaf, np.asarray(target_ids), weight.astype(np.float64), n_targets, aggregate)
    y = forest.apply(b, X, weights, aggregate)
    base = _given(base_values, base_values_as_tensor)
    y = b.add(y, base.astype(np.float64)) if len(base) else y
    return transformed(b, b.cast(y, to=f32), post_transform)


@onnx("TreeEnsembleClassifier", domain=DOMAIN)
def tree_ensemble_classifier(
    b: Lowering, X: Var, *, base_values: Floats = (), base_values_as_tensor: Any = None, class_ids: Ints,
    class_nodeids: Ints, class_treeids: Ints, class_weights: Floats = (), class_weights_as_tensor: Any = None,
    classlabels_int64s: Ints = (), classlabels_strings: Strs = (), nodes_falsenodeids: Ints, nodes_featureids: Ints,
    nodes_hitrates: Floats = (), nodes_hitrates_as_tensor: Any = None, nodes_missing_value_tracks_true: Ints = (),
    nodes_modes: Strs, nodes_nodeids: Ints, nodes_treeids: Ints, nodes_truenodeids: Ints, nodes_values: Floats = (),
    nodes_values_as_tensor: Any = None, post_transform: str = "NONE",
) -> tuple[Var, Var]:  # fmt: skip
    """Labels and scores.  Of two classes, weights may be given for one: class 0 then names the score of the second."""
    values = _given(nodes_values, nodes_values_as_tensor)
    nodes = Nodes(nodes_treeids, nodes_nodeids, nodes_modes, nodes_featureids, values, nodes_missing_value_tracks_true)
    forest = nodes.forest(nodes_truenodeids, nodes_falsenodeids)
    count = max(len(classlabels_int64s), len(classlabels_strings))
    labels = labels_of(b, classlabels_int64s, classlabels_strings, count)
    leaf, weight = nodes.leaf(class_treeids, class_nodeids), _given(class_weights, class_weights_as_tensor)
    base, ids = _given(base_values, base_values_as_tensor).astype(np.float64), np.asarray(class_ids)
    if count == 2 and set(class_ids) == {0} and len(base) < 2:
        weights = forest.weights(leaf, ids, weight.astype(np.float64), 1, "sum")
        y = forest.apply(b, X, weights, "sum")
        score = b.cast(b.add(y, base) if len(base) else y, to=f32)
        return _one_of_two(b, score, labels, weight), two_columns(b, score, post_transform, bool((weight >= 0).all()))
    weights = forest.weights(leaf, ids, weight.astype(np.float64), count, "sum")
    y = forest.apply(b, X, weights, "sum")
    scores = b.cast(b.add(y, base) if len(base) else y, to=f32)
    if count == 2 and set(class_ids) == {1} and not len(base):
        label = _one_of_two(b, b.slice(scores, starts=(1,), ends=(2,), axes=(1,)), labels, weight)
    else:
        spoken = sorted(set(class_ids))  # no other class can win
        label = best(b, scores if len(spoken) == count else b.gather(scores, np.array(spoken), axis=1), labels[spoken])
    return label, transformed(b, scores, post_transform)


def _one_of_two(b: Lowering, score: Var, labels: Any, weights: Array) -> Var:
    """The label, of two, by the score of one: above 0.5 is the second if no weight is negative, else above 0."""
    return chosen(b, b.greater(score, 0.5 if (weights >= 0).all() else 0.0), labels)


AGGREGATE_NUMBERS = ("average", "sum", "min", "max")


@onnx("TreeEnsemble", domain=DOMAIN, since=5)
def tree_ensemble(
    b: Lowering, X: Var, *, aggregate_function: int = 1, leaf_targetids: Ints, leaf_weights: Any,
    membership_values: Any = None, n_targets: int = 1, nodes_falseleafs: Ints, nodes_falsenodeids: Ints,
    nodes_featureids: Ints, nodes_hitrates: Any = None, nodes_missing_value_tracks_true: Ints = (), nodes_modes: Any,
    nodes_splits: Any, nodes_trueleafs: Ints, nodes_truenodeids: Ints, post_transform: int = 0, tree_roots: Ints,
) -> Var:  # fmt: skip
    """Branches and leaves are listed apart; a branch may ask whether a value is one of a set."""
    if not 0 <= aggregate_function < len(AGGREGATE_NUMBERS) or not 0 <= post_transform < len(POST):
        raise b.refuse(f"aggregate_function {aggregate_function}, post_transform {post_transform}")
    branches = len(nodes_featureids)
    ways = [
        np.asarray(ids, np.int64) + np.where(np.asarray(leafs, bool), 1 << 40, 0)  # leaves are numbered below
        for ids, leafs in ((nodes_falsenodeids, nodes_falseleafs), (nodes_truenodeids, nodes_trueleafs))
    ]
    missing = np.asarray(nodes_missing_value_tracks_true or (0,) * branches, bool)
    forest = Forest(
        roots=np.asarray(tree_roots, np.int64), features=np.asarray(nodes_featureids, np.int64),
        thresholds=np.asarray(nodes_splits), modes=np.asarray(nodes_modes, np.uint8), missing=missing,
        children=np.stack(ways, 1).reshape(-1, 2), leaves=len(leaf_targetids),
    )  # fmt: skip
    if (forest.modes == MEMBER).any():
        _spell_out_sets(forest, _sets(membership_values))
    forest.children = np.where(
        forest.children >= 1 << 40, forest.children - (1 << 40) + len(forest.features), forest.children
    )
    aggregate = AGGREGATE_NUMBERS[aggregate_function]
    leaf = np.arange(len(leaf_targetids))
    weights = forest.weights(leaf, np.asarray(leaf_targetids), np.asarray(leaf_weights), n_targets, aggregate)
    y = forest.apply(b, X, weights, aggregate)
    transform = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")[post_transform]
    return transformed(b, b.cast(y, to=X.tensor.dtype) if y.tensor.dtype is not X.tensor.dtype else y, transform)


def _sets(values: Any) -> list[Array]:
    """The sets of BRANCH_MEMBER nodes, in their order: lists that end with NaN."""
    if values is None:
        raise GraphError("BRANCH_MEMBER needs membership_values")
    ends = np.flatnonzero(np.isnan(values))
    return [part[~np.isnan(part)] for part in np.split(np.asarray(values), ends)]


def _spell_out_sets(forest: Forest, sets: list[Array]) -> None:
    """A branch on membership becomes a chain of branches on equality, one for each member."""
    members = np.flatnonzero(forest.modes == MEMBER)
    if len(sets) < len(members):
        raise GraphError(f"{len(members)} branches on membership, {len(sets)} sets")
    for node, values in zip(members, sets):
        values = values if len(values) else np.array([np.nan])  # an empty set: equal to nothing
        extra = np.arange(len(forest.features), len(forest.features) + len(values) - 1)
        away, home = forest.children[node]
        chain = [*zip([*extra, away], [home] * len(values))]
        forest.modes[node], forest.thresholds = EQUAL, forest.thresholds.copy()
        forest.thresholds[node], forest.children[node] = values[0], chain[0]
        more = len(extra)
        forest.features = np.append(forest.features, np.full(more, forest.features[node]))
        forest.thresholds = np.append(forest.thresholds, values[1:].astype(forest.thresholds.dtype))
        forest.modes = np.append(forest.modes, np.full(more, EQUAL, np.uint8))
        forest.missing = np.append(forest.missing, np.full(more, forest.missing[node]))
        forest.children = np.append(forest.children, np.array(chain[1:], np.int64).reshape(-1, 2), axis=0)
