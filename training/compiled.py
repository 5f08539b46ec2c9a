"""What `compile` was told, settled for the outputs of a model: which loss and metrics belong to which output.

Rules and names are Keras' (keras/src/trainers/compile_utils.py): one loss for all outputs, or a list or dict with one
for each; metrics likewise; `accuracy` means what the shapes of targets and predictions say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import UnsupportedError
from ..ir.types import Tensor
from . import losses, metrics
from .optimizers import OPTIMIZERS, Optimizer

CROSSENTROPIES = ("crossentropy", "ce")
METRICS = "metrics/"  # the names of accumulators start so


@dataclass(frozen=True)
class Target:
    """A loss of one output; `label` is its name in the logs of a model with several."""

    output: str
    loss: losses.Loss
    weight: float | None
    label: str


@dataclass(frozen=True)
class Measure:
    """A metric of one output; `label` is its name in the logs."""

    output: str
    metric: metrics.Metric
    weighted: bool
    label: str

    def state(self, variable: str) -> str:
        """The name of the state that holds an accumulator."""
        return f"{METRICS}{self.label}/{variable}"


@dataclass
class Settings:
    """The arguments of `compile` that say what to train; identifiers as the user gave them."""

    optimizer: Optimizer
    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None
    custom_objects: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, optimizer: Any, **arguments: Any) -> Settings:
        """Settings with the optimiser looked up."""
        return cls(OPTIMIZERS.get(optimizer), **arguments)

    def scaled(self) -> Settings:
        """The settings with a loss that is scaled as float16 needs it."""
        if isinstance(self.optimizer, OPTIMIZERS.classes["LossScaleOptimizer"]):
            return self
        return replace(self, optimizer=OPTIMIZERS.classes["LossScaleOptimizer"](self.optimizer))  # type: ignore[call-arg]

    def targets(self, outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> list[Target]:
        """The losses, in the order of the outputs; `labels` are the types of the targets given."""
        weights = _by_output(self.loss_weights, outputs, "loss_weights")
        found = []
        for name, given in _by_output(self.loss, outputs, "loss").items():
            each = list(given) if isinstance(given, (list, tuple)) else [given]
            several = weights.get(name)
            for i, identifier in enumerate(each):
                if identifier is None:
                    continue
                if name not in labels:
                    raise UnsupportedError(f"output {name!r} has a loss, but no target is given for it", node=name)
                loss = _loss(identifier, labels[name], outputs[name])
                weight = several[i] if isinstance(several, (list, tuple)) else several
                found.append(Target(name, loss, None if weight is None else float(weight), f"{name}_loss"))
        return found

    def measures(self, outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> list[Measure]:
        """The metrics, under Keras' names: with the output's name in front where there are several outputs."""
        found: list[Measure] = []
        used: dict[str, int] = {}
        for weighted, given in ((False, self.metrics), (True, self.weighted_metrics)):
            for name, identifiers in _metrics_by_output(given, outputs).items():
                for identifier in identifiers:
                    if identifier is None or name not in labels:
                        continue
                    loss = _by_output(self.loss, outputs, "loss").get(name)
                    metric = metrics.resolve(identifier, labels[name], outputs[name], loss)
                    label = metric.name if len(outputs) == 1 else f"{name}_{metric.name}"
                    found.append(Measure(name, metric, weighted, _unique(label, used, weighted)))
        return found


def _unique(label: str, used: dict[str, int], weighted: bool) -> str:
    """The label itself at first; `weighted_` in front, or a number behind, for those that are there already."""
    if weighted and label in used and f"weighted_{label}" not in used:
        label = f"weighted_{label}"
    number = used.get(label, 0)
    used[label] = number + 1
    return f"{label}_{number}" if number else label


def _loss(identifier: Any, target: Tensor, prediction: Tensor) -> losses.Loss:
    if isinstance(identifier, str) and identifier.lower() in CROSSENTROPIES:
        identifier = losses.crossentropy_kind(target, prediction) + "_crossentropy"
    return losses.LOSSES.get(identifier)


def _by_output(given: Any, outputs: Mapping[str, Any], what: str) -> dict[str, Any]:
    """One value for each output; UnsupportedError where the form of `given` does not fit them."""
    names = list(outputs)
    if isinstance(given, Mapping) and "class_name" not in given:
        unknown = [k for k in given if k not in outputs]
        if unknown:
            raise UnsupportedError(f"{what} names outputs {unknown} that the model does not have: it has {names}")
        return {n: given.get(n) for n in names}
    if isinstance(given, (list, tuple)):
        if len(names) == 1:
            return {names[0]: given[0] if len(given) == 1 else given}
        if len(given) != len(names):
            raise UnsupportedError(f"{what} has {len(given)} entries, the model has the outputs {names}")
        return dict(zip(names, given))
    return dict.fromkeys(names, given)


def _metrics_by_output(given: Any, outputs: Mapping[str, Any]) -> dict[str, list[Any]]:
    """A list of metrics for each output."""
    if not given:
        return {}
    if len(outputs) == 1:
        flat = list(given.values()) if isinstance(given, Mapping) and "class_name" not in given else given
        each = flat if isinstance(flat, (list, tuple)) else [flat]
        found = [m for part in each for m in (part if isinstance(part, (list, tuple)) else [part])]
        return {next(iter(outputs)): found}
    if not isinstance(given, (Mapping, Sequence)) or isinstance(given, str):
        raise UnsupportedError(f"metrics={given!r}: with several outputs, give a list or a dict with one entry each")
    chosen = _by_output(given, outputs, "metrics")
    return {n: list(m) if isinstance(m, (list, tuple)) else [m] for n, m in chosen.items() if m is not None}
