"""A model as files that every peer reads: `python -m benchmarks.files CASE FOLDER` makes them.

That is a process of its own, because Keras' exporter leaves gigabytes behind.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from .measure import UnfitError
from .models import CASES, Case

FORMATS = ("keras", "onnx")
MADE = "made.json"  # for each format that is not there the reason; written last
SOURCES = ("models.py", "light.py", "export.py", "files.py")  # what the files depend on


@dataclass(frozen=True)
class Files:
    """One model: its files by format, and for a format that is not there the reason."""

    paths: dict[str, Path]
    reasons: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Files:
        """What `make` has left."""
        reasons = json.loads((folder / MADE).read_text())
        return cls({name: folder / f"model.{name}" for name in FORMATS if name not in reasons}, reasons)

    def path(self, *formats: str) -> Path:
        """The first of the formats that there is; else UnfitError says why not."""
        for name in formats:
            if name in self.paths:
                return self.paths[name]
        raise UnfitError(self.reasons[formats[0]])

    @cached_property
    def keras(self) -> Any:
        """The live Keras object."""
        import keras

        return keras.models.load_model(self.path("keras"))


def folder_of(case: Case, root: Path) -> Path:
    """Where the case's files are: another folder for other code or another Keras."""
    code = b"".join((Path(__file__).parent / name).read_bytes() for name in SOURCES)
    return root / f"{case.name}-{sha256(code + version('keras').encode()).hexdigest()[:12]}"


def make(case: Case, folder: Path) -> None:
    """Write the case's model: an onnx one as it is, a Keras one as `.keras` and exported."""
    model = case.make()
    reasons = {}
    if case.source == "onnx":
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        reasons["keras"] = "an ONNX model"
    else:
        from .export import export

        model.predict(case.inputs(1), verbose=0)  # Keras exports only what has been called
        model.save(folder / "model.keras")
        try:
            export(model, folder / "model.onnx")
        except Exception as error:  # whatever it is, it is the exporter's answer
            reasons["onnx"] = f"the export fails: {type(error).__name__}"
    (folder / MADE).write_text(json.dumps(reasons))


if __name__ == "__main__":
    make(CASES[sys.argv[1]], Path(sys.argv[2]))
