"""The graph of one step: forward, loss, regularisation, backward, optimiser, metrics, all of it one graph.

    step(model, settings, targets, weights, train=True)

Weights, optimiser slots, moving averages, seeds and the metrics' accumulators are states of the graph: it is compiled
like every other one, and its states are changed in place.  A step that only evaluates has the same form without what
learns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..errors import TenunError
from ..ir import Builder, Graph, Tensor, Var, dtype, symbol
from ..ir.states import States
from ..layers import Layer, Lowering, Parameter, Value
from ..layers.lowering import Activity
from ..layers.whole import Lowered, lower_model
from ..passes.autodiff.emit import count
from ..passes.autodiff.engine import gradients_or_none
from . import constraints, regularizers
from .compiled import Measure, Settings, Target
from .losses import divide_no_nan
from .optimizers import Trainable

LOSS = "loss"


@dataclass(frozen=True)
class Step:
    """A step's graph, what it computes, and the weights it reads.

    Inputs: the model's, then `target/<output>` and `weight/<output>`; outputs: `loss`, then the loss of each target.
    """

    graph: Graph
    targets: list[Target]
    measures: list[Measure]
    parameters: list[Parameter]

    @property
    def losses(self) -> list[str]:
        """The names in the logs of the single losses, which are told apart only where there are several."""
        return [t.label for t in self.targets] if len(self.targets) > 1 else []


def step(
    model: Layer, settings: Settings, targets: Mapping[str, Tensor], weights: Mapping[str, Tensor],
    order: Sequence[Layer], train: bool,
) -> Step:  # fmt: skip
    """The step for targets and sample weights of given types, by the output that they belong to.

    order: all layers, in the order in which Keras lists their variables.
    """
    made = _forward(model, settings, targets, weights, train)
    lowering, b, states = made.lowering, made.lowering.b, made.lowering.states
    outputs = {name: value.var.tensor for name, value in made.lowered.outputs.items()}
    parameters = [p for layer in order for p in lowering.parameters.get(layer, ())]
    if train:
        _learn(b, states, settings, made.total, [p for p in parameters if p.trained])
    measures = settings.measures(outputs, targets)
    for measure in measures:
        _measure(b, states, measure, made.lowered.outputs[measure.output], made.labels, made.importance)
    single = made.single if len(made.single) > 1 else []
    graph = lowering.finish([made.total, *single], [LOSS, *(f"loss {i}" for i in range(len(single)))])
    lowering.fill()
    return Step(graph, made.goals, measures, parameters)


def loss_graph(
    model: Layer, settings: Settings, targets: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[Graph, list[Parameter]]:
    """The loss in training as a function of inputs, targets and weights of the model, and those weights."""
    made = _forward(model, settings, targets, weights, True)
    graph = made.lowering.finish([made.total], [LOSS])
    made.lowering.fill()
    declared = [p for found in made.lowering.parameters.values() for p in found]
    return graph, [p for p in declared if p.trained and p.name in made.lowering.states]


class Forward(NamedTuple):
    """What a step begins with: the model lowered, its targets and sample weights, its losses and their sum."""

    lowering: Lowering
    lowered: Lowered
    labels: dict[str, Var]
    importance: dict[str, Var]
    goals: list[Target]
    single: list[Var]
    total: Var


def _forward(
    model: Layer, settings: Settings, targets: Mapping[str, Tensor], weights: Mapping[str, Tensor], train: bool
) -> Forward:
    """The model and its losses in a new graph."""
    lowering = Lowering(live=True)
    lowered = lower_model(model, lowering, training=train)
    b = lowering.b
    b.graph.metadata.clear()
    labels = {name: b.input(f"target/{name}", t) for name, t in targets.items()}
    importance = {name: b.input(f"weight/{name}", t) for name, t in weights.items()}
    outputs = {name: value.var.tensor for name, value in lowered.outputs.items()}
    goals = settings.targets(outputs, targets)
    single = [_loss(b, goal, lowered, labels, importance) for goal in goals]
    total = _total(b, goals, single, penalties(lowering))
    return Forward(lowering, lowered, labels, importance, goals, single, total)


def _loss(b: Builder, goal: Target, lowered: Lowered, labels: Mapping[str, Var], importance: Mapping[str, Var]) -> Var:
    """The loss of one output, a scalar."""
    value = lowered.outputs[goal.output]
    with b.at(f"loss/{goal.output}"):
        return goal.loss(b, labels[goal.output], value.var, importance.get(goal.output), value.mask)


def _total(b: Builder, goals: Sequence[Target], single: Sequence[Var], more: Sequence[Var]) -> Var:
    """The weighted sum of all losses, and the penalties; in float32."""
    with b.at("loss"):
        parts = [v if g.weight is None else b.mul(v, g.weight) for g, v in zip(goals, single)] + list(more)
        if not parts:
            raise TenunError("there is no loss to compute", hint="give compile() a loss")
        total = b.cast(parts[0], to="f32") if parts[0].tensor.dtype.bits < 32 else parts[0]
        for part in parts[1:]:
            total = b.add(total, b.cast_like(part, total))
        return total


def penalties(lowering: Lowering) -> list[Var]:
    """The penalties of all regularisers: on outputs, then on the weights in training, each a scalar."""
    b, found = lowering.b, []
    for activity in lowering.activities:
        with b.at(f"loss/{activity.layer.name}"):
            regularizer = regularizers.get(activity.layer.activity)
            for output in _outputs(b, activity, getattr(regularizer, "additive", False)):
                penalty = regularizer(b, output)
                if output.shape:  # of one sample, as Keras has it
                    penalty = divide_no_nan(b, penalty, b.cast_like(count(b, output, (0,)), penalty))
                found.append(penalty)
    for parameters in lowering.parameters.values():
        for p in parameters:
            penalty = regularizers.get(p.weight.regularizer)
            if penalty is not None and p.trained:
                with b.at(f"loss/{p.name}"):
                    found.append(penalty(b, lowering.value(p, live=True)))
    return found


def _outputs(b: Builder, activity: Activity, together: bool) -> list[Var]:
    """The outputs that a penalty is for: one for each step, where it cannot take them together."""
    layer, output, steps = activity
    if output is None:
        layer.refuse("activity_regularizer", hint="give it to the layer around the cell")
    assert output is not None
    found = [output]
    for _ in range(0 if together else steps):
        count = found[0].shape[1]
        if not isinstance(count, int):
            layer.refuse("activity_regularizer", hint="give the input of TimeDistributed a known number of steps")
        found = [b.gather(v, np.int64(i), axis=1) for v in found for i in range(count)]
    return found


def _learn(b: Builder, states: States, settings: Settings, total: Var, parameters: Sequence[Parameter]) -> None:
    """Differentiate the loss, and write what the optimiser makes of the parameters."""
    optimizer = settings.optimizer
    read = [p for p in parameters if p.name in states]
    current = [states.read(p.name, None) for p in read]
    versions = [states.versions(p.name) for p in read]  # several, where a layer gives a weight another value
    with b.at("gradient"):
        loss = optimizer.scale_loss(b, states, total)
        each = iter(gradients_or_none(b, [loss], [v for own in versions for v in own]))
        found = [_sum(b, [g for g in (next(each) for _ in own) if g is not None]) for own in versions]
    rows = [
        Trainable(p.name, var, g, p.shape, p.dtype, constraints.get(p.weight.constraint))
        for p, var, g in zip(read, current, found)
    ]
    with b.at("optimizer"):
        for p, new in zip(read, optimizer.apply(b, states, rows)):
            states.write(p.name, new)


def _sum(b: Builder, gradients: Sequence[Var]) -> Var | None:
    """The sum of gradients with respect to a weight as it was at different times; None if there are none."""
    return reduce(b.add, gradients) if gradients else None


def _measure(
    b: Builder, states: States, measure: Measure, value: Value, labels: Mapping[str, Var],
    importance: Mapping[str, Var],
) -> None:  # fmt: skip
    """Move a metric's accumulators; only weighted metrics see sample weights."""
    label = labels[measure.output]
    weight = importance.get(measure.output) if measure.weighted else None
    with b.at(f"metrics/{measure.label}"):
        shapes = measure.metric.variables(label.tensor, value.var.tensor)
        state = {k: states.read(measure.state(k), np.zeros(shape, np.float32)) for k, shape in shapes.items()}
        for k, new in measure.metric.update(b, state, label, value.var, weight, mask=value.mask).items():
            states.write(measure.state(k), new)


def compiled_type(array: Any, output: Tensor | None, batch: Any) -> Tensor:
    """The type of a target or weight: the batch and the output's symbols where they stand, else the array's sizes."""
    sizes: list[Any] = list(array.shape)
    if output is not None and output.shape is not None:
        for i, d in enumerate(output.shape[: len(sizes)]):
            if not isinstance(d, int):
                sizes[i] = d
    if sizes:
        sizes[0] = batch if batch is not None else symbol("N")
    return Tensor(dtype(array), tuple(sizes))
