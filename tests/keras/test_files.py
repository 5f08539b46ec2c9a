"""Files of every kind: what Keras of all versions calls a model, and what only TensorFlow reads."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

import tenun
from tenun.errors import LoadError, UnsupportedError


def saved_model(folder: Path) -> list[Path]:
    """The files of a SavedModel, by their names."""
    (folder / "variables").mkdir(parents=True)
    names = ("saved_model.pb", "keras_metadata.pb", "variables/variables.index",
             "variables/variables.data-00000-of-00001")  # fmt: skip
    for name in names:
        (folder / name).write_bytes(b"\x08\x01")
    return [folder / name for name in names]


def refused(path: Path, *words: str) -> None:
    for read in (tenun.load, tenun.load_model, tenun.Sequential([tenun.Input((3,))]).load_weights):
        with pytest.raises(UnsupportedError) as caught:
            read(path)
        for word in words:
            assert word in str(caught.value), f"{word!r} is not in:\n{caught.value}"


def test_saved_model_folders_files_and_archives(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    parts = saved_model(folder)
    recipe = ("SavedModel", f"load_model({str(folder)!r})", "model.save(", "tf2onnx")
    refused(folder, *recipe)
    refused(folder / "saved_model.pb", *recipe)
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for part in parts:
            file.write(part, part.relative_to(tmp_path))
    refused(archive, "SavedModel", "unpacked folder", "model.save(")


@pytest.mark.parametrize("given", ["ckpt", "ckpt.index", "ckpt.data-00000-of-00001", ""])
def test_checkpoints(tmp_path: Path, given: str) -> None:
    for suffix in ("index", "data-00000-of-00001"):
        (tmp_path / f"ckpt.{suffix}").write_bytes(b"\x00\x01")
    refused(tmp_path / given, "checkpoint", f"load_weights({str(tmp_path / 'ckpt')!r})", "model.save(")


def test_frozen_graph(tmp_path: Path) -> None:
    (tmp_path / "frozen.pb").write_bytes(b"\x0a\x02")
    refused(tmp_path / "frozen.pb", "--graphdef")


def test_real_saved_model_and_checkpoint(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    tf = pytest.importorskip("tensorflow")
    model.export(tmp_path / "exported", verbose=False)
    refused(tmp_path / "exported", "SavedModel")
    prefix = tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt"))
    refused(Path(prefix), "checkpoint")


def test_other_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="folder"):
        tenun.load(tmp_path)
    with pytest.raises(LoadError, match="does not exist"):
        tenun.load(tmp_path / "nothing.h5")
    layers = '[{"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 3]}}]'
    config = f'{{"module": "keras", "class_name": "Sequential", "config": {{"layers": {layers}}}}}'
    with pytest.raises(LoadError, match="first bytes"):
        tenun.load(config.encode(), weights=b"nothing")
