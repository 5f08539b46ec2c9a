"""The parts of `tenun profile`: other runtimes beside ours, and the files that it writes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RunError, TenunError, UnsupportedError
from ..files import write_atomically

if TYPE_CHECKING:
    from ..debug.profile import Profile
    from ..executable import Executable

WARM = 0.05  # seconds of runs that are not timed, before each turn's first
TOLERANCE = 1e-3  # of the largest result: more than rounding
NUMERIC = "biuf"  # kinds of dtypes that are subtracted; others are equal or not
KERAS_FILES = (".keras", ".h5", ".hdf5")
TITLES = {"ort": "ONNX Runtime", "keras": "Keras predict"}

Run = Callable[[Mapping[str, Any]], Sequence[Any]]


# ---- the runtimes


def peer_run(name: str, file: str, threads: int | None) -> Run:
    """Another runtime (ort or keras) on a model file: outputs in order from inputs by our names, in our order.

    UnsupportedError names the package that is missing, or why the runtime cannot read the file.
    """
    try:
        return PEERS[name](file, threads)
    except ImportError as error:
        package = PACKAGES.get(error.name or "", error.name or name)
        hint = f"pip install {package}"
        raise UnsupportedError(f"--vs {name} needs the package {package}: {error}", file=file, hint=hint) from None
    except TenunError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{TITLES[name]} cannot load the model: {reason}", file=file, hint="leave --vs out") from None


PACKAGES = {"tensorflow": "tensorflow-cpu", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime", "keras": "keras"}


def _onnxruntime(file: str, threads: int | None) -> Run:
    """ONNX Runtime on an ONNX file, or on Keras' export of a Keras file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    with TemporaryDirectory() as folder:
        path = _exported(file, folder) if _suffix(file) in KERAS_FILES else file
        if _suffix(path) != ".onnx":
            hint = "give an .onnx, .keras or .h5 file"
            raise UnsupportedError(f"ONNX Runtime cannot read {_suffix(path) or 'such'} files", file=file, hint=hint)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return lambda inputs: session.run(None, _renamed(inputs, names))


def _exported(file: str, folder: str) -> str:
    """Keras' own ONNX export of a Keras file."""
    path, model = str(Path(folder) / "exported.onnx"), _keras_model(file)
    zeros = [np.zeros([size or 1 for size in given.shape], given.dtype) for given in model.inputs]
    model(zeros[0] if len(zeros) == 1 else zeros)  # Keras exports what it has called once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(path, format="onnx", verbose=False)
    return path


def _keras(file: str, threads: int | None) -> Run:
    """`model.predict` of Keras, the whole batch at once."""
    if _suffix(file) not in KERAS_FILES:
        hint = "give a .keras or .h5 file, or compare with --vs ort"
        raise UnsupportedError(f"Keras cannot read {_suffix(file) or 'such'} files", file=file, hint=hint)
    if threads is not None:
        _limit_tensorflow(threads)
    model = _keras_model(file)
    names = [given.name for given in model.inputs]

    def run(inputs: Mapping[str, Any]) -> list[Any]:
        given = list(_renamed(inputs, names).values())
        results = model.predict(given[0] if len(given) == 1 else given, batch_size=len(given[0]), verbose=0)
        return _flat(results)

    return run


def _keras_model(file: str) -> Any:
    import keras

    return keras.saving.load_model(file, compile=False)


def _limit_tensorflow(threads: int) -> None:
    """Tell TensorFlow how many threads there are; UnsupportedError where it has begun with others."""
    import keras

    if keras.backend.backend() != "tensorflow":
        what = f"--threads with Keras on {keras.backend.backend()}"
        raise UnsupportedError(what, hint="set KERAS_BACKEND=tensorflow, or leave --threads out")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        hint = "leave --threads out, or set TF_NUM_INTRAOP_THREADS before"
        raise UnsupportedError("TensorFlow runs already, its threads cannot be changed", hint=hint) from None


def _suffix(file: str) -> str:
    return Path(file).suffix.lower()


