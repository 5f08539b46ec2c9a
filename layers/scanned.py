"""Recurrences that are no op of their own: the steps of a cell as a `scan`, whose body is lowered like any layer.

A `Body` is the lowering of such a body.  Bodies are closed graphs: the weights that the layers in it use, and whatever
else is captured, become operands of the scan as they are met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import UnsupportedError
from ..ir import Builder, Graph, Tensor, Var
from ..ir.ops.control import control_node
from ..ir.shapes import dim, vector, zero
from .base import Mask
from .lowering import Activity, Lowering, Parameter

if TYPE_CHECKING:
    from .lowering import Scope

Step = Callable[[Any, list[Var], list[Var]], "tuple[Var, list[Var]]"]  # (body, slices, states) -> (output, states)
NO_STATE = "a layer inside of a recurrent cell keeps no state"


class _NoStates:
    """Stands where a lowering has its states: those of the model cannot change within a step."""

    def __contains__(self, name: str) -> NoReturn:
        raise UnsupportedError(f"{name!r} changes inside of a recurrent cell, in training", hint=NO_STATE)


class Body(Lowering):
    """The lowering of the body of a scan within another lowering."""

    def __init__(self, outer: Lowering) -> None:
        super().__init__(Builder(Graph("step"), source=outer.b.source), outer.live, outer.parameters)
        self.outer, self.forbid_state, self._paths = outer, NO_STATE, outer._paths
        self.captured: dict[Var, Var] = {}  # by what they are outside
        self.states: Any = _NoStates()

    def value(self, parameter: Parameter, live: bool) -> Var:
        if parameter.weight.kept:
            raise UnsupportedError(f"{parameter.path!r} draws random numbers inside of a recurrent cell")
        return self.capture(self.outer.value(parameter, live))

    def capture(self, var: Var) -> Var:
        """A value of the graph around, inside."""
        if var not in self.captured:
            self.captured[var] = self.b.input(f"captured{len(self.captured)}", var.type)
        return self.captured[var]

    def state(self, name: str, shape: tuple[int, ...], dtype_name: str) -> NoReturn:
        raise UnsupportedError(f"the state {name!r} is kept inside of a recurrent cell", hint=NO_STATE)


def scanned(
    w: Scope, step: Step, slices: Sequence[Var], mask: Mask, states: Sequence[Var], backwards: bool, zero_masked: bool
) -> tuple[Var, list[Var]]:
    """The outputs (N, T, ...) and the last states of a recurrence over slices (N, T, ...).

    step(body, slices, states) lowers one step, with `body.b` as its builder.  At a masked step states stay, and the
    output is that of the step before, or zero (at first it is always zero).
    """
    b, count = w.b, len(states)
    carried, sequences = list(states), list(slices)
    if mask is not None:
        output = _run(Body(w.lowering), step, sequences, carried)[0]
        carried.append(b.fill(zero(b, output), shape=vector(b, [dim(b, slices[0], 0), *output.shape[1:]])))
        sequences.append(mask)
    body = Body(w.lowering)
    inner = body.b
    before = [inner.input(f"state{i}", v.type) for i, v in enumerate(carried)]
    now = [inner.input(f"x{i}", _slice(v)) for i, v in enumerate(sequences)]
    output, after = step(body, now[: len(slices)], before[:count])
    after = [inner.cast_like(new, old) for new, old in zip(after, before)]
    if mask is not None:
        keep = now[-1]
        after = [_where(inner, keep, new, old) for new, old in zip(after, before)]
        output = _where(inner, keep, output, zero(inner, output) if zero_masked else before[-1])
        after.append(output)
    inner.outputs(*after, inner.identity(output))
    w.lowering.activities += [Activity(a.layer, None, a.steps) for a in body.activities]
    attrs = {
        "carried": len(carried), "scanned": len(sequences), "input_axes": (1,) * len(sequences),
        "input_reverse": (int(backwards),) * len(sequences), "output_axes": (1,), "output_reverse": (int(backwards),),
    }  # fmt: skip
    made = control_node(b, "scan", [*carried, *sequences, *body.captured], attrs, {"body": inner.graph}).outputs
    return made[-1], list(made[:count])


def _run(body: Body, step: Step, slices: Sequence[Var], states: Sequence[Var]) -> tuple[Var, list[Var]]:
    """A step on its own: what types it gives."""
    inputs = [body.b.input(f"x{i}", _slice(v)) for i, v in enumerate(slices)]
    return step(body, inputs, [body.b.input(f"state{i}", v.type) for i, v in enumerate(states)])


def _slice(x: Var) -> Tensor:
    """The type of one step of x."""
    return x.tensor.with_(shape=(x.shape[0], *x.shape[2:]))


def _where(b: Builder, keep: Var, new: Var, old: Var) -> Var:
    """new for the samples that are kept, else old."""
    rank = len(new.shape)
    return b.where(b.unsqueeze(keep, axes=tuple(range(1, rank))) if rank > 1 else keep, new, old)  # type: ignore[no-any-return]
