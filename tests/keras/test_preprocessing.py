"""Preprocessing layers for categories and text against Keras: from files, alive, written back, and adapted here.

Layers with the same input are outputs of one model, which is much faster than a model for each.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import LoadError, TenunError, UnsupportedError
from tenun.frontends.keras import writer
from tenun.ir.verify import verify
from tenun.layers.base import config_fields

from .oracle import saved

Config = dict[str, Any]


def texts(*rows: Any) -> np.ndarray[Any, Any]:
    return np.array(rows, object)


WORDS = ["a", "bc", "é", "日本", "[x]", "A"]
IDF = [0.5, 2.0, 1.25, 3.0, 0.25, 1.0]
TOKENS = texts(["a", "zz", "", "é"], ["日本", "a", "a", "A"], ["[x]", "q", "bc", "ü" * 20])
NUMBERS = np.array([[3, 7, 0, -5], [10, 3, 3, 10**12], [1, 2, 99, -(2**63)]], np.int64)
PLACES = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [-1, 2, 100, 1]], np.int64)
FEW = np.array([[0, 1, 1], [3, 4, 9], [2, 2, 2]], np.int32)
PROSE = texts(["A, bc!  é\t日本"], [""], ["  bc[x] a-A\na\x0ba\xa0a "], ["!!! ..."], ["a"])
LONG = texts(*[["x" * n + "é"] for n in (3, 4, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000)])

V: Config = {"vocabulary": WORDS}
TF: Config = {"output_mode": "tf_idf", "vocabulary": WORDS, "idf_weights": IDF}
I: Config = {"vocabulary": [3, 10, 99, 0]}
ENCODED = ("one_hot", "multi_hot", "count")


def modes(config: Config, *names: str) -> list[Config]:
    return [{**config, "output_mode": name} for name in names or ENCODED]


# name: (inputs, class, [configs]); the first axis is the batch
GROUPS: dict[str, tuple[np.ndarray[Any, Any], str, list[Config]]] = {
    "texts": (TOKENS, "StringLookup", [
        V, {**V, "mask_token": ""}, {**V, "mask_token": "a2", "num_oov_indices": 3}, {**V, "num_oov_indices": 5},
        {**V, "num_oov_indices": 4, "salt": 17}, {**V, "num_oov_indices": 4, "salt": [3, -9], "mask_token": "q"},
        *modes(V), *modes({**V, "mask_token": "a0", "num_oov_indices": 2}), *modes(V, "binary"),
        *modes({**V, "mask_token": ""}), *modes({**V, "max_tokens": 12, "pad_to_max_tokens": True}, *ENCODED[1:]),
        TF, {**TF, "mask_token": "", "num_oov_indices": 2}, {**TF, "max_tokens": 11, "pad_to_max_tokens": True},
        {**V, "oov_token": "?", "encoding": "utf-16"},
        {"vocabulary": ["", "[UNK]", *WORDS], "mask_token": ""}, {"vocabulary": ["[UNK]", "[UNK]", *WORDS]},
    ]),
    "all known": (TOKENS[1:2, :3], "StringLookup", [
        {**V, "num_oov_indices": 0}, {**V, "num_oov_indices": 0, "mask_token": "q"},
        *modes({**V, "num_oov_indices": 0}), {**TF, "num_oov_indices": 0},
    ]),
    "a text": (TOKENS[:, 0], "StringLookup", [V, *modes(V), TF]),
    "a column": (TOKENS[:, :1], "StringLookup", [V, *modes(V), TF]),
    "a cube": (TOKENS.reshape(3, 2, 2), "StringLookup", [V, *modes(V), TF]),
    "places": (PLACES, "StringLookup", [
        {**V, "invert": True}, {**V, "invert": True, "mask_token": "", "oov_token": "?"},
        {**V, "invert": True, "num_oov_indices": 0}, {**V, "invert": True, "num_oov_indices": 3, "mask_token": "m"},
    ]),
    "small places": (PLACES.astype(np.int32), "IntegerLookup", [{**I, "invert": True}, {**I, "mask_token": 4}]),
    "numbers": (NUMBERS, "IntegerLookup", [
        I, {"vocabulary": [3, 10], "mask_token": 0}, {**I, "num_oov_indices": 3}, {**I, "num_oov_indices": 4,
        "oov_method": "farmhash"}, {**I, "num_oov_indices": 4, "oov_method": "farmhash", "salt": [1, 2]},
        {**I, "num_oov_indices": 3, "mask_token": 7, "vocabulary_dtype": "int64"}, *modes(I),
        *modes({"vocabulary": [3, 10], "mask_token": 0, "num_oov_indices": 2}),
        {**I, "output_mode": "tf_idf", "idf_weights": IDF[:4]}, {"vocabulary": [-1, 3, 10]},
        *modes({**I, "max_tokens": 9, "pad_to_max_tokens": True}, "count"),
    ]),
    "floats": (NUMBERS[:, :3] + 0.75, "IntegerLookup", [I]),
    "prose": (PROSE, "TextVectorization", [
        V, {**V, "output_sequence_length": 2}, {**V, "output_sequence_length": 9}, *modes(V, "multi_hot", "count"), TF,
        *({**V, "standardize": s} for s in (None, "lower", "strip_punctuation")), {**V, "split": "character"},
        {**V, "split": None}, {**V, "split": None, "output_sequence_length": 3}, *modes({**V, "split": None}),
        {**TF, "split": None, "standardize": None}, {**V, "max_tokens": 20},
        {"vocabulary": [*WORDS, "a bc", "a a", "a a a"], "ngrams": 3},
        {"vocabulary": [*WORDS, "a a", "a a a"], "ngrams": (3, 1)},
        {"vocabulary": [*WORDS, "a b"], "ngrams": 2, "split": "character", "output_mode": "count"},
        *modes({**V, "max_tokens": 15, "pad_to_max_tokens": True}, "multi_hot", "tf-idf")[:1],
        {**TF, "max_tokens": 15, "pad_to_max_tokens": True}, {**V, "encoding": "latin-1"},
    ]),
    "flat prose": (PROSE[:, 0], "TextVectorization", [
        V, TF, {**V, "output_sequence_length": 3}, {**V, "split": "character"}, {**V, "split": None},
    ]),
    "lines": (TOKENS, "TextVectorization", [
        {**V, "split": None, "standardize": "lower"}, {**V, "split": None, "output_sequence_length": 3},
        {"vocabulary": ["a", "a a"], "split": None, "ngrams": 2}, *modes({**V, "split": None}),
    ]),
    "few": (FEW, "CategoryEncoding", [
        *modes({"num_tokens": 5}), *modes({"num_tokens": 5, "dtype": "int32"}), *modes({"num_tokens": 5,
        "dtype": "float64"}), {"num_tokens": 1}, {"num_tokens": 12, "output_mode": "binary"},
    ]),
    "few flat": (FEW[0], "CategoryEncoding", modes({"num_tokens": 4})),
    "few in a column": (FEW[:, :1], "CategoryEncoding", modes({"num_tokens": 4})),
    "few in a cube": (FEW.reshape(3, 3, 1) - 1, "CategoryEncoding", modes({"num_tokens": 4})),
    "few floats": (FEW + np.float32(0.5), "CategoryEncoding", modes({"num_tokens": 4})),
    "values": (np.float32([[-9, 0, 0.1], [0.5, 1.5, 2], [3, np.nan, np.inf]]), "Discretization", [
        {"bin_boundaries": [0.0, 0.1, 1.5, 3.0]}, *modes({"bin_boundaries": [0.0, 0.1, 1.5]}),
        {"bin_boundaries": [1.0], "epsilon": 0.1, "dtype": "float64"}, *modes({"bin_boundaries": [1], "dtype":
        "float64"}),
    ]),
    "whole values": (FEW, "Discretization", [{"bin_boundaries": [0.5, 2.0]}, *modes({"bin_boundaries": [0.5, 2.0]})]),
    "a value": (np.float32([0, 2, 5]), "Discretization", modes({"bin_boundaries": [0.5, 2.0]}, "int", *ENCODED)),
    "hashed texts": (TOKENS, "Hashing", [
        {"num_bins": 7}, {"num_bins": 7, "salt": 5}, {"num_bins": 1000, "salt": [9, 2**40]}, {"num_bins": 1},
        {"num_bins": 7, "mask_value": "a"}, {"num_bins": 1, "mask_value": "a"}, {"num_bins": 9, "dtype": "int32"},
        *modes({"num_bins": 6}), *modes({"num_bins": 6, "mask_value": "", "salt": 3}),
        *modes({"num_bins": 6, "dtype": "int32"}),
    ]),
    "long texts": (LONG, "Hashing", [{"num_bins": 10**9 + 7}, {"num_bins": 10**9 + 7, "salt": [-1, 2]},
                                     {"num_bins": 4, "output_mode": "one_hot"}]),
    "hashed text": (TOKENS[:, 0], "Hashing", [{"num_bins": 7}, *modes({"num_bins": 6})]),
    "hashed numbers": (NUMBERS, "Hashing", [
        {"num_bins": 10**9}, {"num_bins": 11, "mask_value": 3}, {"num_bins": 11, "salt": 1}, *modes({"num_bins": 5}),
    ]),
    "hashed floats": (np.float32([[1.75, -3.5, 0]]), "Hashing", [{"num_bins": 1000}, {"num_bins": 9, "mask_value": 0}]),
    "hashed truths": (np.array([[True, False]]), "Hashing", [{"num_bins": 1000}]),
}  # fmt: skip


def model_of(keras: Any, x: Any, name: str, configs: list[Config]) -> Any:
    """A model of one input and a layer for each config."""
    dtype = "string" if x.dtype == object else str(x.dtype)
    source = keras.Input(batch_shape=(None, *x.shape[1:]), dtype=dtype)
    layers = [getattr(keras.layers, name)(**config) for config in configs]
    return keras.Model(source, [layer(source) for layer in layers])


def same(got: Any, want: Any) -> None:
    """Equal dtypes, shapes and values, output by output; floats to the last digit but one."""
    got, want = ([v] if not isinstance(v, list) else v for v in (got, want))
    assert len(got) == len(want)
    for i, (g, w) in enumerate(zip(got, want)):
        g, w = np.asarray(g), np.asarray(w)
        assert g.dtype == w.dtype, (i, g.dtype, w.dtype)
        assert g.shape == w.shape, (i, g.shape, w.shape)
        if w.dtype == object:
            assert decoded(g).tolist() == decoded(w).tolist(), i
        else:
            np.testing.assert_allclose(g, w, rtol=1e-6, err_msg=f"output {i}")


def decoded(x: Any) -> Any:
    """Texts, which TensorFlow gives as bytes."""
    return np.vectorize(lambda v: v.decode() if isinstance(v, bytes) else v, otypes=[object])(x)


def fed(keras: Any, x: Any) -> Any:
    """x as Keras takes it: texts as tensors."""
    return keras.ops.convert_to_tensor(x, dtype="string" if x.dtype == object else None)


def rewrite(model: Any, path: Path) -> None:
    """A tenun.Model as a file of Keras'."""
    write = writer.write if path.suffix == ".keras" else writer.write_h5
    write(model.definition, lambda layer: list(layer.values.values()), path)