def _renamed(inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The inputs by the names of another runtime: the same ones, or, where it has others, in the same order."""
    if set(names) == set(inputs):
        return {name: inputs[name] for name in names}
    if len(names) != len(inputs):
        listed = f"{', '.join(names)} there, {', '.join(inputs)} here"
        raise RunError(f"the other runtime takes other inputs: {listed}", hint="leave --vs out")
    return dict(zip(names, inputs.values()))


def _flat(results: Any) -> list[Any]:
    """The arrays of a structure as Keras returns it, dicts by their order."""
    if isinstance(results, Mapping):
        return [array for value in results.values() for array in _flat(value)]
    if isinstance(results, (list, tuple)):
        return [array for value in results for array in _flat(value)]
    return [results]


PEERS: dict[str, Callable[[str, int | None], Run]] = {"ort": _onnxruntime, "keras": _keras}


# ---- the race


@dataclass(frozen=True)
class Race:
    """Seconds of a whole call, medians of turns: ours and the peer's; the largest difference of their results.

    difference: as a share of the largest result; None where their shapes are not even the same.
    """

    peer: str
    ours: float
    theirs: float
    rounds: int
    difference: float | None

    def lines(self) -> Iterator[str]:
        """The comparison as lines of text."""
        title = TITLES[self.peer]
        for name, seconds in (("tenun", self.ours), (title, self.theirs)):
            yield f"{name:<13} {1e3 * seconds:10.3f} ms a call (median of {self.rounds}, in turns)"
        yield f"{'ratio':<13} {self.theirs / self.ours:10.2f}    {title} / tenun"
        if self.difference is None:
            yield "the results have other shapes: these are not the same computations"
        elif not self.difference <= TOLERANCE:
            yield f"the results differ by {self.difference:.2g} of the largest: these are not the same computations"
        else:
            yield f"the results differ by {self.difference:.1g} of the largest"


def race(executable: Executable, peer: Run, name: str, inputs: Mapping[str, Any], rounds: int) -> Race:
    """Time whole calls of both, warm, in turns.  States are set back before and after."""
    runs: dict[str, Run] = {"ours": partial(_ours, executable), "theirs": peer}
    try:
        difference = _difference(*(run(inputs) for run in runs.values()))
    except TenunError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise RunError(f"{TITLES[name]} cannot run the model: {reason}", hint="leave --vs out") from None
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            times[key].append(_warm_seconds(run, inputs))
    executable.reset_state()
    return Race(name, median(times["ours"]), median(times["theirs"]), rounds, difference)


def _ours(executable: Executable, inputs: Mapping[str, Any]) -> list[Any]:
    executable.reset_state()
    return list(executable.run(inputs).values())


def _warm_seconds(run: Run, inputs: Mapping[str, Any]) -> float:
    """One call, after some that are not timed: threads of the other runtime go on spinning for a while."""
    end = perf_counter() + WARM
    while perf_counter() < end:
        run(inputs)
    start = perf_counter()
    run(inputs)
    return perf_counter() - start


def _difference(ours: Sequence[Any], theirs: Sequence[Any]) -> float | None:
    """The largest difference of any element, as a share of the largest; None where the shapes differ."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs)]
    if len(ours) != len(theirs) or any(a.shape != b.shape for a, b in pairs):
        return None
    if any(a.dtype.kind not in NUMERIC or b.dtype.kind not in NUMERIC for a, b in pairs):
        return 0.0 if all(np.array_equal(a, b) for a, b in pairs) else float("inf")
    apart = max((float(np.abs(a.astype(np.float64) - b).max(initial=0)) for a, b in pairs), default=0.0)
    largest = max((float(np.abs(b).max(initial=0)) for _, b in pairs), default=0.0)
    return apart / (largest or 1.0)


# ---- files


def write(profile: Profile, race: Race | None, trace: str | None, figures: str | None) -> Iterator[str]:
    """Write what is asked for: the timeline, and the figures; yields the files."""
    if trace:
        profile.trace(trace)
        yield trace
    if figures:
        content = {**profile.to_dict(), **({"versus": asdict(race)} if race else {})}
        write_atomically(figures, json.dumps(content, indent=1).encode())
        yield figures
