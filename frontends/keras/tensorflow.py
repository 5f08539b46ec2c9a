"""What only TensorFlow reads (SavedModel folders, checkpoints): told apart, and refused with the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import UnsupportedError

SAVED_MODEL = """in an environment with the package tf_keras:
    model = tf_keras.models.load_model({path!r})
    model.save("model.h5")                            # which tenun reads
  a model of no Keras: python -m tf2onnx.convert --saved-model {path} --output model.onnx"""

CHECKPOINT = """build the model by its own code in an environment with tf_keras, then:
    model.load_weights({path!r}).expect_partial()
    model.save("model.h5")                            # which tenun reads"""

FROZEN = "python -m tf2onnx.convert --graphdef {path} --inputs NAME:0 --outputs NAME:0 --output model.onnx"

CHECKPOINT_FILE = re.compile(r"(.*)\.(index|data-\d{5}-of-\d{5})$")


def refuse_tensorflow(found: Path | Sequence[str], file: str | None = None) -> None:
    """UnsupportedError where a path, or the members of an archive, are a SavedModel or a checkpoint of TensorFlow."""
    if isinstance(found, Path):
        file = str(found)
        beside = [str(found)]
        if found.is_dir():
            beside = [each.name for each in found.iterdir()]
        elif not found.exists() and Path(f"{found}.index").exists():  # how TensorFlow calls a checkpoint
            beside = [f"{found}.index"]
        prefix, folder = str(found), found.is_dir()
    else:
        beside, prefix, folder = list(found), "the unpacked folder", True
    names = [name.replace("\\", "/").rpartition("/")[2] for name in beside]
    if folder and ("saved_model.pb" in names or "saved_model.pbtxt" in names):
        what, recipe, path = "a SavedModel of TensorFlow", SAVED_MODEL, prefix
    elif match := next(filter(None, map(CHECKPOINT_FILE.match, beside)), None):
        what, recipe, path = "a checkpoint of TensorFlow, without the model", CHECKPOINT, match[1]
        path = str(Path(prefix) / path) if folder else path
    elif names[:1] == ["saved_model.pb"]:
        what, recipe, path = "a SavedModel of TensorFlow", SAVED_MODEL, str(Path(prefix).parent)
    elif not folder and names[0].endswith(".pb"):
        what, recipe, path = "a graph of TensorFlow", FROZEN, prefix
    else:
        return
    raise UnsupportedError(f"this is {what}, which only TensorFlow reads", file=file, hint=recipe.format(path=path))