@pytest.mark.parametrize("name", GROUPS)
def test_against_keras(keras: Any, tmp_path: Path, name: str) -> None:
    """From its file; the first configurations of each."""
    x, cls, configs = GROUPS[name]
    model = model_of(keras, x, cls, configs[:6])
    graph = tenun.load(saved(model, tmp_path))
    verify(graph)
    same(tenun.compile(graph)(x), model(fed(keras, x)))


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPS)
def test_all_files_and_configurations(keras: Any, tmp_path: Path, name: str) -> None:
    x, cls, configs = GROUPS[name]
    model = model_of(keras, x, cls, configs)
    want = model(fed(keras, x))
    path = saved(model, tmp_path)
    graph = tenun.load(path)
    verify(graph)
    same(tenun.compile(graph)(x), want)
    same(tenun.compile(model)(x), want)
    same(tenun.compile(saved(model, tmp_path, ".h5"))(x), want)
    for suffix in (".keras", ".h5"):
        written = tmp_path / f"written{suffix}"
        rewrite(tenun.load_model(path), written)
        same(keras.models.load_model(written)(fed(keras, x)), want)


# of n-grams of no rows TensorFlow makes one column
NOT_EMPTY = ("lines", "a text", "flat prose", "few flat", "a value")


@pytest.mark.parametrize("name", [n for n in GROUPS if n not in NOT_EMPTY])
def test_empty_batch(keras: Any, name: str) -> None:
    x, cls, configs = GROUPS[name]
    model = model_of(keras, x, cls, configs[:6])
    same(tenun.compile(model)(x[:0]), model(fed(keras, x[:0])))


