"""Where numbers stop being finite: a run that looks at the results of every node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backends.numpy.plan import Plan
from ..errors import RunError
from ..ir.graph import Node, Var

Array = np.ndarray[Any, Any]


class Watch:
    """Raises RunError at the first node that makes a NaN out of numbers.

    Infinities are no fault of themselves (masks are made of them), but the first one is kept in mind: it is where a
    NaN often comes from.  With `infinities` they are one.
    """

    def __init__(self, plan: Plan, infinities: bool = False) -> None:
        self.plan, self.infinities = plan, infinities
        self.first_infinite: Node | None = None

    def __call__(self, node: Node) -> None:
        for out in node.outputs:
            values = self._floats(out)
            if values is None or np.isfinite(values).all():
                continue
            if np.isnan(values).any() or self.infinities:
                raise self._error(node, values)
            self.first_infinite = self.first_infinite or node

    def _floats(self, var: Var) -> Array | None:
        """The elements of a value, if they are numbers that may be infinite."""
        array = self.plan.arrays.get(var, self.plan.loose.get(var))
        return array if isinstance(array, np.ndarray) and array.dtype.kind in "fc" else None

    def _error(self, node: Node, values: Array) -> RunError:
        count = int((~np.isfinite(values)).sum())
        lines = [f"{count} of {values.size} results of {node.op.name} are not finite:", f"    {node!r}"]
        for var in node.operands:
            array = None if var is None else self._floats(var)
            if array is not None and array.size:
                lines.append(f"    {var}: from {np.min(array):.4g} to {np.max(array):.4g}")
        first = self.first_infinite
        if first is not None:
            lines.append(f"    the first infinite result was made by {first.op.name} of {first.source or 'no layer'}")
        hint = "lower the learning rate, clip gradients, or look at the operands: a log or a division of 0?"
        return RunError("\n".join(lines), node=node.source or None, op=node.op.name, hint=hint)


def run_watched(program: Any, inputs: Sequence[Any], infinities: bool = False) -> list[Any]:
    """A run of a program with resident states under watch; where it fails, the states are what they were before."""
    program = program.whole  # no shards: a graph with states is never cut
    plan, key = program.take(inputs)
    before = {name: array.copy() for name, array in program.resident.items()}
    try:
        found: list[Any] = plan.run(inputs, Watch(plan, infinities))
        return found
    except RunError:
        for name, array in before.items():
            np.copyto(program.resident[name], array)
        raise
    finally:
        program.give_back(key, plan)
