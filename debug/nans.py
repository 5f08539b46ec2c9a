"""Where numbers stop being finite: runs that look at the results of every node, and go back from what they spoil.

A NaN or an infinity is no fault of itself.  Masks are made of -inf, `where` throws away the half of a division by 0
that nobody asked for, and a step in float16 is skipped where its gradients overflow.  So a step runs to its end first.
It is at fault if a loss or the next value of a state is not finite; then the way back leads from there, from a result
that is not finite to the operand that was so first, to the node that made a NaN or an infinity out of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.numpy.plan import Plan
from ..errors import RunError, TenunError
from ..ir.graph import Node, Var

Array = np.ndarray[Any, Any]

HINTS = {
    "log": "the logarithm of numbers that are not above 0: clip them, or use a loss with from_logits=True",
    "log1p": "the logarithm of numbers that are not above 0: clip them",
    "log2": "the logarithm of numbers that are not above 0: clip them",
    "div": "a division by 0: add a small number to the divisor",
    "reciprocal": "a division by 0: add a small number to the divisor",
    "sqrt": "the root of numbers below 0, or its gradient at 0: add a small number",
    "rsqrt": "the root of numbers that are not above 0: add a small number",
    "pow": "a power of 0 or of numbers below 0: clip the base",
    "exp": "the exponential overflows: clip its operand, or lower the learning rate",
    "where": "targets that are no class of the output make the loss NaN",
}
SHOWN = 3  # outputs in a message
ANY_HINT = "lower the learning rate, clip gradients, or scale the inputs"


@dataclass(frozen=True)
class Fault:
    """What is not finite in a value: numbers of elements; `order` tells which value was so first."""

    order: int
    nans: int
    infinities: int
    size: int


class Watch:
    """Keeps in mind which values of a run are not finite; to be called after each node."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.faults: dict[Var, Fault] = {}
        self._views: dict[Var, list[Var]] = {}
        for view, (_, source) in plan.storage.view_of.items():
            self._views.setdefault(source, []).append(view)

    def inputs(self) -> None:
        """Look at the inputs and states, which have to be in their places."""
        for var in self.plan.graph.inputs:
            self._look(var)

    def __call__(self, node: Node) -> None:
        for out in node.outputs:
            self._look(out)

    def _look(self, var: Var) -> None:
        """Look at a value, and at its views: those have no step of their own."""
        array = floats(self.plan, var)
        if array is None:
            return
        finite = np.isfinite(array)
        if not finite.all():
            nans = int(np.isnan(array).sum())
            self.faults[var] = Fault(len(self.faults), nans, int(array.size - finite.sum()) - nans, array.size)
        for view in self._views.get(var, ()):
            self._look(view)

    # ---- whom to blame

    def spoiled(self) -> list[str]:
        """The outputs that are not finite, by name."""
        graph = self.plan.graph
        return [name for name, var in zip(graph.output_names, graph.outputs) if var in self.faults]

    def culprit(self) -> Var:
        """Where the first output that is not finite got it from: an input, or the result of a node."""
        outputs = [v for v in self.plan.graph.outputs if v in self.faults]
        return self._origin(outputs[0], nan=self.faults[outputs[0]].nans > 0)

    def infinite(self, culprit: Var) -> Var | None:
        """Where the infinity came from that a node made a NaN of; None if it read none."""
        operands = [] if culprit.producer is None else self._spoiled_operands(culprit.producer)
        return self._origin(operands[0], nan=False) if operands and self.faults[culprit].nans else None

    def first(self) -> Var | None:
        """The first value that is not finite, of whatever use it is."""
        return next(iter(self.faults), None)

    def _origin(self, var: Var, nan: bool) -> Var:
        """The way back: to a NaN among the operands of a NaN, else to an infinity where one is looked for."""
        while var.producer is not None:
            operands = [v for v in self._spoiled_operands(var.producer) if self.faults[v].nans or not nan]
            if not operands:
                break
            var = operands[0]
        return var

    def _spoiled_operands(self, node: Node) -> list[Var]:
        """The operands that are not finite, that which was so first in front.  Constants are meant as they are."""
        found = {v for v in node.inputs if v is not None and v in self.faults}
        return sorted(found, key=lambda v: self.faults[v].order)