# ---- vocabularies that are learnt, set, and kept beside the config ---------------------------------------------

# an empty token that is not the last one: that Keras' file would lose
COLUMN = texts("b", "a", "b", "é", "a", "b", "c", "", "", "[UNK]")
TABLE = texts(["b", "a", "a"], ["b", "é", ""], ["b", "c", "[UNK]"], ["", "b", "b"])
COUNTS = np.array([[5, 3, 3], [5, 0, -1], [5, 7, 2]])
LINES = ["The cat. The hat!", "a cat", "", "The\tDOG's a-cat"]

ADAPTED: list[tuple[str, Config, Any]] = [
    ("StringLookup", {}, COLUMN), ("StringLookup", {}, TABLE), ("StringLookup", {}, COLUMN.tolist()),
    ("StringLookup", {"max_tokens": 4, "mask_token": "", "num_oov_indices": 2}, TABLE),
    ("StringLookup", {"output_mode": "tf_idf"}, TABLE), ("StringLookup", {"output_mode": "tf_idf"}, COLUMN),
    ("StringLookup", {"output_mode": "tf_idf", "mask_token": "", "num_oov_indices": 2, "max_tokens": 5}, TABLE),
    ("StringLookup", {"invert": True}, COLUMN), ("StringLookup", {"output_mode": "count", "mask_token": "a"}, TABLE),
    ("IntegerLookup", {}, COUNTS), ("IntegerLookup", {"mask_token": 0, "max_tokens": 4}, COUNTS.reshape(-1)),
    ("IntegerLookup", {"output_mode": "tf_idf", "mask_token": 0}, COUNTS),
    ("IntegerLookup", {"output_mode": "multi_hot", "max_tokens": 20, "pad_to_max_tokens": True}, COUNTS),
    ("TextVectorization", {}, LINES), ("TextVectorization", {"output_mode": "tf_idf", "ngrams": 2}, LINES),
    ("TextVectorization", {"split": "character", "standardize": "lower", "max_tokens": 6}, np.array(LINES)),
    ("TextVectorization", {"split": None, "standardize": "strip_punctuation"}, LINES),
    ("TextVectorization", {"standardize": None, "output_mode": "count", "ngrams": (2,)}, np.array(LINES)[:, None]),
]  # fmt: skip


def probe(name: str, config: Config) -> np.ndarray[Any, Any]:
    """Inputs for a layer of this class."""
    if config.get("invert"):
        return PLACES
    return {"StringLookup": TABLE, "IntegerLookup": COUNTS}.get(name, texts(*[[line] for line in LINES]))


