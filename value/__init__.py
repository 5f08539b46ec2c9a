"""`Value`: a tensor that records how it was made and differentiates itself; `Module`: what owns such tensors.

    x = Value(images)                                                    # (N, 784), its elements copied
    w = Value(np.zeros((784, 10), np.float32), requires_grad=True, name="w")
    loss = -((x @ w).log_softmax()[np.arange(len(labels)), labels]).mean()
    loss.backward()                                                      # w.grad: d loss / d w
    w.data -= 0.1 * w.grad

A Value is a handle on an expression: a `Source` (elements) or a `Call` (an op of the IR applied to other Values).
Nothing is computed when an op is written down; only its type is inferred.  `data` and `backward()` turn the expression
into a graph, to which `passes.autodiff` adds the gradients and which the usual passes optimise and the backend runs.
There is no second autodiff and no second set of kernels.

Programs are kept by the structure of the expression (ops, attributes, dtypes, shapes), all leaves being inputs: the
next step of a training loop writes down the same structure, finds the program, and only runs it.  The first run of a
structure goes node by node, the second one compiles it.  Python numbers are inputs too; exponents of `**` and
attributes such as `negative_slope` are part of the structure.

An expression means the elements that its leaves had when it was written down, though they are read later: `data` of a
leaf and assignments to it leave older expressions a copy.  (Only who keeps the array of `data` and changes it without
coming back for it changes expressions that are not computed yet.)

The files, from the bottom up: `expressions` (what is recorded), `programs` (how it is run and differentiated),
`indexing` (what `value[key]` means), `tensor` (the Value), `functions`, `graphs` (graphs as parts of expressions),
`module`.
"""

from __future__ import annotations

from .functions import (
    avg_pool2d,
    concat,
    conv2d,
    embedding,
    lstm,
    max_pool2d,
    maximum,
    minimum,
    one_hot,
    stack,
    where,
)
from .graphs import apply, grad
from .module import Module
from .tensor import Value

__all__ = [
    "Module",
    "Value",
    "apply",
    "avg_pool2d",
    "concat",
    "conv2d",
    "embedding",
    "grad",
    "lstm",
    "max_pool2d",
    "maximum",
    "minimum",
    "one_hot",
    "stack",
    "where",
]
