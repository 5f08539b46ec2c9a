"""The table of gradients: op name -> its rule.  One file a family, mirrored on `ir/ops/`.

    @rule
    def mul(b, x, y, g):
        return b.mul(g, y), b.mul(g, x)

A rule gets the builder, the operands (variadic ones as one list), the gradient of the result (a list with None for
results that nobody reads, where the op has several), and by keyword those of the op's attributes that it names;
`out` is the result itself.  It returns one gradient for each operand, None where there is none.  Broadcasting is
undone, and gradients are summed, by the engine.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ....ir.builder import Builder
from ....ir.graph import Node, Var

Gradients = Sequence[Var | None]
RULES: dict[str, Callable[[Builder, Node, list[Var | None]], Gradients]] = {}


def rule(call: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    """Enter a rule into the table under its own name (a trailing underscore aside)."""
    key = name or call.__name__.rstrip("_")
    assert key not in RULES, f"the rule of {key} is there twice"
    keywords = [p.name for p in inspect.signature(call).parameters.values() if p.kind is p.KEYWORD_ONLY]

    def apply(b: Builder, node: Node, above: list[Var | None]) -> Gradients:
        op = node.op
        operands: list[Any] = list(node.operands[: op.slots])
        if op.variadic:
            operands.append(list(node.operands[op.slots :]))
        given = {k: (node.outputs if op.many else node.output) if k == "out" else node.attrs[k] for k in keywords}
        result = call(b, *operands, above if op.many else above[0], **given)
        return list(result) if isinstance(result, (tuple, list)) else [result]

    RULES[key] = apply
    return call


from . import elementwise, linalg, reduce, shape  # noqa: E402, F401 - fill the table