@pytest.mark.parametrize(
    ("name", "config", "data"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (i % 4 > 0)) for i, case in enumerate(ADAPTED)],
)
def test_adapt(keras: Any, tmp_path: Path, name: str, config: Config, data: Any) -> None:
    """The same vocabulary as Keras', from its file, alive, and learnt here; and back into files of Keras'."""
    x = probe(name, config)
    theirs = getattr(keras.layers, name)(**config)
    theirs.adapt(data)
    source = keras.Input(batch_shape=(None, *x.shape[1:]), dtype="string" if x.dtype == object else "int64")
    model = keras.Model(source, theirs(source))
    want = model(fed(keras, x))
    path = saved(model, tmp_path)
    loaded = tenun.load_model(path)
    ours = getattr(tenun.layers, name)(**config)
    ours.adapt(data)
    for layer in (ours, loaded.layers[-1]):
        for special in (True, False):
            assert layer.get_vocabulary(special) == theirs.get_vocabulary(special)
        assert layer.vocabulary_size() == theirs.vocabulary_size()
    same(tenun.compile(path)(x), want)
    same(tenun.compile(model)(x), want)
    start = tenun.Input(x.shape[1:], dtype="string" if x.dtype == object else "int64")
    built = tenun.Model(start, ours(start))
    same(tenun.compile(built)(x), want)
    for each in (loaded, built):
        for suffix in (".keras", ".h5"):
            rewrite(each, tmp_path / f"written{suffix}")
            again = keras.models.load_model(tmp_path / f"written{suffix}")
            assert again.layers[-1].get_vocabulary() == theirs.get_vocabulary()
            same(again(fed(keras, x)), want)


def test_adapt_on_batches(keras: Any) -> None:
    """A generator's batches: a row is a document, a batch of one dimension is one."""
    batches = [TABLE[:1], TABLE[1:], texts("b", "q", "q")]
    for config in ({}, {"output_mode": "tf_idf"}):
        for steps in (None, 2):
            theirs, ours = (owner.StringLookup(**config) for owner in (keras.layers, tenun.layers))
            for layer in (theirs, ours):
                layer.adapt((batch for batch in batches), steps=steps)
            assert ours.get_vocabulary() == theirs.get_vocabulary()
            if config:
                np.testing.assert_allclose(ours.factors, theirs.idf_weights_const.numpy(), rtol=1e-6)


@pytest.mark.parametrize("size", [3, 60, 1000, 4999])
@pytest.mark.parametrize("epsilon", [0.01, 0.2])
def test_adapt_discretization(keras: Any, size: int, epsilon: float) -> None:
    rng = np.random.default_rng(size)
    data = rng.normal(size=(size, 2)).astype("float32")
    for given in (lambda: data, lambda: (batch for batch in np.array_split(data, 3))):
        theirs, ours = (o.Discretization(num_bins=5, epsilon=epsilon) for o in (keras.layers, tenun.layers))
        theirs.adapt(given())
        ours.adapt(given())
        assert ours.bin_boundaries == theirs.bin_boundaries


@pytest.mark.parametrize("axis", [-1, None, (1, 2), 2])
@pytest.mark.parametrize("parts", [None, 1, 3])
def test_adapt_normalization(keras: Any, tmp_path: Path, axis: Any, parts: int | None) -> None:
    """Of an array and of batches; into a file, which Keras reads."""
    x = np.random.default_rng(0).normal(3, 2, size=(10, 4, 3)).astype("float32")
    theirs, ours = (o.Normalization(axis=axis) for o in (keras.layers, tenun.layers))
    for layer in (theirs, ours):
        layer.adapt(x if parts is None else iter(np.array_split(x, parts)))
    want = np.asarray(theirs(x))
    start = tenun.Input((4, 3))
    built = tenun.Model(start, ours(start))
    np.testing.assert_allclose(built.predict(x), want, 1e-5, 1e-5)
    built.save(tmp_path / "written.keras")
    again = keras.models.load_model(tmp_path / "written.keras")
    np.testing.assert_allclose(np.asarray(again(x)), want, 1e-5, 1e-5)


def test_set_vocabulary(keras: Any, tmp_path: Path) -> None:
    """With and without special tokens, from a file, and anew."""
    (tmp_path / "words.txt").write_text("x\nyé\nz\n", encoding="utf-8")
    theirs, ours = (o.StringLookup(mask_token="", num_oov_indices=2) for o in (keras.layers, tenun.layers))
    for given in (["p", "q"], ["", "[UNK]", "[UNK]", "q"], np.array(["u", "v"]), str(tmp_path / "words.txt")):
        for layer in (theirs, ours):
            layer.set_vocabulary(given)
        assert ours.get_vocabulary() == theirs.get_vocabulary()
    assert tenun.layers.StringLookup(vocabulary=tmp_path / "words.txt").get_vocabulary() == ["[UNK]", "x", "yé", "z"]
    for given, factors in ((["p", "q"], [1.0, 2.0]), (["[UNK]", "q"], [3.0, 4.0])):
        theirs, ours = (o.StringLookup(output_mode="tf_idf") for o in (keras.layers, tenun.layers))
        for layer in (theirs, ours):
            layer.set_vocabulary(given, idf_weights=factors)
        np.testing.assert_array_equal(ours.factors, theirs.idf_weights_const.numpy())


