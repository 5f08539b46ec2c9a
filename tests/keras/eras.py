"""Whole-model `.h5` files of Keras 2 taken apart, changed into what older versions wrote, and put together again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Array = np.ndarray[Any, Any]


@dataclass
class Parts:
    """What such a file holds: the config, the arrays of each layer by name, the versions."""

    config: dict[str, Any]
    weights: dict[str, dict[str, Array]]
    version: str
    backend: str = "tensorflow"

    @classmethod
    def of(cls, model: Any, folder: Path) -> Parts:
        """The parts of the file that a tf_keras model writes."""
        path = folder / "modern.h5"
        model.save(path)
        with h5py.File(path) as file:
            group = file["model_weights"]
            weights = {
                str(layer): {str(name): group[layer][name][()] for name in group[layer].attrs["weight_names"]}
                for layer in group.attrs["layer_names"]
            }
            return cls(json.loads(file.attrs["model_config"]), weights, str(file.attrs["keras_version"]))

    def write(self, path: Path, weights_only: bool = False) -> Path:
        """The file again, or one of the weights alone."""
        with h5py.File(path, "w") as file:
            if not weights_only:
                file.attrs["model_config"] = json.dumps(self.config).encode()
            group: Any = file if weights_only else file.create_group("model_weights")
            for each in {file, group}:
                each.attrs["keras_version"] = self.version.encode()
                each.attrs["backend"] = self.backend.encode()
            group.attrs["layer_names"] = [name.encode() for name in self.weights]
            for layer, arrays in self.weights.items():
                sub = group.create_group(layer)
                sub.attrs["weight_names"] = [name.encode() for name in arrays]
                for name, array in arrays.items():
                    sub[name] = array
        return path

    def layers(self) -> Iterator[dict[str, Any]]:
        """All serialised layers, those inside of others too."""
        pending = [self.config]
        while pending:
            found = pending.pop()
            yield found
            inner = found["config"]
            nested = inner if isinstance(inner, list) else inner.get("layers", [])
            pending += [*nested, *(inner[k] for k in ("layer", "cell") if isinstance(inner, dict) and k in inner)]

    def change(self, class_name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Apply a function to the config of each layer of a class; to what names the layer, if it takes the class."""
        for layer in self.layers():
            if layer["class_name"] == class_name:
                change(layer)

    def reweigh(self, layer: str, change: Callable[[list[Array]], list[Array]]) -> None:
        """Put other arrays in place of those of a layer."""
        changed = change(list(self.weights[layer].values()))
        self.weights[layer] = {f"{layer}/w_{i}:0": array for i, array in enumerate(changed)}
