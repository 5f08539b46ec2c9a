"""Files of weights alone: into an architecture as JSON, and into models of tenun's own; Keras is the oracle."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import tenun
from tenun.errors import LoadError, RunError, UnsupportedError

from .eras import Parts
from .oracle import randomise, same


@pytest.fixture(scope="module")
def model(keras: Any) -> Any:
    """A nested model with a recurrent layer, statistics, and a layer which is used twice."""
    L = keras.layers
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, name="d"), L.BatchNormalization(name="n")], name="inner")
    x = keras.Input((5, 3), name="x")
    y = L.Bidirectional(L.LSTM(2), name="rnn")(x)
    return randomise(keras.Model(x, L.Dense(2, name="head")(L.Add(name="sum")([inner(y), inner(y)]))))


@pytest.fixture(scope="module")
def files(model: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The weights in all forms in which Keras 3 writes them."""
    folder = tmp_path_factory.mktemp("weights")
    found = {kind: folder / f"w{kind}" for kind in (".weights.h5", ".weights.json", ".keras", ".h5")}
    model.save_weights(found[".weights.h5"])
    model.save_weights(found[".weights.json"], max_shard_size=4e-7)
    assert len(list(folder.glob("w_*.weights.h5"))) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(found[".keras"])
        model.save(found[".h5"])
    return {**found, "alive": model}


X = np.random.default_rng(2).normal(size=(3, 5, 3)).astype(np.float32)
KINDS = [".weights.h5", ".weights.json", ".keras", ".h5", "alive"]


@pytest.mark.parametrize("kind", KINDS)
def test_architecture_and_weights(keras: Any, model: Any, files: dict[str, Any], kind: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(model.to_json())
    graph = tenun.load(tmp_path / "model.json", weights=files[kind])
    same(keras, tenun.compile(graph)(X), model(X))
    same(keras, tenun.compile(model.to_json().encode(), weights=files[kind])(X), model(X))
    same(keras, tenun.load_model(tmp_path / "model.json", weights=files[kind]).predict(X), model(X))


def own() -> Any:
    L = tenun.layers
    x = tenun.Input((5, 3), name="x")
    inner = tenun.Sequential([tenun.Input((4,)), L.Dense(3, name="d"), L.BatchNormalization(name="n")], name="inner")
    y = L.Bidirectional(L.LSTM(2), name="rnn")(x)
    return tenun.Model(x, L.Dense(2, name="head")(L.Add(name="sum")([inner(y), inner(y)])))


@pytest.mark.parametrize("kind", KINDS)
def test_into_a_model_of_our_own(keras: Any, model: Any, files: dict[str, Any], kind: str) -> None:
    made = own()
    made.load_weights(files[kind])
    same(keras, made.predict(X), model(X))


def test_weights_of_keras_2(tmp_path: Path) -> None:
    """Both forms in which Keras 2 writes weights, into its own architecture."""
    K = pytest.importorskip("tf_keras")
    made = K.Sequential([K.Input((5, 3)), K.layers.GRU(4), K.layers.Dense(2, activation="hard_sigmoid")])
    for name in ("old.h5", "new.weights.h5"):
        made.save_weights(tmp_path / name)
        got = tenun.compile(made.to_json().encode(), weights=tmp_path / name)(X)
        np.testing.assert_allclose(got, made(X), rtol=1e-5, atol=1e-6)


def test_an_architecture_alone_asks_for_weights(model: Any, files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="weights="):
        tenun.load(model.to_json().encode())
    with pytest.raises(LoadError, match="to_json"):
        tenun.load(files[".weights.json"])
    with pytest.raises(LoadError, match="no valid JSON"):
        tenun.load(b'{"class_name": ', weights=files[".h5"])
    graph = tmp_path / "g.tenun"
    tenun.save(tenun.load(files[".keras"]), graph)
    with pytest.raises(UnsupportedError, match="no weights"):
        tenun.load(graph, weights=files[".h5"])


# ---- by_name, skip_mismatch -------------------------------------------------------------------------------------


def pair(keras: Any, other_head: bool) -> tuple[Any, Any]:
    """The same new model in Keras and here, with the same weights: other layers on top of those in the file."""
    stacks = []
    for source, make in ((keras, keras.Sequential), (tenun, tenun.Sequential)):
        L = source.layers
        stack = make([source.Input((5, 3)), L.Bidirectional(L.LSTM(2), name="rnn"), L.Dense(3, name="new")])
        stack.add(L.Dense(4 if other_head else 2, name="head"))
        stacks.append(stack)
    randomise(stacks[0], seed=5)
    stacks[1].load_weights(stacks[0])
    return stacks[0], stacks[1]


@pytest.mark.parametrize("other_head", [False, True])
def test_by_name(keras: Any, files: dict[str, Any], other_head: bool) -> None:
    """What Keras takes from a file by name, and what it leaves: the bias of a head with another kernel too."""
    theirs, ours = pair(keras, other_head)
    if other_head:
        with pytest.raises(LoadError, match=r"head .* \(3, 4\), \(4,\) .* \(3, 2\), \(2,\)"):
            ours.load_weights(files[".h5"], by_name=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theirs.load_weights(files[".h5"], by_name=True, skip_mismatch=True)
        ours.load_weights(files[".h5"], by_name=True, skip_mismatch=True)
    assert any("these weights stay" in str(w.message) and "head" in str(w.message) for w in caught) == other_head
    for mine, want in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), want.numpy(), err_msg=mine.name)