# ---- layers of several inputs, and of layers -------------------------------------------------------------------


def check_model(keras: Any, tmp_path: Path, model: Any, feed: Any, tolerance: float = 1e-6) -> Any:
    """From a file, alive, and written back: what Keras gives, whatever the structure."""

    def alike(got: Any, want: Any) -> None:
        keras.tree.assert_same_structure(got, want)
        for g, w in zip(keras.tree.flatten(got), keras.tree.flatten(want)):
            w = np.asarray(w)
            assert (g.shape, g.dtype) == (w.shape, w.dtype)
            np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance)

    as_tensors = keras.tree.map_structure(lambda v: fed(keras, np.asarray(v)), feed)
    want = model(as_tensors, training=False)
    path = saved(model, tmp_path)
    executable = tenun.compile(path)
    alike(executable(feed), want)
    alike(tenun.compile(model)(feed), want)
    rewrite(tenun.load_model(path), tmp_path / "written.keras")
    alike(
        keras.tree.map_structure(
            np.asarray, keras.models.load_model(tmp_path / "written.keras")(as_tensors, training=False)
        ),
        want,
    )
    return executable


@pytest.mark.parametrize("config", [{}, *modes({}, "one_hot"), {"dtype": "int32"}, *modes({"dtype": "int32"},
                                    "one_hot")])  # fmt: skip
def test_hashed_crossing(keras: Any, tmp_path: Path, config: Config) -> None:
    feed = [TOKENS[:, :1], NUMBERS[:, :1], NUMBERS[:, 1:2].astype(np.int32), TOKENS[:, 1:2]]
    sources = [keras.Input((1,), dtype="string" if v.dtype == object else str(v.dtype)) for v in feed]
    model = keras.Model(sources, [keras.layers.HashedCrossing(n, **config)(sources[:2]) for n in (1, 9, 10**6)[:2]])
    check_model(keras, tmp_path, model, feed)
    layer = keras.layers.HashedCrossing(10**9, **{**config, "output_mode": "int", "dtype": "int64"})
    ours = tenun.layers.HashedCrossing(10**9)
    starts = [tenun.Input((1,), dtype="string" if v.dtype == object else str(v.dtype)) for v in feed]
    same(tenun.compile(tenun.Model(starts, ours(starts)))(*feed), np.asarray(layer([fed(keras, v) for v in feed])))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_count_weights(keras: Any, tmp_path: Path, dtype: str) -> None:
    feed = [FEW, np.arange(9, dtype=np.float32).reshape(3, 3) + 0.5]
    sources = [keras.Input((3,), dtype=str(v.dtype)) for v in feed]
    layer = keras.layers.CategoryEncoding(5, output_mode="count", dtype=dtype)
    check_model(keras, tmp_path, keras.Model(sources, layer(sources[0], count_weights=sources[1])), feed)


