"""Gradients of recurrent layers: ops of their own, which go back through time.

`ir/recurrence.py` has each layer once more as a scan over elementary ops.  The gradients of the gradient ops are those
of the scan's gradients; so are those of activations which the gradient ops do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from ....errors import UnsupportedError
from ....ir.attributes import Activation
from ....ir.builder import Builder
from ....ir.graph import Var
from ....ir.op import lookup
from ....ir.ops.recurrent import DIFFERENTIABLE
from ....ir.recurrence import FORMS
from ..emit import full_like, through
from . import Gradients, rule

Some = list["Var | None"]
MASK = 4  # the place of the mask among the operands


def _first(name: str, b: Builder, *given: Any, **attrs: Any) -> Gradients:
    """By the gradient op; by the scan where that does not know an activation."""
    *operands, above = given
    if not all(a.name in DIFFERENTIABLE for a in attrs.values() if isinstance(a, Activation)):
        return through(b, partial(FORMS[name], **attrs), operands, above)
    found: Some = list(getattr(b, f"{name}_grad")(*operands, *above, **attrs))
    found.insert(MASK, None)
    return [v and g for v, g in zip(operands, found)]


def _second(name: str, b: Builder, *given: Any, out: Sequence[Var], **attrs: Any) -> Gradients:
    """Of the gradients of the scan; operands that were left out count as zeros where their gradient is read.

    A record says nothing that the operands before it do not say.
    """
    *operands, above = given
    known = [v for v, i in zip(operands, lookup(f"{name}_grad").inputs) if i.name != "record"]
    count = len(lookup(name).inputs)

    def first(b: Builder, *values: Any) -> Some:
        forward = list(values[:count])
        for place, (like, g) in zip([i for i in range(count) if i != MASK], zip(out, above)):
            if forward[place] is None and g is not None:
                forward[place] = full_like(b, like, 0)
        found = through(b, partial(FORMS[name], **attrs), forward, values[count:])
        return [*found[:MASK], *found[MASK + 1 :]]

    return [*through(b, first, known, above), *(None for _ in operands[len(known) :])]


def _recorded(name: str, b: Builder, *given: Any, out: Sequence[Var], **attrs: Any) -> Gradients:
    """By the gradient op, which reads the record; nothing else may."""
    *operands, above = given
    if above[-1] is not None:
        raise UnsupportedError(f"the record of {name} has no gradient", hint=f"it is for {name}_grad alone")
    found: Some = list(getattr(b, f"{name}_grad")(*operands, *above[:-1], out[-1], **attrs))
    found.insert(MASK, None)
    return [v and g for v, g in zip(operands, found)]


for _name in FORMS:
    rule(partial(_recorded, _name), f"{_name}_record", ("out", *lookup(_name).attributes))
    rule(partial(_first, _name), _name, tuple(lookup(_name).attributes))
    rule(partial(_second, _name), f"{_name}_grad", ("out", *lookup(_name).attributes))