def test_by_name_needs_names(files: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="by the names"):
        own().load_weights(files[".weights.h5"], by_name=True)


def test_skip_mismatch_by_place(keras: Any, tmp_path: Path) -> None:
    """`.weights.h5`: of a layer that does not fit nothing is taken, of the others all."""
    made = [
        keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(u) for u in units)]) for units in ((4, 2), (4, 5))
    ]
    randomise(made[0]).save_weights(tmp_path / "w.weights.h5")
    randomise(made[1], seed=5)
    ours = tenun.Sequential([tenun.Input((3,)), tenun.layers.Dense(4), tenun.layers.Dense(5)])
    ours.load_weights(made[1])
    for each in (made[1], ours):
        with pytest.warns(UserWarning):
            each.load_weights(tmp_path / "w.weights.h5", skip_mismatch=True)
    for mine, want in zip(ours.weights, made[1].weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), want.numpy())


# ---- what does not fit ------------------------------------------------------------------------------------------


def changed(source: Path, target: Path, *changes: Any) -> Path:
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        for change in changes:
            change(file)
    return target


def moved(old: str, new: str) -> Any:
    return lambda file: file.move(old, new)


def replaced(path: str, shape: tuple[int, ...]) -> Any:
    def change(file: Any) -> None:
        del file[path]
        file[path] = np.zeros(shape, "float32")

    return change


def fewer(group: Any) -> tuple[str, Any]:
    return "weight_names", group.attrs["weight_names"][1:]


HEAD = "layers/dense/vars"
WRONG: dict[str, tuple[str, Any, list[str]]] = {
    "missing, but there under another name": (
        ".weights.h5", moved("layers/dense", "layers/other"),
        ["head", "Dense", "(3, 2), (2,)", "none", "layers/other/vars: (3, 2), (2,)"],
    ),
    "left over": (
        ".weights.h5", lambda file: file.create_dataset("layers/more/vars/0", data=np.zeros(7, "float32")),
        ["(none)", "(7,)", "layers/more/vars"],
    ),
    "misshapen": (".weights.h5", replaced(f"{HEAD}/0", (3, 9)), ["head", "(3, 2), (2,)", "(3, 9), (2,)"]),
    "missing by layers": (
        ".h5", lambda file: file["model_weights/head"].attrs.__setitem__(*fewer(file["model_weights/head"])),
        ["head", "(3, 2), (2,)", "(2,)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_table_of_what_does_not_fit(files: dict[str, Any], what: str, tmp_path: Path) -> None:
    kind, change, words = WRONG[what]
    path = changed(files[kind], tmp_path / f"w{kind}", change)
    with pytest.raises(LoadError) as caught:
        own().load_weights(path)
    text = str(caught.value)
    for word in [*words, "expected", "found", "nearest match", "skip_mismatch=True", path.name]:
        assert word in text, f"{word!r} is not in:\n{text}"


def test_fewer_and_more_layers_by_layers(tmp_path: Path) -> None:
    K = pytest.importorskip("tf_keras")
    made = K.Sequential([K.Input((3,)), K.layers.Dense(4, name="a"), K.layers.Dense(2, name="b")])
    path = Parts.of(made, tmp_path).write(tmp_path / "w.h5", weights_only=True)
    L = tenun.layers
    fewer = tenun.Sequential([tenun.Input((3,)), L.Dense(4, name="a")])
    with pytest.raises(LoadError, match=r"\(none\) .* \(4, 2\), \(2,\) +b"):
        fewer.load_weights(path)
    more = tenun.Sequential([tenun.Input((3,)), L.Dense(4, name="a"), L.Dense(2, name="c"), L.Dense(5, name="d")])
    with pytest.raises(LoadError, match=r"c .* none +b: \(4, 2\), \(2,\)\n.*d .* none"):
        more.load_weights(path)


@pytest.mark.parametrize("name", ["../w.weights.h5", "/etc/passwd", "a\\b", "", "..", 3, ["x/y"]])
def test_shards_lie_beside_their_list(files: dict[str, Any], tmp_path: Path, name: Any) -> None:
    path = tmp_path / "w.weights.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": {"/layers/dense/vars": name}}))
    with pytest.raises(LoadError, match="no file beside it"):
        own().load_weights(path)


