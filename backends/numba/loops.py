"""Loops over the elements of arrays of one shape, compiled from text: what chains and single elementwise ops become."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ..numpy.kernels.chains import merged_axes, spread_to
from ..numpy.registry import Array, Step
from .compiler import Call, from_text
from .crew import shares, together
from .expressions import DTYPES, scope
from .vectors import LANES

AXES = 3  # of arrays that a loop goes over
FLOPS = 8  # what one line counts for where work is shared out


@dataclass(frozen=True)
class Body:
    """What is computed: lines that make values from operands u0, u1, ... and from one another, and those that are
    stored; dtypes of operands and results by name."""

    lines: tuple[str, ...]
    results: tuple[str, ...]
    operand_dtypes: tuple[str, ...]
    result_dtypes: tuple[str, ...]


def loop_over(body: Body, operands: Sequence[Array], outs: Sequence[Array]) -> list[Step] | None:
    """Steps that compute a body; None where the arrays do not lie so that a loop over at most AXES axes is enough.

    Operands broadcast to the shape of the results; an operand may be a result's own array.
    """
    shape = outs[0].shape
    if not {*body.operand_dtypes, *body.result_dtypes} <= set(DTYPES):
        return None
    if not outs[0].size:
        return []
    wide = [spread_to(a, shape) for a in operands]
    merged = merged_axes(shape, [a for a in (*wide, *outs) if a.shape == shape])
    if len(merged) > AXES:
        return None
    flat = (*(1,) * (AXES - len(merged)), *merged)
    given = [a.reshape(flat) if a.shape == shape else np.broadcast_to(a, flat) for a in wide]
    targets = [a.reshape(flat) for a in outs]
    spread = tuple(a.strides[-1] == 0 for a in given)
    dense = [a for a, one in zip(given, spread) if not one] + targets
    if flat[-1] > 1 and any(a.strides[-1] != a.itemsize for a in dense):
        return None
    run = _compiled(body, spread if flat[-1] > 1 else (False,) * len(spread))
    return together([[_call(run, part, given, targets)] for part in _parts(flat, len(body.lines))])


def _parts(shape: Sequence[int], lines: int) -> list[tuple[slice, ...]]:
    """The whole, or halves of the longest axis if they are work enough."""
    axis = max(range(AXES), key=lambda i: shape[i])
    pieces = shares(shape[axis], math.prod(shape) * max(lines, 1) * FLOPS, most=2, unit=LANES)
    return [(*(slice(None),) * axis, piece) for piece in pieces]


def _call(run: Any, part: tuple[slice, ...], operands: Sequence[Array], outs: Sequence[Array]) -> Step:
    arrays = [a[part] for a in (*operands, *outs)]
    places = [number for a in arrays for number in (a, *a.strides[:-1])]
    return Call(run, *arrays[-1].shape, *places)


@cache
def _compiled(body: Body, spread: tuple[bool, ...]) -> Any:
    return from_text("chain", _text(body, spread), scope())


def _text(body: Body, spread: Sequence[bool]) -> str:
    """The source of the function: sizes of the axes, then of each array its address and strides."""
    operands = list(enumerate(body.operand_dtypes))
    results = list(enumerate(body.result_dtypes))
    names = [f"x{i}" for i, _ in operands] + [f"y{i}" for i, _ in results]
    rows = [f"{n}_row = {n} + i * {n}_0 + j * {n}_1" for n in names]
    rows += [f"u{i} = load_one_{dtype}(x{i}_row)" for i, dtype in operands if spread[i]]

    def inner(some: str, count: str) -> list[str]:
        loads = [f"u{i} = load{some}_{d}({_at('x', i, d)}{count})" for i, d in operands if not spread[i]]
        return [*loads, *body.lines, *(
            f"store{some}({_at('y', i, d)}, {name}{count})" for (i, d), name in zip(results, body.results)
        )]  # fmt: skip

    lines = [
        f"def chain(n, m, size, {', '.join(f'{n}, {n}_0, {n}_1' for n in names)}):",
        "    for i in range(n):",
        "        for j in range(m):",
        *(f"            {row}" for row in rows),
        "            k = 0",
        "            while k + LANES <= size:",
        *(f"                {line}" for line in inner("", "")),
        "                k += LANES",
        "            if k < size:",
        *(f"                {line}" for line in inner("_some", ", size - k")),
    ]
    return "\n".join(lines) + "\n"


def _at(letter: str, number: int, dtype: str) -> str:
    """The place of element k in the row of an array."""
    return f"{letter}{number}_row + {np.dtype(dtype).itemsize} * k"
