"""What the steps of a plan are: what they call, how many operations they make, which bytes they touch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..backends.numpy.flow import Flow
from ..backends.numpy.plan import Plan
from ..backends.numpy.registry import Step
from ..backends.numpy.workers import Parallel
from ..ir.graph import Node, Var
from ..ir.types import Tensor

SHOWN = 3  # names of calls in a row
PICKING = ("gather", "gather_elements", "gather_nd")  # read as many elements of their first operand as they give

Array = np.ndarray[Any, Any]


# ---- nodes


def node_name(node: Node) -> str:
    """The name of the node's first result, as in the dump; the op's where it has none."""
    return f"%{node.outputs[0].name}" if node.outputs else node.op.name


def node_shapes(node: Node) -> str:
    """The types of operands and results."""
    inputs, outputs = (", ".join("-" if v is None else _type(v) for v in side) for side in (node.inputs, node.outputs))
    return f"{inputs} -> {outputs}"


def _type(var: Var) -> str:
    t = var.type
    return str(Tensor(t.dtype, t.shape)) if isinstance(t, Tensor) else str(t)


def node_bytes(plan: Plan, node: Node) -> int | None:
    """Bytes that a node has to read (operands, weights included) and to write; None where a size is not known before.

    Scratch is not counted: what a kernel moves in addition is its own affair.
    """
    read = {v: None for v in node.inputs if v is not None}
    written = [v for v in node.outputs if v.uses or plan.graph.is_output(v)]
    if any(v not in plan.arrays for v in (*read, *written)):
        return None
    sizes = {v: plan.arrays[v].nbytes for v in read}
    first = node.inputs[0] if node.inputs else None
    if first is not None and written and (node.op.name in PICKING or node.op.has("view")):
        sizes[first] = min(sizes[first], plan.arrays[written[0]].nbytes)
    return sum(sizes.values()) + sum(plan.arrays[v].nbytes for v in written)


def node_dtype(node: Node) -> str:
    """The name of NumPy's dtype of the first result; float32's where that is none of numbers."""
    t = node.outputs[0].type if node.outputs else None
    return t.dtype.numpy_name if isinstance(t, Tensor) else "float32"


# ---- steps


def branches_of(step: Parallel | Flow) -> Sequence[Sequence[Step]]:
    """The steps of each branch, or of each task."""
    return step.branches if isinstance(step, Parallel) else [task.steps for task in step.tasks]


def calls(step: Step) -> Iterator[str]:
    """The names of what a step calls, those of all its branches."""
    if isinstance(step, (Parallel, Flow)):
        for branch in branches_of(step):
            for inner in branch:
                yield from calls(inner)
    else:
        yield call_name(step)


def call_name(step: Any) -> str:
    """The function under the partials; of one that is handed another function to call, that other one."""
    while isinstance(step, partial):
        step = step.args[0] if step.args and callable(step.args[0]) else step.func
    name = getattr(step, "__qualname__", None) or getattr(step, "__name__", None) or type(step).__name__
    return str(name).replace(".<locals>", "").removeprefix("_")


def calls_text(steps: Iterable[Step]) -> str:
    """What steps call, and how often, in the order of running."""
    counts = Counter(name for step in steps for name in calls(step))
    texts = [f"{name} ×{count}" if count > 1 else name for name, count in counts.items()]
    more = [f"{len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return ", ".join([*texts[:SHOWN], *more])


def step_text(step: Step) -> str:
    """A step in a few words: what it calls, and in how many branches."""
    if not isinstance(step, (Parallel, Flow)):
        return calls_text([step])
    return f"{len(branches_of(step))} {'branches' if isinstance(step, Parallel) else 'tasks'}: {calls_text([step])}"


def step_shapes(step: Step) -> str:
    """The shapes of the arrays that a step calls its function with; nothing for branches."""
    return " ".join(str(list(a.shape)) for a in _arrays(step)) if isinstance(step, partial) else ""


def step_work(step: Step) -> tuple[int, int] | None:
    """Operations and bytes of a step that is one call of a ufunc, a product or a copy, or branches of such calls.

    Bytes are those of the arrays in the call.  None for other steps: what they do is not to be seen from outside.
    """
    if isinstance(step, (Parallel, Flow)):
        parts = [step_work(inner) for branch in branches_of(step) for inner in branch]
        known = [part for part in parts if part is not None]
        return (sum(f for f, _ in known), sum(b for _, b in known)) if len(known) == len(parts) else None
    if not isinstance(step, partial):
        return None
    rule = _rule(step.func)
    arrays = _arrays(step)
    return None if rule is None or not arrays else (rule(arrays), sum(a.nbytes for a in arrays))


def _arrays(step: partial[Any]) -> list[Array]:
    """The arrays in a call; one that is given as `out` comes last."""
    owner = getattr(step.func, "__self__", None)  # of a method
    values = [owner, *step.args, *(v for key, v in step.keywords.items() if key != "out"), step.keywords.get("out")]
    return [v for v in values if isinstance(v, np.ndarray)]


def _rule(func: Any) -> Callable[[list[Array]], int] | None:
    """How to count the operations of a call."""
    if func is np.matmul or getattr(func, "__name__", "") == "dot":
        return lambda arrays: 2 * math.prod(arrays[-1].shape) * arrays[0].shape[-1]
    if func is np.copyto:
        return lambda arrays: 0
    if isinstance(func, np.ufunc):
        return lambda arrays: max(a.size for a in arrays)
    return None