def floats(plan: Plan, var: Var) -> Array | None:
    """The elements of a value, if they are numbers that may be infinite."""
    array = plan.arrays.get(var, plan.loose.get(var))
    if not isinstance(array, np.ndarray) or array.dtype.kind in "biuOSU":
        return None
    return array if array.dtype.kind in "fc" else array.astype(np.float32)  # the small floats of ml_dtypes


def run_watched(program: Any, inputs: Sequence[Any], infinities: bool = False, where: str = "") -> list[Any]:
    """A run of a program with resident states, under watch.

    RunError names the node that spoiled the loss or a state; with `infinities` the first one that made anything not
    finite, whether it matters or not.  Then the states are what they were before.  `where` tells the run in messages.
    """
    plan, key = program.whole.take(inputs)  # no shards: a graph with states is never cut
    before = {name: array.copy() for name, array in plan.resident.items()}
    watch = Watch(plan)
    try:
        results = _run(program, plan, inputs, watch.inputs, watch)
        culprit = watch.first() if infinities else watch.culprit() if watch.spoiled() else None
        if culprit is None:
            return results
        _restore(plan, before)
        operands = _operands(program, plan, inputs, culprit)
        raise _error(watch, culprit, operands, where)
    except TenunError:
        _restore(plan, before)
        raise
    finally:
        program.whole.give_back(key, plan)


def _run(
    program: Any, plan: Plan, inputs: Sequence[Any], first: Callable[[], None], watch: Callable[[Node], None]
) -> list[Any]:
    """A run; `first` is called when the inputs are in their places."""
    plan.feed(inputs)
    first()
    with program.running(plan):
        return plan.run(inputs, watch)


def _restore(plan: Plan, before: dict[str, Array]) -> None:
    for name, array in before.items():
        np.copyto(plan.resident[name], array)


def _operands(program: Any, plan: Plan, inputs: Sequence[Any], culprit: Var) -> list[str]:
    """The operands of the node at fault, in lines.

    The same run once more: the node may have written over its operands, so they have to be looked at before it runs.
    """
    node = culprit.producer
    if node is None:
        return []
    lines: list[str] = []

    def look() -> None:
        lines[:] = [line for v in dict.fromkeys(node.operands) if v is not None for line in _range(plan, v)]

    steps = list(dict.fromkeys(plan.origin))
    place = steps.index(node)
    before = steps[place - 1] if place else None
    _run(program, plan, inputs, look, lambda done: look() if done is before else None)
    return lines


def _range(plan: Plan, var: Var) -> Iterator[str]:
    array = plan.arrays.get(var, plan.loose.get(var))
    if not isinstance(array, np.ndarray) or not array.size or array.dtype.kind in "OSUc":
        return
    numbers = array[~np.isnan(array)] if floats(plan, var) is not None else array
    span = f"from {np.min(numbers):.4g} to {np.max(numbers):.4g}" if numbers.size else "nothing but NaN"
    missing = f", {array.size - numbers.size} NaN" if 0 < numbers.size < array.size else ""
    yield f"    {'@' if var.constant is not None else '%'}{var.name}: {var.type}: {span}{missing}"


def _error(watch: Watch, culprit: Var, operands: list[str], where: str) -> RunError:
    """What happened, where, on what, and what comes of it."""
    fault, node = watch.faults[culprit], culprit.producer
    kinds = [f"{n} {what}" for n, what in ((fault.nans, "NaN"), (fault.infinities, "infinite")) if n]
    figures = f"{' and '.join(kinds)} of {fault.size}"
    spoiled = watch.spoiled()
    after = ", ".join(spoiled[:SHOWN]) + ", ..." * (len(spoiled) > SHOWN)
    reach = [f"    not finite because of that: {after}"] if spoiled else []
    if node is None:
        lines = [f"input {culprit.name!r} is not finite{where}: {figures}", *reach]
        return RunError("\n".join(lines), node=culprit.name, hint="look at the data, or at the weights that were set")
    lines = [f"results of {node.op.name} are not finite{where}: {figures}", f"    {node!r}", *operands]
    source = watch.infinite(culprit)
    if source is not None:
        lines.append(f"    the first infinite {_maker(source)}")
    hint = HINTS.get(node.op.name, ANY_HINT)
    return RunError("\n".join([*lines, *reach]), node=node.source or None, op=node.op.name, hint=hint)


def _maker(var: Var) -> str:
    node = var.producer
    if node is None:
        return f"number came in by {var.name!r}"
    return f"result was made by {node.op.name} of {node.source or 'no layer'}"
