"""Jobs that measure: seconds of one model in several engines, bytes with and without a plan of the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import tenun
from tenun.debug.memory import memory_of

from .data import Array
from .job import SEED, Context, Record, keras
from .loops import plain
from .machine import Others
from .spec import L, sequential

CLOSE = 1e-4  # of Keras' probabilities


def model_of(job: Any, context: Context) -> Any:
    """The job's model by Keras, or by ourselves where Keras is no peer, saved as model.keras; compiled."""
    tenun.set_random_seed(SEED)
    live = sequential(keras() if "keras" in context.peers else tenun, job.shape, job.dtype, job.layers)
    live.compile("adam", "sparse_categorical_crossentropy")
    live.save(context.folder / "model.keras")
    return live


def inputs_of(job: Any, batch: int) -> Array:
    """Random inputs."""
    generator = np.random.default_rng(SEED)
    shape = (batch, *job.shape)
    return (
        generator.random(shape, np.float32) if job.dtype == "float32" else generator.integers(0, 1000, shape, job.dtype)
    )


@dataclass(frozen=True)
class Speed:
    """The forward pass of a CNN in all engines: equal first, then timed in turns; the median of `rounds`."""

    layers: tuple[L, ...]
    shape: tuple[int, ...]
    batch: int
    rounds: int = 15
    dtype: str = "float32"

    def run(self, context: Context) -> Record:
        """Milliseconds by engine, and the largest difference from the first of them (Keras, if it is there)."""
        batch = min(self.batch, 4) if context.quick else self.batch
        x = inputs_of(self, batch)
        engines = dict(self._engines(context))
        results = {name: np.asarray(run(x)) for name, run in engines.items()}
        reference = next(iter(results.values()))
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        rounds = 3 if context.quick else self.rounds
        for number in range(rounds):
            context.tick("timing", number / rounds)
            for name, run in engines.items():
                start = time.perf_counter()
                run(x)
                seconds[name].append(time.perf_counter() - start)
        figures = {
            name: {
                "ms": float(np.median(seconds[name])) * 1e3,
                "difference": float(np.abs(results[name] - reference).max()),
            }
            for name in engines
        }
        return {"data": f"{batch} random images", "engines": figures}

    def time(self, context: Context) -> Record:
        """All of it again."""
        others = Others()
        return {**self.run(context), "others": others()}

    def agrees(self, record: Record) -> bool | None:
        """All engines compute the same."""
        return all(each["difference"] <= CLOSE for each in record["engines"].values())

    def _engines(self, context: Context) -> Iterator[tuple[str, Callable[[Array], Any]]]:
        live = model_of(self, context)
        path = context.folder / "model.keras"
        if "keras" in context.peers:
            yield "keras", partial(live.predict_on_batch)
        yield "loops", plain(self.layers, live.get_weights())
        yield "im2col", tenun.compile(path, exact=True)
        yield "tenun", tenun.compile(path)
        yield "numba", tenun.compile(path, backend="numba")
        try:
            import onnxruntime
        except ImportError:
            return
        tenun.save(tenun.load(path), context.folder / "model.onnx")
        session = onnxruntime.InferenceSession(context.folder / "model.onnx", providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        yield "onnxruntime", lambda x: session.run(None, {name: x})[0]


@dataclass(frozen=True)
class Memory:
    """Bytes of all values of a run, of inference and of a step of training: without a plan, with one, and the bound."""

    layers: tuple[L, ...]
    shape: tuple[int, ...]
    batch: int
    classes: int = 10
    dtype: str = "float32"

    def run(self, context: Context) -> Record:
        """MB."""
        batch = min(self.batch, 8) if context.quick else self.batch
        x = inputs_of(self, batch)
        own = tenun.load_model(model_of(self, context)) if "keras" in context.peers else model_of(self, context)
        y = np.random.default_rng(SEED).integers(0, self.classes, batch).astype(np.int32)
        targets = own.by_output(y)
        arrays = {**own.named(x), **{f"target/{name}": array for name, array in targets.items()}}
        plans = {"inference": own.executable().plan(x), "training": own.runner(True, targets, {}).plan(arrays)}
        return {"data": f"a batch of {batch}", **{name: _megabytes(plan) for name, plan in plans.items()}}

    def agrees(self, record: Record) -> bool | None:
        """Nothing is compared."""
        return None


def _megabytes(plan: Any) -> dict[str, float]:
    memory = memory_of(plan)
    return {name: getattr(memory, name) / 1e6 for name in ("naive", "arena", "bound", "scratch")}