@pytest.mark.parametrize("number", [0, 2, 3, 5])
def test_max_num_bounding_boxes(keras: Any, tmp_path: Path, number: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    boxes = {"boxes": rng.normal(size=(2, 3, 4)).astype("float32"), "labels": rng.integers(0, 5, (2, 3))}
    feed = {"images": images, "bounding_boxes": boxes, "segmentation_masks": images[..., :1]}
    sources = keras.tree.map_structure(lambda v: keras.Input(v.shape[1:], dtype=str(v.dtype)), feed)
    layer = keras.layers.MaxNumBoundingBoxes(number, bounding_box_format="xyxy")
    check_model(keras, tmp_path, keras.Model(sources, layer(sources)), feed)
    source = keras.Input((4, 5, 3), dtype="uint8")
    check_model(keras, tmp_path, keras.Model(source, keras.layers.MaxNumBoundingBoxes(2)(source)), np.uint8(images))


def test_pipeline(keras: Any, tmp_path: Path) -> None:
    """Of layers with weights, masks and vocabularies; nested."""
    k = keras.layers
    lookup = k.StringLookup()
    lookup.adapt(TABLE)
    inner = k.Pipeline([k.Embedding(12, 4, mask_zero=True), k.LSTM(3, return_sequences=True), k.Dropout(0.5)])
    source = keras.Input((3,), dtype="string")
    model = keras.Model(source, k.Pipeline([lookup, inner, k.Dense(2)])(source))
    check_model(keras, tmp_path, model, texts(["zz", "a", "b"], ["é", "b", "zz"], ["zz", "zz", "zz"]), 1e-5)


def test_text_classifier(keras: Any, tmp_path: Path) -> None:
    """From strings to probabilities, in batches and with masks, as the documentation builds it."""
    k = keras.layers
    vectorize = k.TextVectorization(max_tokens=30, output_sequence_length=6)
    vectorize.adapt(LINES)
    model = keras.Sequential([
        keras.Input((1,), dtype="string"), vectorize, k.Embedding(30, 8, mask_zero=True), k.Bidirectional(k.LSTM(4)),
        k.Dense(3, activation="softmax"),
    ])  # fmt: skip
    feed = texts(*[[line] for line in LINES * 5])
    executable = check_model(keras, tmp_path, model, feed, 1e-5)
    np.testing.assert_allclose(executable.predict(feed, batch_size=7), executable(feed), rtol=1e-6)


def test_order_of_layers(keras: Any, tmp_path: Path) -> None:
    """Files tell layers of one class apart by their number: in the order that Keras gives them."""

    def branches(k: Any, start: Any, model: Any) -> Any:
        x, z = (start((4,), name=name) for name in "xz")
        shared = k.Dense(4, name="s")
        a, c = k.Dense(4, name="a")(k.Dense(4, name="b")(x)), k.Dense(4, name="c")(z)
        y = k.Add(name="add")([c, a, shared(x), shared(c)])
        return model([x, z], [k.Dense(4, name="d")(y), k.Dense(4, name="e")(a)])

    ours = branches(tenun.layers, tenun.Input, tenun.Model)
    theirs = branches(keras.layers, keras.Input, keras.Model)
    assert [each.name for each in ours.layers] == [each.name for each in theirs.layers]
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    want = tenun.compile(ours)(*x)
    for suffix in (".keras", ".h5"):
        rewrite(ours, tmp_path / f"model{suffix}")
        got = keras.models.load_model(tmp_path / f"model{suffix}")([*x])
        for g, w in zip(got, want):
            np.testing.assert_allclose(np.asarray(g), w, rtol=1e-5, atol=1e-5)


# ---- FeatureSpace ----------------------------------------------------------------------------------------------

DATA = {
    "age": np.float32([31, 40.5, 18, 65, 40.5, 77]), "town": np.array(["Oslo", "Bergen", "Oslo", "Bø", "Oslo", "Å"]),
    "rooms": np.int32([2, 3, 3, 9, 1, 3]), "plain": np.float32([0.5, -1, 2, 3, 4, 5]),
    "code": np.array(["x1", "x2", "x1", "x7", "y", ""]), "number": np.int32([5, -5, 0, 10**9, 7, 8]),
    "scaled": np.float32([1, 2, 3, 4, 5, 6]),
}  # fmt: skip


def feature_space(owner: Any, mode: str) -> Any:
    """One feature of every kind, in Keras or here."""
    return owner(
        features={
            "age": owner.float_discretized(num_bins=3), "town": "string_categorical",
            "rooms": owner.integer_categorical(max_tokens=4, output_mode="one_hot"), "plain": "float",
            "code": owner.string_hashed(5), "number": "integer_hashed",
            "scaled": owner.float_rescaled(scale=0.1, offset=-1.0),
        },
        crosses=[("town", "rooms"), owner.cross(("rooms", "code"), 7, output_mode="one_hot")],
        crossing_dim=11,
        hashing_dim=6,
        output_mode=mode,
    )  # fmt: skip


@pytest.mark.parametrize("mode", ["concat", "dict"])
def test_feature_space(keras: Any, tmp_path: Path, mode: str) -> None:
    """Keras' own file of one, the model that it builds, and one made here."""
    space = feature_space(keras.utils.FeatureSpace, mode)
    space.adapt(DATA)
    want = keras.tree.map_structure(np.asarray, space(DATA))
    path = tmp_path / "space.keras"
    space.save(path)
    columns = {name: column[:, None] for name, column in DATA.items()}

    def check(got: Any) -> None:
        keras.tree.map_structure(np.testing.assert_array_equal, got, want)
        assert keras.tree.flatten(got)[0].dtype == keras.tree.flatten(want)[0].dtype

    check(tenun.compile(path)(DATA))
    check(tenun.compile(path)(columns))
    rewrite(tenun.load_model(path), tmp_path / "written.keras")
    as_tensors = {k: fed(keras, np.asarray(v, object if v.dtype.kind == "U" else None)) for k, v in columns.items()}
    check(keras.tree.map_structure(np.asarray, keras.models.load_model(tmp_path / "written.keras")(as_tensors)))
    check(tenun.compile(keras.Model(space.get_inputs(), space.get_encoded_features()))(columns))

    ours = feature_space(tenun.layers.FeatureSpace, mode)
    ours.adapt(DATA)
    model = tenun.Model(ours.get_inputs(), ours.get_encoded_features())
    check(tenun.compile(model)(DATA))
    rewrite(model, tmp_path / "ours.keras")
    check(keras.tree.map_structure(np.asarray, keras.models.load_model(tmp_path / "ours.keras")(as_tensors)))


def test_feature_space_of_own_layers(keras: Any, tmp_path: Path) -> None:
    """Statistics and a vocabulary of words: weights and assets of preprocessors."""
    make = keras.utils.FeatureSpace
    words = keras.layers.TextVectorization(output_mode="tf_idf", max_tokens=9)
    features = {
        "age": "float_normalized",
        "words": make.feature(dtype="string", preprocessor=words, output_mode="float"),
        "town": make.string_categorical(output_mode="int"),
    }
    data = {"age": DATA["age"], "town": DATA["town"], "words": np.array(["a b", "b", "", "c c", "a", "b"])}
    space = make(features=features, output_mode="dict")
    space.adapt(data)
    space.save(tmp_path / "space.keras")
    got = tenun.compile(tmp_path / "space.keras")(data)
    for name, value in space(data).items():
        np.testing.assert_allclose(got[name], np.asarray(value), rtol=1e-6)


@pytest.mark.parametrize("shape", [(100,), (100, 1)])
def test_adapt_feature_space(keras: Any, shape: tuple[int, ...]) -> None:
    """Learnt here: in Keras' batches, whose statistics and quantiles are merged."""
    rng = np.random.default_rng(1)
    data = {"a": rng.normal(5, 3, shape).astype("float32"), "b": rng.normal(size=shape).astype("float32")}
    theirs, ours = (
        make({"a": "float_normalized", "b": make.float_discretized(num_bins=7)}, output_mode="concat")
        for make in (keras.utils.FeatureSpace, tenun.layers.FeatureSpace)
    )
    theirs.adapt(data)
    ours.adapt(data)
    model = tenun.Model(ours.get_inputs(), ours.get_encoded_features())
    columns = {name: column.reshape(-1, 1) for name, column in data.items()}
    want = np.asarray(theirs({k: fed(keras, v) for k, v in columns.items()}))
    np.testing.assert_allclose(tenun.compile(model)(columns), want, 1e-5, 1e-5)


# ---- inputs, refusals, arguments ---------------------------------------------------------------------------------


def test_kinds_of_text() -> None:
    """Lists, bytes, NumPy's strings of both kinds, objects."""
    start = tenun.Input((2,), dtype="string")
    run = tenun.compile(tenun.Model(start, tenun.layers.StringLookup(vocabulary=["é", "b"])(start)))
    given = [["é", "b"], ["b", "q"]]
    for x in (given, np.array(given), np.array(given, object), np.char.encode(given, "utf-8"),
              np.char.encode(given, "utf-8").astype(object)):  # fmt: skip
        assert run(x).tolist() == [[1, 2], [2, 0]]
    with pytest.raises(TenunError, match="expected text, got a int"):
        run(np.array([["a", 3]], object))


L = tenun.layers
REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: L.StringLookup(sparse=True, output_mode="count"), "StringLookup.*sparse=True"),
    (lambda: L.StringLookup(output_mode="ints"), "output_mode='ints'"),
    (lambda: L.StringLookup(max_tokens=1), "max_tokens=1"),
    (lambda: L.StringLookup(pad_to_max_tokens=True), "needs max_tokens"),
    (lambda: L.StringLookup(num_oov_indices=-1), "num_oov_indices"),
    (lambda: L.StringLookup(invert=True, output_mode="count"), "invert"),
    (lambda: L.StringLookup(idf_weights=[1.0], vocabulary=["a"]), "idf_weights"),
    (lambda: L.StringLookup(output_mode="tf_idf", vocabulary=["a"]), "idf_weights"),
    (lambda: L.StringLookup(output_mode="tf_idf", vocabulary=["a"], idf_weights=[1.0, 2.0]), "shape"),
    (lambda: L.StringLookup(vocabulary=["a", "b", "a"]), "more than once"),
    (lambda: L.StringLookup(vocabulary=["a", "m"], mask_token="m"), "mask_token 'm'"),
    (lambda: L.StringLookup(vocabulary=["a", "[UNK]"], invert=True), "oov_token"),
    (lambda: L.StringLookup(vocabulary=["a", "b"], max_tokens=2), "max_tokens is 2"),
    (lambda: L.StringLookup(vocabulary=[]), "empty"),
    (lambda: L.StringLookup(vocabulary="/etc/hostname"), "pathlib.Path"),
    (lambda: L.StringLookup(salt=[1, 2, 3]), "salt"),
    (lambda: L.IntegerLookup(salt=3), "oov_method"), (lambda: L.IntegerLookup(oov_method="x"), "oov_method"),
    (lambda: L.IntegerLookup(vocabulary_dtype="int32"), "vocabulary_dtype"),
    (lambda: L.StringLookup(vocabulary=["a"]).adapt(["b"]), "nothing to adapt"),
    (lambda: L.Normalization(mean=1.0, variance=2.0).adapt([np.ones((2, 3))]), "nothing to adapt"),
    (lambda: L.Normalization().adapt([]), "no data"),
    (lambda: L.StringLookup().set_vocabulary("/nowhere/at/all"), "cannot be read"),
    (lambda: L.TextVectorization(ragged=True), "ragged=True"),
    (lambda: L.TextVectorization(standardize="upper"), "standardize='upper'"),
    (lambda: L.TextVectorization(standardize={"class_name": "function", "config": "f"}), "custom_objects"),
    (lambda: L.TextVectorization(split="lines"), "split='lines'"),
    (lambda: L.TextVectorization(ngrams=(0,)), "ngrams"),
    (lambda: L.TextVectorization(output_mode="one_hot"), "output_mode='one_hot'"),
    (lambda: L.TextVectorization(output_mode="count", output_sequence_length=3), "output_sequence_length"),
    (lambda: L.CategoryEncoding(0), "num_tokens=0"), (lambda: L.CategoryEncoding(3, sparse=True), "sparse"),
    (lambda: L.CategoryEncoding(3, output_mode="int"), "output_mode='int'"),
    (lambda: L.Discretization(), "bin_boundaries"), (lambda: L.Discretization([1.0]).adapt([2.0]), "num_bins"),
    (lambda: L.Hashing(0), "num_bins=0"), (lambda: L.Hashing(3, salt="x"), "salt"),
    (lambda: L.Hashing(3, dtype="float32"), "dtype='float32'"), (lambda: L.HashedCrossing(-1), "num_bins=-1"),
    (lambda: L.HashedCrossing(3, output_mode="count"), "output_mode='count'"),
    (lambda: L.MaxNumBoundingBoxes(-1), "max_number"),
    (lambda: L.FeatureSpace({"a": "string"}), "one of float,"), (lambda: L.FeatureSpace({}), "features"),
    (lambda: L.FeatureSpace({"a": "float"}, crosses=[("a", "b")]), "not there: b"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "told"), REFUSED)
