"""A kernel whose op has the trait `inplace` may write its result over any operand of the result's type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenun.backends.numpy.evaluate import evaluate, flat_steps, kernel_of
from tenun.errors import TenunError
from tenun.ir.op import OPS, Op, infer
from tenun.ir.types import f32, type_of

INPLACE = sorted(name for name, op in OPS.items() if op.has("inplace") and not op.graphs)
SHAPES = [((5, 7), (5, 7), (5, 7)), ((5, 7), (7,), (5, 1)), ((7,), (5, 7), (5, 7)), ((5, 1), (5, 7), ())]


def operands(op: Op, shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray[Any, Any]]:
    """Operands of the first dtypes that the op takes."""
    generator = np.random.default_rng(0)
    for kinds in ("fff", "iii", "bbb", "bff"):
        arrays = []
        for kind, shape in zip(kinds, shapes[: op.slots]):
            numbers = generator.uniform(0.1, 0.9, shape)
            arrays.append(
                np.asarray(
                    {"f": numbers.astype(np.float32), "i": (numbers * 9).astype(np.int32) + 1, "b": numbers > 0.5}[kind]
                )
            )
        try:
            evaluate(op, arrays, attributes(op))
        except (TenunError, TypeError):
            continue
        return arrays
    raise AssertionError(f"no operands for {op.name}")


def attributes(op: Op) -> dict[str, Any]:
    """Attributes at their defaults, bounds and dtypes given."""
    given = {"low": 0.3, "high": 0.6, "to": f32}
    return {name: given.get(name, a.default) for name, a in op.attributes.items()}


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", INPLACE)
def test_out_may_be_an_operand(name: str, shapes: Any) -> None:
    op = OPS[name]
    arrays = operands(op, shapes)
    attrs = attributes(op)
    with np.errstate(all="ignore"):
        (want,) = evaluate(op, arrays, attrs)
        (result,) = infer(op, tuple(map(type_of, arrays)), attrs)
        for i, array in enumerate(arrays):
            if type_of(array) != result:
                continue
            copies = [a.copy() for a in arrays]
            row = kernel_of(op)
            assert row.form == "kernel", f"{name} is in place but not bound"
            for step in flat_steps(row.call(*copies, **attrs, out=copies[i], scratch=np.empty)):
                step()
            np.testing.assert_array_equal(copies[i], want)
