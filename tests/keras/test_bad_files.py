"""Files that are damaged, hostile or not understood: always a TenunError that says which file and what."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tenun.api import load
from tenun.errors import LoadError, TenunError, UnsupportedError
from tenun.frontends.facts import findings
from tenun.frontends.keras.archive import MAX_MEMBERS

from .oracle import saved


@pytest.fixture(scope="module")
def files(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small good model in both formats."""
    folder = tmp_path_factory.mktemp("good")
    L = keras.layers
    model = keras.Sequential(
        [keras.Input((5,)), L.Dense(4, name="d"), L.BatchNormalization(name="bn"), L.Dense(3, name="e")]
    )
    return {suffix: saved(model, folder, suffix) for suffix in (".keras", ".h5")}


def fails(path: Path | bytes, *words: str, kind: type[TenunError] = LoadError) -> TenunError:
    """Loading raises an error of the kind whose text has all the words, and the file's name."""
    with pytest.raises(kind) as caught:
        load(path)
    text = str(caught.value)
    for word in (*words, *([path.name] if isinstance(path, Path) else [])):
        assert word in text, f"{word!r} is not in:\n{text}"
    return caught.value


def repack(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an archive with members changed."""
    with zipfile.ZipFile(source) as z:
        members = {n: z.read(n) for n in z.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w") as z:
        for name, content in members.items():
            z.writestr(name, content)
    return target


def with_config(source: Path, target: Path, change: Callable[[Any], Any]) -> Path:
    def edit(members: dict[str, bytes]) -> None:
        config = json.loads(members["config.json"])
        changed = change(config)
        members["config.json"] = json.dumps(config if changed is None else changed).encode()

    return repack(source, target, edit)


def with_weights(source: Path, target: Path, change: Callable[[h5py.File], None]) -> Path:
    def edit(members: dict[str, bytes]) -> None:
        buffer = io.BytesIO(members["model.weights.h5"])
        with h5py.File(buffer, "r+") as file:
            change(file)
        members["model.weights.h5"] = buffer.getvalue()

    return repack(source, target, edit)


# ---- the file itself


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    fails(tmp_path / "nothing.keras", "does not exist")
    (tmp_path / "empty.h5").write_bytes(b"")
    fails(tmp_path / "empty.h5", "empty")
    fails(tmp_path, "folder")
    fails(b"", "empty")


def test_wrong_magic(tmp_path: Path) -> None:
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"text{suffix}"
        path.write_text("this is no model")
        fails(path, "first bytes")


def test_the_content_decides_not_the_suffix(files: dict[str, Path], tmp_path: Path) -> None:
    for suffix, other in ((".keras", ".h5"), (".h5", ".keras")):
        shutil.copy(files[suffix], tmp_path / f"other{other}")
        assert load(tmp_path / f"other{other}").weights.keys() == load(files[suffix]).weights.keys()
        assert load(files[suffix].read_bytes()) == load(files[suffix])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.98])
def test_truncated(files: dict[str, Path], tmp_path: Path, suffix: str, share: float) -> None:
    whole = files[suffix].read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    fails(path)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_flipped_bytes(files: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    """Damage anywhere either loads or raises a TenunError, never anything else."""
    whole = files[suffix].read_bytes()
    rng = np.random.default_rng(0)
    for i in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 8):
            damaged[place] ^= int(rng.integers(1, 256))
        path = tmp_path / f"damaged_{i}{suffix}"
        path.write_bytes(bytes(damaged))
        try:
            load(path)
        except TenunError as error:
            assert path.name in str(error)


# ---- the archive


def test_path_traversal(files: dict[str, Path], tmp_path: Path) -> None:
    for i, name in enumerate(("../evil.txt", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil")):
        path = tmp_path / f"evil_{i}.keras"
        with zipfile.ZipFile(path, "w") as z:
            z.writestr(name, b"x")
        fails(path, "outside")


def test_ratio_of_a_million_to_one(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as z, z.open("config.json", "w") as member:
        for _ in range(64):
            member.write(bytes(1 << 20))
    fails(path, "ratio")


def test_too_many_members(tmp_path: Path) -> None:
    path = tmp_path / "many.keras"
    with zipfile.ZipFile(path, "w") as z:
        for i in range(MAX_MEMBERS + 1):
            z.writestr(str(i), b"")
    fails(path, "members")


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_missing_member(files: dict[str, Path], tmp_path: Path, member: str) -> None:
    fails(repack(files[".keras"], tmp_path / "m.keras", lambda m: m.pop(member)), member)  # type: ignore[arg-type, return-value]


def test_a_member_that_lies_about_its_size(files: dict[str, Path], tmp_path: Path) -> None:
    whole = bytearray(files[".keras"].read_bytes())
    with zipfile.ZipFile(files[".keras"]) as z:
        size = z.getinfo("config.json").file_size
    start = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"config.json"))
    whole[start + 24 : start + 28] = (size + 1000).to_bytes(4, "little")
    path = tmp_path / "lies.keras"
    path.write_bytes(bytes(whole))
    fails(path)


# ---- the configuration


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[1, 2]", b"null", b"3", b'{"class_name": "Sequential"}', b"[" * 100_000, b'"\\ud800"', b"\xff\xfe"],
)
def test_config_that_is_none(files: dict[str, Path], tmp_path: Path, text: bytes) -> None:
    fails(repack(files[".keras"], tmp_path / "c.keras", lambda m: m.update({"config.json": text})))


@pytest.mark.slow
def test_config_with_parts_replaced(files: dict[str, Path], tmp_path: Path) -> None:
    """Any part of the config replaced by nonsense: a TenunError, or a model that does not care."""
    with zipfile.ZipFile(files[".keras"]) as z:
        config = json.loads(z.read("config.json"))
    count = 0
    for path in _paths(config):
        for nonsense in (None, -1, "x", [], {}, 10**12, [[1]], True):
            changed = json.loads(json.dumps(config))
            here = changed
            for key in path[:-1]:
                here = here[key]
            here[path[-1]] = nonsense
            target = with_config(files[".keras"], tmp_path / f"n{count}.keras", lambda _, c=changed: c)
            count += 1
            try:
                load(target)
            except TenunError as error:
                assert target.name in str(error)
    assert count > 300


def _paths(x: Any, path: tuple[Any, ...] = ()) -> Any:
    items = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def test_unknown_layers_are_listed_all_at_once(files: dict[str, Path], tmp_path: Path) -> None:
    def change(config: Any) -> None:
        layers = config["config"]["layers"]
        layers[1].update(class_name="Mystery", module="os", registered_name="os>system")
        layers[2]["config"]["fancy"] = 7
        layers[3]["config"]["activation"] = "unheard_of"

    target = with_config(files[".keras"], tmp_path / "u.keras", change)
    fails(
        target,
        "Mystery",
        "fancy=7",
        "unheard_of",
        "d:",
        "bn",
        "e:",
        "custom_objects",
        "3 things",
        kind=UnsupportedError,
    )


def test_lambda_is_refused(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Lambda(lambda x: x + 1, name="add_one")])
    for suffix in (".keras", ".h5"):
        fails(saved(model, tmp_path, suffix), "add_one", "code", "custom_objects", kind=UnsupportedError)


def test_classes_are_never_imported(files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError(f"imported {args}")

    def change(config: Any) -> None:
        config["config"]["layers"][1].update(class_name="Popen", module="subprocess", registered_name=None)

    target = with_config(files[".keras"], tmp_path / "i.keras", change)
    monkeypatch.setattr(importlib, "import_module", refuse)
    fails(target, "Popen", "subprocess", kind=UnsupportedError)


def test_cycle_and_dangling_input(keras: Any, tmp_path: Path) -> None:
    x = keras.Input((5,), name="x")
    y = keras.layers.Dense(5, name="b")(keras.layers.Dense(5, name="a")(x))
    good = saved(keras.Model(x, y), tmp_path)

    def feed(name: str) -> Callable[[Any], None]:
        def change(config: Any) -> None:
            config["config"]["layers"][1]["inbound_nodes"][0]["args"][0]["config"]["keras_history"][0] = name

        return change

    fails(with_config(good, tmp_path / "cycle.keras", feed("b")), "cycle", "a, b")
    fails(with_config(good, tmp_path / "dangling.keras", feed("nobody")), "a, b")


def test_subclassed_model_alive(keras: Any) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(TenunError, match="Own"):
        load(Own())


# ---- the weights


def test_missing_dataset(files: dict[str, Path], tmp_path: Path) -> None:
    def drop(file: h5py.File) -> None:
        del file["layers/dense/vars/1"]

    fails(with_weights(files[".keras"], tmp_path / "w.keras", drop), "d ", "Dense", "(5, 4), (4,)", "expected", "found")


def test_misshapen_datasets_in_one_table(files: dict[str, Path], tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        for name in ("layers/dense/vars/0", "layers/dense_1/vars/0"):
            del file[name]
            file[name] = np.zeros((2, 2), "float32")

    fails(with_weights(files[".keras"], tmp_path / "w.keras", change), "(5, 4)", "(4, 3)", "(2, 2)", "d ", "e ")


def test_shape_bomb_is_not_read(files: dict[str, Path], tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file.create_dataset("layers/dense/vars/0", (10**7, 10**7), "float32", chunks=(10, 10), compression="gzip")

    fails(with_weights(files[".keras"], tmp_path / "w.keras", change), "(10000000, 10000000)")


@pytest.mark.parametrize("link", ["external", "soft"])
def test_links_are_not_followed(files: dict[str, Path], tmp_path: Path, link: str) -> None:
    def change(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        where = (
            h5py.ExternalLink("/etc/passwd", "/x") if link == "external" else h5py.SoftLink("/layers/dense_1/vars/0")
        )
        file["layers/dense/vars/0"] = where

    fails(with_weights(files[".keras"], tmp_path / "w.keras", change), "Link")


def test_external_data_is_not_read(files: dict[str, Path], tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        external = [("/etc/passwd", 0, 80)]
        file.create_dataset("layers/dense/vars/0", (5, 4), "float32", external=external)

    fails(with_weights(files[".keras"], tmp_path / "w.keras", change), "elsewhere")


def test_weights_of_another_kind(files: dict[str, Path], tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = np.full((5, 4), b"abc")

    fails(with_weights(files[".keras"], tmp_path / "w.keras", change), "numbers are needed")


def test_weights_only_files(keras: Any, files: dict[str, Path], tmp_path: Path) -> None:
    model = keras.models.load_model(files[".keras"])
    model.save_weights(tmp_path / "only.weights.h5")
    fails(tmp_path / "only.weights.h5", "weights only", "model.save")


def test_legacy_file_with_missing_and_misshapen_weights(files: dict[str, Path], tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        shutil.copy(files[".h5"], tmp_path / name)
        return tmp_path / name

    path = copy("missing.h5")
    with h5py.File(path, "r+") as file:
        group = file["model_weights/d"]
        del group[group.attrs["weight_names"][0]]
    fails(path, "no dataset")
    path = copy("shape.h5")
    with h5py.File(path, "r+") as file:
        group = file["model_weights/d"]
        name = group.attrs["weight_names"][0]
        del group[name]
        group[name] = np.zeros((2, 2), "float32")
    fails(path, "(2, 2)", "(5, 4)")
    path = copy("fewer.h5")
    with h5py.File(path, "r+") as file:
        file["model_weights/bn"].attrs["weight_names"] = file["model_weights/bn"].attrs["weight_names"][:2]
    fails(path, "bn", "BatchNormalization")
    path = copy("none.h5")
    with h5py.File(path, "r+") as file:
        del file["model_weights"]
    fails(path, "model_weights")
    path = copy("config.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = "{"
    fails(path, "JSON")


def test_all_that_is_wrong_with_a_legacy_file_is_found_at_once(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "several.h5"
    shutil.copy(files[".h5"], path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/d"]
        name = group.attrs["weight_names"][0]
        del group[name]
        group[name] = np.full((5, 4), b"abc")
        file["model_weights/bn"].attrs["weight_names"] = file["model_weights/bn"].attrs["weight_names"][:2]
    graph, found = findings(str(path))
    assert graph is None and {(f.kind, f.where) for f in found} == {("dtype", "d"), ("weights", "bn")}
    assert {f.detail["location"].partition("; ")[2] for f in found} == {"model_weights/d", "model_weights/bn"}