def test_refusals_name_the_argument(make: Callable[[], Any], told: str) -> None:
    with pytest.raises((UnsupportedError, LoadError), match=told):
        make()


CALLS: list[tuple[Callable[[], Any], str, Any, str]] = [
    (lambda: L.StringLookup(), "string", None, "no vocabulary"),
    (lambda: L.StringLookup(vocabulary=["a"]), "int64", None, "takes text"),
    (lambda: L.IntegerLookup(vocabulary=[1]), "string", None, "takes numbers"),
    (lambda: L.StringLookup(vocabulary=["a"], invert=True, oov_token=None), "int64", None, "oov_token"),
    (lambda: L.TextVectorization(vocabulary=["a"]), "int64", None, "takes text"),
    (lambda: L.TextVectorization(vocabulary=["a"]), "string", None, r"\(N\) or \(N, 1\)"),
    (lambda: L.Discretization(num_bins=3), "float32", None, "adapt"),
    (lambda: L.Hashing(3, mask_value=3), "string", None, "mask_value=3"),
    (lambda: L.StringLookup(vocabulary=["a"], num_oov_indices=0), "string", texts(["a", "b"]), "'b' is none of"),
    (lambda: L.CategoryEncoding(3), "int64", np.array([[0, -1]]), "category_encoding"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "dtype", "x", "told"), CALLS)
