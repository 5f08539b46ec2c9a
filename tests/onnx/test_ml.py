"""ai.onnx.ml against ONNX Runtime (scikit-learn's models: test_sklearn_models.py), and what ORT does not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

import tenun
from tenun.errors import GraphError, RunError, UnsupportedError

DOMAIN = "ai.onnx.ml"
F, D, L, S = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING
rng = np.random.default_rng(0)
X = rng.standard_normal((7, 4)).astype(np.float32)
I = rng.integers(0, 4, (7, 4))
NAN = np.where(rng.random((7, 4)) < 0.3, np.float32(np.nan), X)
TEXT = np.array([["a", "b"], ["z", "a"]], object)
POST = ("NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO")


def one_node(op: str, x: Any, kind: int, outputs: dict[str, int], version: int, **attrs: Any) -> ModelProto:
    node = helper.make_node(op, ["X"], list(outputs), domain=DOMAIN, **attrs)
    given = [helper.make_tensor_value_info("X", kind, ["N", *x.shape[1:]])]
    graph = helper.make_graph(
        [node], "g", given, [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()]
    )
    opsets = [helper.make_opsetid(DOMAIN, version), helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def compare(op: str, x: Any, kind: int, outputs: dict[str, int], version: int = 1, **attrs: Any) -> None:
    proto = one_node(op, x, kind, outputs, version, **attrs)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    expected, got = session.run(None, {"X": x}), tenun.compile(proto).run({"X": x}).values()
    for e, g in zip(expected, got, strict=True):
        assert e.shape == g.shape and e.dtype == g.dtype
        if e.dtype == object:
            np.testing.assert_array_equal(g, e)
        else:
            np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5)


ONE, Y = {"Y": F}, {"L": L, "Y": F}
FEATURES: list[tuple[Any, ...]] = [
    ("Scaler", X, F, ONE, {"offset": [0.5], "scale": [2.0]}),
    ("Scaler", X, F, ONE, {"offset": [0.5, 1.0, 2.0, 3.0], "scale": [2.0, 1.0, 3.0, 4.0]}),
    ("Scaler", I, L, ONE, {"offset": [0.5], "scale": [2.0]}),
    ("Binarizer", X, F, ONE, {"threshold": 0.2}),
    ("Imputer", NAN, F, ONE, {"imputed_value_floats": [1.0, 2.0, 3.0, 4.0], "replaced_value_float": float("nan")}),
    ("Imputer", I, L, {"Y": L}, {"imputed_value_int64s": [9], "replaced_value_int64": 1}),
    ("OneHotEncoder", I, L, ONE, {"cats_int64s": [1, 2, 5]}),
    ("OneHotEncoder", TEXT, S, ONE, {"cats_strings": ["b", "a"]}),
    ("OneHotEncoder", I.astype(np.float32), F, ONE, {"cats_int64s": [1, 0]}),
    ("LabelEncoder", TEXT, S, {"Y": L}, {"classes_strings": ["b", "a"]}),
    ("LabelEncoder", I, L, {"Y": S}, {"classes_strings": ["b", "a"], "default_string": "?"}),
    ("CategoryMapper", TEXT, S, {"Y": L}, {"cats_strings": ["a", "b"], "cats_int64s": [4, 5]}),
    ("CategoryMapper", I, L, {"Y": S}, {"cats_strings": ["a", "b"], "cats_int64s": [1, 2]}),
    *(("Normalizer", x, kind, ONE, {"norm": norm})
      for norm in ("MAX", "L1", "L2") for x, kind in ((X, F), (I, L), (np.zeros((2, 3), np.float32), F))),
]  # fmt: skip


@pytest.mark.parametrize("case", FEATURES, ids=lambda c: f"{c[0]}-{c[1].dtype}-{'-'.join(c[4])}")
def test_features(case: Any) -> None:
    op, x, kind, outputs, attrs = case
    compare(op, x, kind, outputs, **attrs)


@pytest.mark.parametrize("attrs", [
    {"keys_int64s": [1, 2], "values_floats": [0.5, 0.6], "default_float": 7.0},
    {"keys_int64s": [1, 2], "values_strings": ["x", "y"]},
    {"keys_int64s": [3, 1], "values_int64s": [30, 10]},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("version", [2, 4])
def test_label_encoder(attrs: dict[str, Any], version: int) -> None:
    (values,) = [v for k, v in attrs.items() if k.startswith("values")]
    kind = S if isinstance(values[0], str) else L if isinstance(values[0], int) else F
    compare("LabelEncoder", I, L, {"Y": kind}, version, **attrs)


@pytest.mark.parametrize("post", POST)
@pytest.mark.parametrize("targets", [1, 2, 3])
def test_linear(post: str, targets: int) -> None:
    rows = {"coefficients": (rng.standard_normal(4 * targets) / 5).tolist(), "intercepts": [0.3, 0.1, 0.2][:targets]}
    for x, kind in ((X, F), (X.astype(np.float64), D), (I, L)):
        if kind == F:
            compare("LinearRegressor", x, kind, ONE, targets=targets, post_transform=post, **rows)
        labels = ["a", "b", "c"][: max(targets, 2)]
        compare("LinearClassifier", x, kind, {"L": S, "Y": F}, classlabels_strings=labels, post_transform=post, **rows)
        numbers = [7, 8, 9][: max(targets, 2)]
        compare("LinearClassifier", x, kind, Y, classlabels_ints=numbers, post_transform=post, **rows)


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("post", POST)
def test_support_vectors(kernel: str, post: str) -> None:
    vectors = {"support_vectors": rng.standard_normal(24).tolist(), "kernel_params": [0.3, 0.1, 2.0],
               "kernel_type": kernel, "post_transform": post}  # fmt: skip
    weights = (rng.standard_normal(6) / 10).tolist()
    compare("SVMRegressor", X, F, ONE, coefficients=weights, n_supports=6, rho=[0.5], **vectors)
    compare("SVMRegressor", X, F, ONE, coefficients=weights, n_supports=6, rho=[0.0], one_class=1, **vectors)
    for sizes in ([3, 3], [1, 3, 2]):
        count = len(sizes)
        pairs = count * (count - 1) // 2
        attrs = {
            "coefficients": rng.standard_normal(6 * (count - 1)).tolist(), "vectors_per_class": sizes,
            "classlabels_ints": list(range(count)), "rho": (rng.standard_normal(pairs) / 3).tolist(), **vectors,
        }  # fmt: skip
        compare("SVMClassifier", X, F, Y, **attrs)
        slopes = {"prob_a": [-1.0, -0.5, -2.0][:pairs], "prob_b": [0.1, 0.0, -0.1][:pairs]}
        compare("SVMClassifier", X, F, Y, **attrs, **slopes)


# ---- trees ---------------------------------------------------------------------------------------------------

MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


def forest(trees: int, depth: int, modes: list[str], targets: list[int], seed: int, positive: bool = False) -> Any:
    """Full trees as attributes of the older operators, and (tree, node, target, weight) of each leaf."""
    chance = np.random.default_rng(seed)
    inner, count = 2**depth - 1, 2 ** (depth + 1) - 1
    rows = [(t, n) for t in range(trees) for n in range(count)]
    nodes = {
        "nodes_treeids": [t for t, _ in rows], "nodes_nodeids": [n for _, n in rows],
        "nodes_featureids": chance.integers(0, 4, len(rows)).tolist(),
        "nodes_values": np.round(chance.standard_normal(len(rows)), 1).tolist(),
        "nodes_modes": [str(chance.choice(modes)) if n < inner else "LEAF" for _, n in rows],
        "nodes_truenodeids": [2 * n + 1 if n < inner else 0 for _, n in rows],
        "nodes_falsenodeids": [2 * n + 2 if n < inner else 0 for _, n in rows],
        "nodes_missing_value_tracks_true": chance.integers(0, 2, len(rows)).tolist(),
    }  # fmt: skip
    leaves = [(t, n, k, float(chance.standard_normal() / 5)) for t, n in rows if n >= inner for k in targets]
    return nodes, [(t, n, k, abs(w) if positive else w) for t, n, k, w in leaves]


def columns(prefix: str, leaves: Any) -> dict[str, Any]:
    names = ("treeids", "nodeids", "ids", "weights")
    return {f"{prefix}_{name}": list(column) for name, column in zip(names, zip(*leaves))}


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("modes", [MODES[:1], MODES], ids=["leq", "mixed"])
def test_tree_regressors(aggregate: str, modes: list[str]) -> None:
    for i, (targets, said, post, base) in enumerate([
        (1, [0], "NONE", []), (1, [0], "NONE", [0.5]), (3, [0, 1, 2], "NONE", [0.1, 0.2, 0.3]), (3, [0, 2], "NONE", []),
        (3, [0, 1, 2], "SOFTMAX", []), (3, [0, 1, 2], "LOGISTIC", []), (3, [0, 2], "SOFTMAX_ZERO", []),
    ]):  # fmt: skip
        nodes, leaves = forest(5, 3, modes, said, i)
        attrs = nodes | columns("target", leaves) | ({"base_values": base} if base else {})
        for x, kind in ((NAN, F), (NAN.astype(np.float64), D)):
            compare("TreeEnsembleRegressor", x, kind, ONE, n_targets=targets, aggregate_function=aggregate,
                    post_transform=post, **attrs)  # fmt: skip


@pytest.mark.parametrize("post", POST)
@pytest.mark.parametrize("positive", [False, True])
def test_tree_classifiers(post: str, positive: bool) -> None:
    for i, (classes, said, base) in enumerate([
        (2, [0], []), (2, [0], [0.1]), (2, [1], []), (3, [0, 1, 2], []), (3, [0, 1, 2], [0.1, 0.2, 0.3]),
        (3, [0, 2], []),
    ]):  # fmt: skip
        nodes, leaves = forest(4, 3, MODES, said, i, positive)
        attrs = nodes | columns("class", leaves) | ({"base_values": base} if base else {})
        for x, kind in ((NAN, F), (NAN.astype(np.float64), D), (I, L)):
            compare("TreeEnsembleClassifier", x, kind, Y, classlabels_int64s=[5, 6, 7][:classes], post_transform=post,
                    **attrs)  # fmt: skip


def test_two_classes_with_scores_each() -> None:
    """The label is that of the larger score (ONNX Runtime looks at the second alone)."""
    nodes, leaves = forest(3, 2, MODES[:1], [0, 1], 9)
    proto = one_node(
        "TreeEnsembleClassifier", X, F, Y, 1, classlabels_int64s=[5, 6], **nodes, **columns("class", leaves)
    )
    label, scores = tenun.compile(proto)(X)
    np.testing.assert_array_equal(label, np.array([5, 6])[scores.argmax(1)])


def test_many_samples_and_deep_trees() -> None:
    """Blocks of samples; leaves at all depths; a tree that is one leaf."""
    depth = 60
    rows = range(2 * depth + 1)
    nodes = {
        "nodes_treeids": [0] * len(rows) + [1], "nodes_nodeids": [*rows, 0], "nodes_featureids": [0] * (len(rows) + 1),
        "nodes_values": [float(n // 2) for n in rows] + [0.0],
        "nodes_modes": ["BRANCH_LEQ" if n % 2 == 0 and n < 2 * depth else "LEAF" for n in rows] + ["LEAF"],
        "nodes_truenodeids": [n + 1 if n % 2 == 0 and n < 2 * depth else 0 for n in rows] + [0],
        "nodes_falsenodeids": [n + 2 if n % 2 == 0 and n < 2 * depth else 0 for n in rows] + [0],
    }  # fmt: skip
    leaves = [(0, n, 0, float(n)) for n in rows if n % 2 or n == 2 * depth] + [(1, 0, 0, 0.25)]
    x = np.random.default_rng(1).uniform(-1, depth + 1, (70_000, 1)).astype(np.float32)
    got = tenun.compile(one_node("TreeEnsembleRegressor", x, F, ONE, 1, **nodes, **columns("target", leaves)))(x)
    place = np.maximum(np.ceil(x[:, 0]), 0)
    expected = np.where(place >= depth, 2 * depth, 2 * place + 1) + 0.25
    np.testing.assert_array_equal(got[:, 0], expected.astype(np.float32))


def test_broken_trees() -> None:
    nodes, leaves = forest(1, 2, MODES[:1], [0], 0)
    bad = [
        ({"nodes_truenodeids": [99, *nodes["nodes_truenodeids"][1:]]}, "does not have"),
        ({"nodes_truenodeids": [2, *nodes["nodes_truenodeids"][1:]]}, "not one root"),
        ({"nodes_nodeids": [1, *nodes["nodes_nodeids"][1:]]}, "same number"),
        ({"nodes_modes": ["BRANCH_NEAR", *nodes["nodes_modes"][1:]]}, "BRANCH_NEAR"),
    ]
    for change, message in bad:
        attrs = {**nodes, **columns("target", leaves), **change}
        with pytest.raises(GraphError, match=message):
            tenun.load(one_node("TreeEnsembleRegressor", X, F, ONE, 1, **attrs))
    attrs = {**nodes, **columns("target", leaves), "nodes_featureids": [9] * len(nodes["nodes_modes"])}
    with pytest.raises(RunError, match="features"):
        tenun.compile(one_node("TreeEnsembleRegressor", X, F, ONE, 1, **attrs))(X)


# ---- maps ----------------------------------------------------------------------------------------------------


def of_map(op: str, key: int, element: int, **attrs: Any) -> Any:
    kind = helper.make_map_type_proto(key, helper.make_tensor_type_proto(element, []))
    node = helper.make_node(op, ["X"], ["Y"], domain=DOMAIN, **attrs)
    given = [helper.make_value_info("X", kind)]
    graph = helper.make_graph([node], "g", given, [helper.make_empty_tensor_value_info("Y")])
    opsets = [helper.make_opsetid(DOMAIN, 1), helper.make_opsetid("", 17)]
    return tenun.compile(helper.make_model(graph, opset_imports=opsets, ir_version=9))


def test_maps() -> None:
    words = {"b": 2.0, "a": 1.0, "z": 9.0}
    y = of_map("DictVectorizer", S, F, string_vocabulary=["a", "q", "b"]).run({"X": words})["Y"]
    assert y.tolist() == [[1.0, 0.0, 2.0]] and y.dtype == np.float32
    numbers = {3: 1.5, 1: 2.5}
    assert of_map("DictVectorizer", L, F, int64_vocabulary=[1, 3]).run({"X": numbers})["Y"].tolist() == [[2.5, 1.5]]
    assert of_map("CastMap", L, F).run({"X": numbers})["Y"].tolist() == [[2.5, 1.5]]
    sparse = {"map_form": "SPARSE", "max_map": 5}
    assert of_map("CastMap", L, F, **sparse).run({"X": numbers})["Y"].tolist() == [[0, 2.5, 0, 1.5, 0]]
    assert of_map("CastMap", L, S, cast_to="TO_INT64").run({"X": {1: "4", 0: "3"}})["Y"].tolist() == [[3, 4]]
    with pytest.raises(RunError, match="expected a dict"):
        of_map("CastMap", L, F).run({"X": X})


def test_zip_map() -> None:
    proto = one_node("ZipMap", X, F, {}, 1, classlabels_strings=list("abcd"))
    proto.graph.node[0].output.append("Y")
    proto.graph.output.append(helper.make_empty_tensor_value_info("Y"))
    graph = tenun.load(proto)
    assert "seq<map<str, f32[]>>" in str(graph)
    rows = tenun.compile(graph)(X)
    assert [list(r) for r in rows] == [list("abcd")] * len(X)
    np.testing.assert_array_equal([[*r.values()] for r in rows], X)


# ---- errors --------------------------------------------------------------------------------------------------


def test_errors() -> None:
    with pytest.raises(RunError, match="none of the 2 keys"):
        tenun.compile(one_node("OneHotEncoder", I, L, ONE, 1, cats_int64s=[1, 2], zeros=0))(I)
    for op, attrs in {
        "Normalizer": {"norm": "L3"}, "LinearRegressor": {"coefficients": [1.0] * 4, "post_transform": "TANH"},
        "Imputer": {}, "SVMRegressor": {"kernel_type": "COSINE", "n_supports": 1, "coefficients": [1.0],
                                        "support_vectors": [1.0] * 4},
    }.items():  # fmt: skip
        with pytest.raises(UnsupportedError):
            tenun.load(one_node(op, X, F, ONE, 1, **attrs))
