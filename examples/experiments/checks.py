"""Jobs that look at gradients: are they right, and how are they spread?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import tenun
from tenun.debug.distributions import gradients_of

from .data import load
from .job import SEED, Context, Record, keras
from .spec import L, sequential

BATCH = 4
WORDS = 20
CLOSE = 1e-4  # of Keras' gradients in float32, relative to the largest of a weight


@dataclass(frozen=True)
class GradientCheck:
    """The gradients of a mean squared error by all weights and inputs of a small model: against differences in
    float64, and against Keras' tape; random: what is dropped is drawn, so Keras' tape sees another function.
    """

    layers: tuple[L, ...]
    shape: tuple[int, ...]
    dtype: str = "float32"
    random: bool = False
    loss: ClassVar[str] = "mse"

    def run(self, context: Context) -> Record:
        """The largest relative errors."""
        generator = np.random.default_rng(SEED)
        floats = generator.normal(size=(BATCH, *self.shape)).astype(np.float32)
        x = floats if self.dtype == "float32" else generator.integers(0, WORDS, (BATCH, *self.shape)).astype(self.dtype)
        beside = "keras" in context.peers and not self.random
        tenun.set_random_seed(SEED)
        live = sequential(keras() if beside else tenun, self.shape, self.dtype, self.layers)
        live.compile("adam", self.loss)
        own = tenun.load_model(live) if beside else live
        y = self._targets(generator, np.shape(own.predict(x, verbose=0)))
        found = tenun.check_gradients(own, x, y, inputs=self.dtype == "float32")
        worst = {
            "error": found.worst.error,
            "where": found.worst.name,
            "checked": sum(row.checked for row in found.rows),
        }
        record: Record = {"data": "random numbers", "differences": {**worst, "ok": found.ok}}
        if beside:
            record["keras"] = {"error": self._against_tape(live, own, x, y)}
        return record

    def _targets(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
        return generator.normal(size=shape).astype(np.float32)

    def agrees(self, record: Record) -> bool | None:
        """Both."""
        return bool(record["differences"]["ok"] and record.get("keras", {"error": 0})["error"] <= CLOSE)

    def _against_tape(self, live: Any, own: Any, x: Any, y: Any) -> float:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = live.compute_loss(x, y, live(x, training=True))
        theirs = tape.gradient(loss, [v.value for v in live.trainable_variables])
        ours = gradients_of(own, x, y)
        pairs = [(ours[p.name], np.asarray(tf.convert_to_tensor(g))) for p, g in zip(own.trainable_weights, theirs)]
        return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12)) for a, b in pairs)


@dataclass(frozen=True)
class LossCheck(GradientCheck):
    """The same of another loss of Keras' name, whose targets are labels or one class of each sample (one-hot)."""

    loss: str = "binary_crossentropy"  # type: ignore[misc]

    def _targets(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Any:
        classes = generator.integers(0, shape[-1], shape[0])
        return (
            classes.astype(np.int32) if self.loss.startswith("sparse") else np.eye(shape[-1], dtype=np.float32)[classes]
        )


@dataclass(frozen=True)
class Distribution:
    """Train here, and plot by layer and epoch: `<plot>-weights.svg`, `<plot>-gradients.svg`."""

    data: str
    layers: tuple[L, ...]
    epochs: int
    plot: str
    batch: int = 64
    samples: int | None = None

    def run(self, context: Context) -> Record:
        """The deviations of the gradients of the first and the last kernel before training."""
        data = load(self.data, context.data, context.quick, self.samples)
        tenun.set_random_seed(SEED)
        model = sequential(tenun, data.train.x.shape[1:], str(data.train.x.dtype), self.layers)
        model.compile("adam", "sparse_categorical_crossentropy", backend=context.backend)
        some = data.train.first(256)
        seen = tenun.callbacks.Distributions(some.x, some.y)
        epochs = 2 if context.quick else self.epochs
        model.fit(data.train.x, data.train.y, batch_size=self.batch, epochs=epochs, verbose=0, callbacks=[seen])
        plots = {f"{self.plot}-{what}.svg": getattr(seen, f"plot_{what}") for what in ("weights", "gradients")}
        for name, draw in plots.items():
            draw(context.plots / name)
        spread = {p: looks[0].std for p, looks in seen.gradients.items() if p.endswith(".kernel")}
        first, last = (list(spread.values())[i] for i in (0, -1))
        record: Record = {"data": data.text, "epochs": epochs, "batch": self.batch, "plots": list(plots)}
        return {**record, "deviations": {"first": first, "last": last}}

    def agrees(self, record: Record) -> bool | None:
        """Nothing is compared."""
        return None
