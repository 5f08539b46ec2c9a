"""The table of gradients: op name -> its rule.  One file a family, mirrored on `ir/ops/`.

    @rule
    def mul(b, x, y, g):
        return b.mul(g, y), b.mul(g, x)

A rule gets the builder, the operands (variadic ones as one list), the gradient of the result (a list with None for
results that nobody reads, where the op has several), and by keyword those of the op's attributes that it names;
`out` is the result itself.  An attribute whose annotation mentions `Var` may be one that is known at run time only.
A rule returns one gradient for each operand, None where there is none.  Broadcasting and fused activations are undone,
and gradients are summed, by the engine.

    @form
    def dequantize(b, x, scale, zero_point, *, to, axis, block_size):
        ...

A form is the op itself in other ops, whose rules give its gradients.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ....errors import UnsupportedError
from ....ir.builder import Builder
from ....ir.graph import Node, Var
from ..emit import through

Gradients = Sequence[Var | None]
RULES: dict[str, Callable[[Builder, Node, list[Var | None]], Gradients]] = {}

_STEP = "constant between its steps"
_TRUTH = "its result is no number"
_PLACE = "its result is an integer"
_TEXT = "its operand is text, or counted"
_CHOSEN = "it is chosen after differentiation, in place of a convolution"
_SOURCE = "its result does not depend on the elements of any operand"

# Ops through which no gradient flows, and why: their derivative is zero, or there is none, as in TensorFlow.
NOT_DIFFERENTIABLE: dict[str, str] = {
    **dict.fromkeys(("floor", "ceil", "round", "floor_div", "hardmax", "quantize"), _STEP),
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), _TRUTH),
    **dict.fromkeys(("is_nan", "is_inf"), _TRUTH),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "logical_not", "reduce_any", "reduce_all"), _TRUTH),
    **dict.fromkeys(("bit_and", "bit_or", "bit_xor", "bit_not", "shift_left", "shift_right"), _PLACE),
    **dict.fromkeys(("argmax", "argmin", "max_pool_indices", "nonzero", "shape", "size"), _PLACE),
    **dict.fromkeys(("sequence_length", "sequence_sizes"), _PLACE),
    **dict.fromkeys(("non_max_suppression", "decode_image"), _PLACE),
    **dict.fromkeys(("eye", "random_normal", "random_uniform", "sequence_empty", "sequence_zeros"), _SOURCE),
    "random_beta": "how its samples depend on the shape of their distribution is not followed",
    **dict.fromkeys(("string_normalizer", "string_concat", "string_split", "regex_full_match", "tf_idf"), _TEXT),
    **dict.fromkeys(("ascii_lower", "regex_replace", "regex_find", "tokenize", "string_ngrams", "string_hash"), _TEXT),
    **dict.fromkeys(("winograd_conv", "winograd_weights", "winograd_weight_grad"), _CHOSEN),
    **dict.fromkeys(("find", "optional_has"), _PLACE),
    **dict.fromkeys(("optional_none", "optional_get"), "a value that may be absent has no gradient of its own"),
    **dict.fromkeys(("map_items", "zip_map"), "maps have no gradient"),
    "tree_ensemble": _STEP,
    "couple_probabilities": "its iteration stops at a tolerance",
    **dict.fromkeys(("eig", "lu"), "its derivative is not written down yet; eigh, solve and det have theirs"),
    "bit_cast": "its result is other bits",
    "stop_gradient": "that is its meaning",
}  # fmt: skip


def rule(
    call: Callable[..., Any], name: str | None = None, keywords: Sequence[str] | None = None
) -> Callable[..., Any]:
    """Enter a rule into the table under its own name (a trailing underscore aside)."""
    key = name or call.__name__.rstrip("_")
    assert key not in RULES, f"the rule of {key} is there twice"
    parameters = inspect.signature(call).parameters
    if keywords is None:
        keywords = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    at_run_time = {k for k in keywords if k in parameters and "Var" in str(parameters[k].annotation)}

    def apply(b: Builder, node: Node, above: list[Var | None]) -> Gradients:
        op = node.op
        operands: list[Any] = list(node.operands[: op.slots])
        if op.variadic:
            operands.append(list(node.operands[op.slots :]))
        values = {**node.attrs, **dict(zip(node.dynamic, node.inputs[len(node.operands) :]))}
        values["out"] = node.outputs if op.many else node.output
        for k in set(keywords) & set(node.dynamic) - at_run_time:
            raise UnsupportedError(
                f"the gradient of op {key} needs attribute {k}, which is known at run time only",
                hint="give it as a constant",
            )
        result = call(b, *operands, above if op.many else above[0], **{k: values[k.rstrip("_")] for k in keywords})
        return list(result) if isinstance(result, (tuple, list)) else [result]

    RULES[key] = apply
    return call


def form(call: Callable[..., Any]) -> Callable[..., Any]:
    """Enter the rule of an op from a function that emits the same computation in ops that have rules."""

    def differentiated(b: Builder, *given: Any, **attrs: Any) -> Gradients:
        *operands, above = given
        return through(b, partial(call, **attrs), operands, above if isinstance(above, list) else [above])

    differentiated.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]
    rule(differentiated, call.__name__)
    return call


from . import (  # noqa: E402, F401 - fill the table
    attention,
    control,
    conv,
    elementwise,
    index,
    linalg,
    norm,
    pool,
    quant,
    recurrent,
    reduce,
    sequence,
    shape,
    signal,
    vision,
)
