"""`python -m benchmarks.training`: a step of training (train_on_batch) against Keras', and the memory that it takes.

All engines start from the same weights and see the same batch; adam, sparse categorical cross-entropy.  Losses of the
first steps are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from .measure import TOLERANCE, Effort, Timing, timed
from .memory import peaks
from .models import SEED, TRAINED, Case
from .peers import threads
from .records import OURS
from .report import Report, headline
from .targets import NUMBA

REFERENCE = "keras"
STEPS = 3  # whose losses have to agree
QUICK = ("default_cnn", "gru32")

Array = np.ndarray[Any, Any]
Step = Callable[[Array, Array], Any]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=list(TRAINED), help="default: all")
    parser.add_argument("--batch", nargs="+", type=int, help="default: each model's own sizes")
    parser.add_argument("--rounds", type=int, default=25, help="steps of each engine (median taken)")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="leave the fresh processes out")
    parser.add_argument("--json", type=Path, help="write the figures here; those of other models stay")
    parser.add_argument("--quick", action="store_true", help="two rounds at batch 2: shows that everything starts")
    args = parser.parse_args()
    if args.quick:
        args.models, args.batch, args.rounds = args.models or QUICK, [2], 2
    args.models = args.models or list(TRAINED)
    return args


def compiled(model: Any, **more: Any) -> Any:
    """A model of Keras or of ours with what all engines train."""
    model.compile("adam", "sparse_categorical_crossentropy", **more)
    return model


def tenun_steps(live: Any, **more: Any) -> Any:
    """tenun, from the live Keras model."""
    import tenun

    return compiled(tenun.load_model(live), **more)


def keras_steps(live: Any, **more: Any) -> Any:
    """A copy of the Keras model."""
    import keras

    copy = keras.models.clone_model(live)
    copy.set_weights(live.get_weights())
    return compiled(copy, **more)


ENGINES: dict[str, Callable[[Any], Any]] = {
    OURS: tenun_steps,
    NUMBA: partial(tenun_steps, backend="numba"),
    "keras": keras_steps,  # without XLA, which is what Keras chooses on a CPU
    "keras with XLA": partial(keras_steps, jit_compile=True),
}


def measure(steps: Mapping[str, Step], x: Array, y: Array, rounds: int) -> dict[str, Timing | str]:
    """Timings of all engines on one batch; an engine that fails or learns something else gets the reason instead."""
    found: dict[str, Timing | str] = {}
    losses: dict[str, Array] = {}
    for name, step in steps.items():
        try:
            losses[name] = np.array([float(step(x, y)) for _ in range(STEPS)])
        except Exception as error:
            found[name] = f"fails: {type(error).__name__}"
    want = losses[REFERENCE]
    differences = {name: float((np.abs(got - want) / want).max()) for name, got in losses.items()}
    found |= {name: f"wrong by {d:.2g}" for name, d in differences.items() if not d <= TOLERANCE}
    times = timed({name: partial(step, x, y) for name, step in steps.items() if name not in found}, Effort(rounds))
    return {**found, **{name: Timing.of(seconds, differences[name]) for name, seconds in times.items()}}


def planned(model: Any, x: Array, y: Array) -> dict[str, float]:
    """MB of the arena and of scratch that tenun's step has."""
    from tenun.debug.memory import memory_of

    targets = model.by_output(y)
    arrays = {**model.named(x), **{f"target/{name}": array for name, array in targets.items()}}
    memory = memory_of(model.runner(True, targets, {}).plan(arrays))
    return {"tenun's arena": memory.arena / 1e6, "tenun's scratch": memory.scratch / 1e6}


def run_case(report: Report, case: Case, batch: int, classes: int, rounds: int, memory: bool) -> None:
    """One model at one batch size."""
    import keras

    keras.utils.set_random_seed(SEED)
    live = compiled(case.build())
    x, y = case.inputs(batch), np.random.default_rng(1).integers(0, classes, batch).astype(np.int32)
    models = {name: make(live) for name, make in ENGINES.items()}
    results = measure({name: model.train_on_batch for name, model in models.items()}, x, y, rounds)
    report.timings("training", case.name, batch, results)
    if not memory:
        return
    with tempfile.TemporaryDirectory() as folder:
        model, data = Path(folder) / "model.keras", Path(folder) / "batch.npz"
        live.optimizer.build(live.trainable_variables)  # so that no engine makes them, and the file has them
        live.save(model)
        np.savez(data, x=x, y=y)
        figures = {**peaks(model, data), **planned(models[OURS], x, y)}
    report.figures("training memory", case.name, batch, figures)


def main() -> None:
    args = arguments()
    headline()
    report = Report(threads())
    for name in args.models:
        case, batches, classes = TRAINED[name]
        for batch in args.batch or batches:
            run_case(report, case, batch, classes, args.rounds, args.memory)
    report.write(args.json)


if __name__ == "__main__":
    main()