def test_missing_shard_and_no_list(files: dict[str, Any], tmp_path: Path) -> None:
    shutil.copy(files[".weights.json"], tmp_path / "w.weights.json")
    with pytest.raises(LoadError, match="missing"):
        own().load_weights(tmp_path / "w.weights.json")
    with pytest.raises(LoadError, match="path"):
        own().load_weights((tmp_path / "w.weights.json").read_bytes())
    (tmp_path / "w.weights.json").write_text("{}")
    with pytest.raises(LoadError, match="weight_map"):
        own().load_weights(tmp_path / "w.weights.json")


# ---- writing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shard"), [("w.weights.h5", None), ("w.weights.json", 4e-7), ("w.h5", None)])
def test_keras_reads_what_we_write(keras: Any, model: Any, name: str, shard: float | None, tmp_path: Path) -> None:
    """Keras 3 reads all three kinds into its own model, and so do we."""
    made = tenun.load_model(model, compile=False)
    made.save_weights(tmp_path / name, max_shard_size=shard)
    assert len(list(tmp_path.iterdir())) == 1 if shard is None else len(list(tmp_path.iterdir())) > 2
    theirs, ours = keras.models.clone_model(model), tenun.load_model(keras.models.clone_model(model), compile=False)
    for each in (theirs, ours):
        each.load_weights(tmp_path / name)
        same(keras, each.predict(X, verbose=0), model(X))
    with pytest.raises(RunError, match="the file exists"):
        made.save_weights(tmp_path / name, overwrite=False, max_shard_size=shard)


def test_keras_2_reads_what_we_write(tmp_path: Path) -> None:
    """A legacy file goes back into the tf_keras model whose architecture was read."""
    K = pytest.importorskip("tf_keras")
    x = K.Input((5, 3))
    theirs = K.Model(x, K.layers.Dense(2)(K.layers.Bidirectional(K.layers.LSTM(2))(K.layers.BatchNormalization()(x))))
    theirs.set_weights([np.random.default_rng(i).uniform(0.1, 0.5, w.shape) for i, w in enumerate(theirs.weights)])
    want = theirs(X).numpy()
    tenun.load_model(theirs, compile=False).save_weights(tmp_path / "w.h5")
    theirs.set_weights([np.zeros(w.shape) for w in theirs.weights])
    theirs.load_weights(tmp_path / "w.h5")
    np.testing.assert_allclose(theirs(X).numpy(), want, 1e-6)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    made = own()
    with pytest.raises(UnsupportedError, match=r"end in \.weights\.h5"):
        made.save_weights(tmp_path / "w.npz")
    with pytest.raises(UnsupportedError, match=r"end in \.weights\.json"):
        made.save_weights(tmp_path / "w.h5", max_shard_size=1)
    with pytest.raises(UnsupportedError, match="bytes, a shard 1"):
        made.save_weights(tmp_path / "w.weights.json", max_shard_size=1e-9)
    assert not list(tmp_path.iterdir())


def test_whole_models_in_h5(keras: Any, model: Any, tmp_path: Path) -> None:
    made = tenun.load_model(model, compile=False)
    made.compile("adam", "mse")
    made.save(tmp_path / "m.h5")
    again = keras.models.load_model(tmp_path / "m.h5")
    same(keras, again.predict(X, verbose=0), model(X))
    assert type(again.optimizer).__name__ == "Adam"
