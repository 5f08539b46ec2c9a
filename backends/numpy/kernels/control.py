"""Control flow: subgraphs come as functions on arrays that return a list of arrays.

They carry `output_types`, from which an empty result is made where a loop does not run at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ....errors import RunError
from ....ir.types import Tensor, Type
from ..registry import Array, function


class Body(Protocol):
    """A subgraph as a function."""

    output_types: Sequence[Type]

    def __call__(self, *arrays: Any) -> list[Any]: ...


def _truth(condition: Array) -> bool:
    return bool(np.asarray(condition).reshape(()))


@function
def if_(condition: Array, *args: Any, then: Body, orelse: Body) -> tuple[Any, ...]:
    return tuple((then if _truth(condition) else orelse)(*args))


@function
def loop(trip: Array | None, condition: Array | None, *args: Any, carried: int, body: Body) -> tuple[Any, ...]:
    state, captured = list(args[:carried]), args[carried:]
    limit = None if trip is None else int(np.asarray(trip).reshape(()))
    going = condition is None or _truth(condition)
    rows: list[list[Any]] = [[] for _ in body.output_types[1 + carried :]]
    i = 0
    while going and (limit is None or i < limit):
        found = body(np.array(i, np.int64), np.array(going), *state, *captured)
        going, state = _truth(found[0]), list(found[1 : 1 + carried])
        for row, value in zip(rows, found[1 + carried :]):
            row.append(value)
        i += 1
    return (*state, *(_stacked(row, t, 0) for row, t in zip(rows, body.output_types[1 + carried :])))


@function
def scan(
    *args: Any, carried: int, scanned: int, body: Body,
    input_axes: Sequence[int], output_axes: Sequence[int], input_reverse: Sequence[int], output_reverse: Sequence[int],
) -> tuple[Any, ...]:  # fmt: skip
    state, captured = list(args[:carried]), args[carried + scanned :]
    sources = [
        np.flip(np.moveaxis(x, axis, 0), 0) if reverse else np.moveaxis(x, axis, 0)
        for x, axis, reverse in zip(args[carried : carried + scanned], input_axes, input_reverse)
    ]
    lengths = {len(x) for x in sources}
    if len(lengths) != 1:
        raise RunError(f"the scanned tensors have different lengths: {sorted(lengths)}", op="scan")
    rows: list[list[Any]] = [[] for _ in body.output_types[carried:]]
    for slices in zip(*sources):
        found = body(*state, *slices, *captured)
        state = list(found[:carried])
        for row, value in zip(rows, found[carried:]):
            row.append(value)
    results = []
    for row, t, axis, reverse in zip(rows, body.output_types[carried:], output_axes, output_reverse):
        results.append(_stacked(row[::-1] if reverse else row, t, axis))
    return (*state, *results)


def _stacked(row: list[Any], t: Type, axis: int) -> Any:
    """What the iterations gave along a new axis; an empty array of the known rank where there was none."""
    if not isinstance(t, Tensor):
        return row
    if row:
        return np.stack(row, axis)
    if t.shape is None:
        raise RunError(f"a loop without iterations gives an empty result, but of {t} even the rank is not known")
    shape = [d if isinstance(d, int) and d >= 0 else 0 for d in t.shape]
    place = axis % (len(shape) + 1)
    return np.empty((*shape[:place], 0, *shape[place:]), t.dtype.numpy)
