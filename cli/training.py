"""The parts of `tenun train`: the model, what it is compiled with, the data."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LoadError, RunError, UnsupportedError

if TYPE_CHECKING:
    from ..training.model import Model

Array = np.ndarray[Any, Any]

OPTIMIZER = "adam"  # where neither file nor options name one


def check_output(file: str) -> None:
    """Errors about the place of the result come before the training, not after it."""
    suffix = Path(file).suffix
    if suffix != ".keras":
        raise UnsupportedError(f"cannot write {suffix or 'such'} files", file=file, hint="use .keras")
    if Path(file).is_dir() or not Path(file).resolve().parent.is_dir():
        what = "this is a folder" if Path(file).is_dir() else "the folder does not exist"
        raise LoadError(f"cannot write the file: {what}", file=file)


def loaded(file: str, seed: int | None) -> Model:
    """The model of a file, compiled as the file says; a seed makes all that follows repeatable."""
    from ..api import load_model
    from ..training.seeds import set_random_seed

    if seed is not None:
        set_random_seed(seed)
    return load_model(file)


def compile_as_told(
    model: Model, file: str, optimizer: str | None, rate: float | None, losses: Sequence[str], metrics: Sequence[str]
) -> None:
    """Compile with the options, and with what the file says for all that they leave out.

    The file's optimiser keeps its state, unless a new one is named.
    """
    told = model.settings
    if told is None and not losses:
        hint = "say what to train: --loss NAME, and --optimizer, --metric as you like"
        raise RunError("the model is not compiled, so its loss is not known", file=file, hint=hint)
    if told is None or optimizer or losses or metrics:
        state = None if told is None or optimizer else list(model.optimizer.variables.values())
        model.compile(
            optimizer or (OPTIMIZER if told is None else told.optimizer),
            loss=_one_or_all(losses) or (told and told.loss),
            loss_weights=told and told.loss_weights,
            metrics={output: list(metrics) for output in model.outputs} if metrics else told and told.metrics,
            weighted_metrics=told and told.weighted_metrics,
        )
        if state is not None:
            model.restore_optimizer(state)
    if rate is not None:
        model.optimizer.learning_rate = rate


def _one_or_all(losses: Sequence[str]) -> Any:
    return losses[0] if len(losses) == 1 else list(losses)


def read_data(model: Model, file: str, x: Sequence[str], y: Sequence[str]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Arrays by input and by output: those that x and y name, in order; else those that are called as one expects."""
    if Path(file).suffix.lower() != ".npz":
        raise UnsupportedError(f"cannot read data from {Path(file).suffix or 'such'} files", file=file, hint="use .npz")
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = archive.files
            chosen = [
                _chosen(list(wanted), given, letter, names, file)
                for wanted, given, letter in ((model.inputs, x, "x"), (model.outputs, y, "y"))
            ]
            inputs, targets = ({to: np.asarray(archive[name]) for to, name in each.items()} for each in chosen)
            return inputs, targets
    except FileNotFoundError:
        raise LoadError("the file does not exist", file=file) from None
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise LoadError(f"cannot read the .npz file: {reason}", file=file) from None


def _chosen(wanted: list[str], given: Sequence[str], letter: str, names: list[str], file: str) -> dict[str, str]:
    """The name of the array for every input (letter x) or output (letter y)."""
    hint = f"it holds {', '.join(names) or 'nothing'}; choose by --{letter} NAME"
    if given and len(given) != len(wanted):
        raise RunError(f"--{letter} is given {len(given)} times, the model takes {', '.join(wanted)}", file=file)
    if given:
        missing = [name for name in given if name not in names]
        found = dict(zip(wanted, given))
    else:
        usual = [letter, f"{letter}_train"] if len(wanted) == 1 else []
        found = {w: next((n for n in (w, *usual) if n in names), "") for w in wanted}
        missing = [" or ".join(dict.fromkeys((w, *usual))) for w, name in found.items() if not name]
    if missing:
        raise LoadError(f"the archive has no array {', '.join(missing)}", file=file, hint=hint)
    return found


def figure(value: Any) -> str:
    """A figure of the last epoch; those of metrics with one for each class in a row."""
    return " ".join(f"{v:.6g}" for v in np.ravel(value))