def test_refused_inputs(make: Callable[[], Any], dtype: str, x: Any, told: str) -> None:
    """What no layer of this kind takes is an error when the model is built, or when it runs."""
    start = tenun.Input((2,), dtype=dtype)
    with pytest.raises(TenunError, match=told):
        run = tenun.compile(tenun.Model(start, make()(start)))
        assert x is not None
        run(x)


def test_a_config_opens_no_file(keras: Any, tmp_path: Path) -> None:
    """A vocabulary that is a path, in a file from elsewhere, is refused and never read."""
    model = model_of(keras, TOKENS, "StringLookup", [V])
    path, changed = saved(model, tmp_path), tmp_path / "changed.keras"
    (tmp_path / "secret.txt").write_text("secret\n")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1]["config"]["vocabulary"] = str(tmp_path / "secret.txt")
                data = json.dumps(config).encode()
            new.writestr(name, data)
    with pytest.raises(UnsupportedError, match="in another file"):
        tenun.load(changed)


def test_damaged_vocabularies(keras: Any, tmp_path: Path) -> None:
    layer = keras.layers.IntegerLookup()
    layer.adapt(COUNTS)
    source = keras.Input((3,), dtype="int64")
    path, changed = saved(keras.Model(source, layer(source)), tmp_path), tmp_path / "changed.keras"
    for text, told in ((b"\xff\xfe", "no UTF-8"), (b"1\nx", "no integer"), (b"1\n1", "more than once"), (b"", "empty")):
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
            for name in old.namelist():
                new.writestr(name, text if name.endswith("vocabulary.txt") else old.read(name))
        with pytest.raises(TenunError, match=told) as caught:
            tenun.load(changed)
        assert "changed.keras" in str(caught.value)


def test_an_adapted_layer_in_h5_says_what_to_do(keras: Any, tmp_path: Path) -> None:
    """Keras loses such vocabularies itself."""
    layer = keras.layers.StringLookup()
    layer.adapt(TABLE)
    source = keras.Input((3,), dtype="string")
    with pytest.raises(TenunError, match="no vocabulary.*use a .keras file"):
        tenun.load(saved(keras.Model(source, layer(source)), tmp_path, ".h5"))


ALL = ("StringLookup", "IntegerLookup", "TextVectorization", "CategoryEncoding", "Discretization", "Hashing",
       "HashedCrossing", "Pipeline", "MaxNumBoundingBoxes", "FeatureSpace")  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_arguments_are_those_of_keras(keras: Any, name: str) -> None:
    """Names and defaults, so that a new one of Keras shows up; what only `**kwargs` takes is left out."""
    theirs = getattr(keras.utils if name == "FeatureSpace" else keras.layers, name)
    ours = tenun.layers.LAYERS[name]
    for key, parameter in inspect.signature(theirs.__init__).parameters.items():
        if key in ("self", "kwargs", "args"):
            continue
        assert key in config_fields(ours), key
        if parameter.default not in (inspect.Parameter.empty, None):
            assert getattr(ours, key) == parameter.default, key
