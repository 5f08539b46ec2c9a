"""If, Loop, Scan: subgraphs become closed graphs; what they capture are operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....errors import GraphError
from ....ir import dims, types
from ....ir.graph import Graph, Var
from ....ir.op import lookup
from ....ir.ops.control import scan_body_types
from ....ir.types import Tensor, Type, boolean, fits, i64
from ..lowering import Lowering, operands_of, without_value
from ..messages import GraphProto
from ..registry import onnx

MAX_WIDENINGS = 8


def _scalar(b: Lowering, x: Var) -> Var:
    """A tensor of one element as a scalar."""
    return x if x.tensor.shape == () else b.reshape(x, shape=())


@onnx("If")
def if_(b: Lowering, cond: Var, *, else_branch: GraphProto, then_branch: GraphProto) -> Sequence[Var]:
    value = b.known(cond)
    if value is not None:  # the other branch may not even fit the shapes
        return b.inline_graph(then_branch if value[0] else else_branch)
    captured = b.captured(then_branch, else_branch)
    branches = {"then": b.body(then_branch, [], captured), "orelse": b.body(else_branch, [], captured)}
    return b.node(lookup("if"), [_scalar(b, cond), *operands_of(captured)], {}, graphs=branches).outputs


@onnx("Loop")
def loop(
    b: Lowering, M: Var | None = None, cond: Var | None = None, *v_initial: Var, body: GraphProto
) -> Sequence[Var]:
    """body(iteration, condition, carried...) -> (condition, carried..., scanned...)."""
    captured = b.captured(body)
    trip, start = (None if v is None else _scalar(b, v) for v in (M, cond))
    own: list[Type] = [Tensor(i64, ()), Tensor(boolean, ())]
    graph = _stable(b, body, captured, own, [v.type for v in v_initial], 1)
    _scalar_condition(b, graph)
    operands = [trip, start, *v_initial, *operands_of(captured)]
    return b.node(lookup("loop"), operands, {"carried": len(v_initial)}, graphs={"body": graph}).outputs


def _scalar_condition(b: Lowering, graph: Graph) -> None:
    condition = graph.outputs[0]
    if condition.tensor.shape != ():
        inner = Lowering(graph, b.model, b.opsets)
        graph.set_outputs([_scalar(inner, condition), *graph.outputs[1:]], graph.output_names)


def _stable(
    b: Lowering, body: GraphProto, captured: dict[str, Var], before: list[Type], carried: list[Type], first: int,
    after: Sequence[Type] = (), carried_first: bool = False,
) -> Graph:  # fmt: skip
    """The body for types of the carried values which it gives back as it takes them, found by widening.

    Its inputs are `before`, `carried`, `after`; its outputs from number `first` on are the carried values.
    """
    found = [without_value(t) for t in carried]
    for attempt in range(MAX_WIDENINGS):
        graph = b.body(body, [*before, *found, *after], captured)
        results = [v.type for v in graph.outputs[first : first + len(found)]]
        if len(results) != len(found):
            raise GraphError(f"subgraph {graph.name!r} gives back {len(results)} of {len(found)} carried values")
        widened = [types.join(t, r) for t, r in zip(found, results)]
        if attempt > 2:  # shapes that grow with every round: nothing is known of them
            widened = [t if t == w else types.map_dims(w, lambda d: dims.UNKNOWN) for t, w in zip(found, widened)]
        if widened == found and all(map(fits, found, results)):
            return graph
        found = widened
    raise GraphError("the types of the carried values do not settle")


@onnx("Scan", since=9)
def scan(
    b: Lowering, *args: Var, body: GraphProto, num_scan_inputs: int, scan_input_axes: Sequence[int] = (),
    scan_input_directions: Sequence[int] = (), scan_output_axes: Sequence[int] = (),
    scan_output_directions: Sequence[int] = (),
) -> Sequence[Var]:  # fmt: skip
    """body(states..., slices...) -> (states..., results...)."""
    carried = len(args) - num_scan_inputs
    if carried < 0:
        raise GraphError(f"{num_scan_inputs} scan inputs, but only {len(args)} inputs")
    results = len(body.output) - carried
    axes = tuple(scan_input_axes) or (0,) * num_scan_inputs
    return _scan(
        b, body, b.captured(body), args, carried,
        input_axes=axes,
        output_axes=tuple(scan_output_axes) or (0,) * results,
        input_reverse=tuple(scan_input_directions) or (0,) * num_scan_inputs,
        output_reverse=tuple(scan_output_directions) or (0,) * results,
    )  # fmt: skip


def _scan(
    b: Lowering, body: GraphProto, captured: dict[str, Var], args: Sequence[Var], carried: int, **attrs: Any
) -> Sequence[Var]:
    slices = scan_body_types([v.type for v in args], carried, len(args) - carried, attrs["input_axes"])[carried:]
    graph = _stable(b, body, captured, [], [v.type for v in args[:carried]], 0, [without_value(t) for t in slices])
    attrs |= {"carried": carried, "scanned": len(args) - carried}
    return b.node(lookup("scan"), [*args, *operands_of(captured)], attrs, graphs={"body": graph}).outputs


@onnx("Scan", since=8)
def scan_batched(
    b: Lowering, sequence_lens: Var | None = None, *args: Var, body: GraphProto, num_scan_inputs: int,
    directions: Sequence[int] = (),
) -> Sequence[Var]:  # fmt: skip
    """Opset 8: every value has a batch axis in front, and each sample is scanned on its own, as far as it goes."""
    carried = len(args) - num_scan_inputs
    captured = b.captured(body)
    if sequence_lens is not None:
        args = (*args, b.cast(sequence_lens, to=i64))
    names = [f"sample_{i}" for i in range(len(args))]
    graph = Graph("samples")
    inner = Lowering(graph, b.model, b.opsets, b.attributes, b.prefix)
    samples = [
        inner.input(n, t)
        for n, t in zip(names, scan_body_types([v.type for v in args], 0, len(args), (0,) * len(args)))
    ]
    shared = {
        n: graph.share_constant(v) if v.constant is not None else inner.input(f"{n}_outer", without_value(v.type))
        for n, v in captured.items()
    }
    inner.current = b.current
    reverse = tuple(directions) or (0,) * num_scan_inputs
    if sequence_lens is None:
        inside = _plain(num_scan_inputs, len(body.output) - carried) | {"input_reverse": reverse}
        graph.set_outputs(_scan(inner, body, shared, samples, carried, **inside))
    else:
        graph.set_outputs(_scan_to(inner, samples[-1], body, shared, samples[:-1], carried, reverse))
    attrs = {"carried": 0, "scanned": len(args), **_plain(len(args), len(body.output))}
    return b.node(lookup("scan"), [*args, *operands_of(captured)], attrs, graphs={"body": graph}).outputs


def _plain(inputs: int, outputs: int) -> dict[str, Sequence[int]]:
    """Along the first axes, forwards."""
    ins, outs = (0,) * inputs, (0,) * outputs
    return {"input_axes": ins, "output_axes": outs, "input_reverse": ins, "output_reverse": outs}


def _scan_to(
    b: Lowering, length: Var, body: GraphProto, captured: dict[str, Var], args: Sequence[Var], carried: int,
    reverse: Sequence[int],
) -> list[Var]:  # fmt: skip
    """The first `length` rounds: later ones leave the carried values as they are, their results are zeros.

    Backwards, too, the slices behind the length come last.
    """
    steps = b.range(np.int64(0), b.gather(b.shape(args[carried]), np.int64(0)), np.int64(1))
    active = b.less(steps, length)
    back = b.maximum(b.sub(b.sub(length, np.int64(1)), steps), np.int64(0))
    slices = [b.gather(x, back, axis=0) if turned else x for x, turned in zip(args[carried:], reverse)]
    attrs = _plain(len(slices) + 1, len(body.output) - carried)
    given = [*args[:carried], *slices, active]
    found = _scan(b, _while_active(body, carried), captured, given, carried, **attrs)
    return [*found[:carried], *(_zero_behind(b, active, y) for y in found[carried:])]


def _while_active(body: GraphProto, carried: int) -> GraphProto:
    """The body with a last input that says whether its carried values count."""
    kept = GraphProto()
    kept.CopyFrom(body)
    kept.input.add().name = active = "active of " + "+".join(o.name for o in body.output)
    for before, after in zip(body.input[:carried], kept.output):
        name = f"{after.name} if {active}"
        kept.node.add(op_type="Where", input=[active, after.name, before.name], output=[name])
        after.name = name
    return kept


def _zero_behind(b: Lowering, active: Var, y: Var) -> Var:
    kind = y.tensor.dtype
    nothing = b.constant("" if kind.kind == "string" else 0, dtype=kind.numpy)
    return b.where(b.reshape(active, shape=(-1,) + (1,) * (len(y.shape) - 1)), y, nothing)  # type: ignore[no-any-return]
