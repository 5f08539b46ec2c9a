# ruff: noqa: E501 - the texts of graphs are wide
"""dce, cse, hoist and stack: what passes do to nodes with subgraphs and to ops with several outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tenun.backends.base import Options
from tenun.executable import Executable
from tenun.ir import Graph, parse
from tenun.ir.op import OPS
from tenun.passes.bodies import is_pure
from tenun.passes.hoist import may_move, runs
from tenun.tests.passes.rewriting import graph_of, lines, optimized, same_bits

WEIGHTS = {"w": (6, 5), "u": (5, 5), "v": (6, 6)}


def scan_graph(body: str, carried: str, results: str, outputs: str, captured: str = "", operands: str = "") -> Graph:
    """A scan over %x (T, N, 6) with a state (N, 5): %c is captured, (N, 6); lines of the body as given."""
    weights = {n: np.random.default_rng(3).standard_normal(s).astype(np.float32) * 0.5 for n, s in WEIGHTS.items()}
    inner = [f"    @{n}: f32[{s[0]}, {s[1]}] = sha256:0" for n, s in WEIGHTS.items() if f"@{n}" in body]
    steps = outputs.count(":") - carried.count(":")
    text = "\n".join([
        f'graph "g" (%x: f32[T, N, 6], %h: f32[N, 5], %g: f32[N, 5], %c: f32[N, 6], %k: f32[6, 5]) -> ({outputs}) {{',
        f"  {operands}" if operands else "",
        f"  {outputs} = scan(%h{', %g' if '%b' in carried else ''}, %x, %c, %k) "
        f"{{carried = {carried.count(':')}, scanned = 1, input_axes = (0,), output_axes = {_zeros(steps)}, "
        f"input_reverse = (0,), output_reverse = {_zeros(steps)}}} [",
        f'    body: graph "body" ({carried}, %s: f32[N, 6], %i: f32[N, 6], %m: f32[6, 5]) -> ({results}) {{',
        *[f"  {line}" for line in inner],
        *[f"      {line.strip()}" for line in body.strip().splitlines()],
        "    }",
        "  ]", "}",
    ])  # fmt: skip
    return parse(text, {f"body.{n}": weights[n] for n in weights} | weights)


def _zeros(count: int) -> str:
    return "(" + "0, " * count + ")"


def run(graph: Graph, passes: tuple[str, ...], seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    shapes = {"x": (4, 3, 6), "h": (3, 5), "g": (3, 5), "c": (3, 6), "k": (6, 5)}
    inputs = {v.name: generator.standard_normal(shapes[v.name]).astype(np.float32) for v in graph.inputs}
    return Executable(graph, passes=passes, options=Options(1), verify=True).run(inputs)


def agree(graph: Graph, passes: tuple[str, ...], tolerance: float = 0) -> None:
    before, after = run(graph, ()), run(graph, passes)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=tolerance, atol=tolerance)


STATE, OUT = "%a: f32[N, 5]", "%y: f32[N, 5], %z: f32[T, N, 5]"
BODY = """
%p: f32[N, 6] = exp(%i)
%q: f32[N, 5] = matmul(%p, %m)
%r: f32[N, 5] = add(%a, %q)
%e: f32[N, 5] = matmul(%s, %m)
%n: f32[N, 5] = add(%r, %e)
%o: f32[N, 5] = tanh(%n)
"""


def test_invariant_code_leaves_a_scan() -> None:
    graph = scan_graph(BODY, STATE, "%n: f32[N, 5], %o: f32[N, 5]", OUT)
    found = lines(optimized(graph, "hoist"))
    assert found[:2] == ["exp", "matmul"] and [f.strip() for f in found[3:]] == ["add", "matmul", "add", "tanh"]
    agree(graph, ("hoist",))


def test_products_of_slices_leave_a_scan() -> None:
    graph = scan_graph(BODY, STATE, "%n: f32[N, 5], %o: f32[N, 5]", OUT)
    found = lines(optimized(graph, "stack"))
    assert found[0] == "matmul" and [f.strip() for f in found[2:]] == ["exp", "matmul", "add", "add", "tanh"]
    agree(graph, ("stack", "dce"), 1e-6)
    together = optimized(graph, "hoist", "stack", "dce")
    assert len(lines(together)) == 3 + 1 + 3
    agree(graph, ("hoist", "stack", "dce"), 1e-6)
    agree(graph, ("hoist", "stack", "simplify", "fuse", "fold", "dce"), 1e-6)


def test_elementwise_nodes_around_a_product_of_slices_come_along() -> None:
    body = """
    %e: f32[N, 6] = mul(%s, %i)
    %f: f32[N, 5] = matmul(%e, %m)
    %t: f32[N, 5] = tanh(%f)
    %l: f32[N, 6] = exp(%s)
    %n: f32[N, 5] = add(%a, %t)
    """
    graph = scan_graph(body, STATE, "%n: f32[N, 5], %l: f32[N, 6]", "%y: f32[N, 5], %z: f32[T, N, 6]")
    found = [f.strip() for f in lines(optimized(graph, "stack"))]
    assert found[:3] == ["mul", "matmul", "tanh"] and found[4:] == ["exp", "add"]
    agree(graph, ("stack", "dce"), 1e-6)


def test_what_depends_on_the_state_stays() -> None:
    body = "%n: f32[N, 5] = matmul(%a, @u)\n%o: f32[N, 6] = exp(%s)"
    graph = scan_graph(body, STATE, "%n: f32[N, 5], %o: f32[N, 6]", "%y: f32[N, 5], %z: f32[T, N, 6]")
    assert lines(optimized(graph, "hoist", "stack")) == lines(graph)


@pytest.mark.broken_graphs
def test_random_numbers_stay_in_a_loop() -> None:
    (node,) = graph_of("%y: f32[N, 6] = exp(%s)").nodes
    assert may_move(node, sure=False)
    for op in OPS.values():
        if op.has("random") or op.has("effect"):
            node.op = op
            assert not is_pure(node) and not may_move(node, sure=True)


def test_unused_outputs_and_carried_values_go() -> None:
    body = """
    %n: f32[N, 5] = neg(%a)
    %d: f32[N, 5] = mul(%b, %b)
    %o: f32[N, 6] = exp(%s)
    """
    graph = scan_graph(
        body, STATE + ", %b: f32[N, 5]", "%n: f32[N, 5], %d: f32[N, 5], %o: f32[N, 6]",
        "%y: f32[N, 5], %d: f32[N, 5], %z: f32[T, N, 6]",
    )  # fmt: skip
    graph.set_outputs(graph.outputs[:1], ["y"])
    after = optimized(graph, "dce")
    (node,) = after.nodes
    assert len(node.outputs) == 1 and node.attrs["carried"] == 1 and node.attrs["output_axes"] == ()
    assert [v.name for v in node.inputs if v is not None] == ["h", "x"]  # the length is that of x
    agree(graph, ("dce",))


def test_a_carried_value_that_another_needs_stays() -> None:
    body = "%n: f32[N, 5] = add(%a, %b)\n%d: f32[N, 5] = mul(%b, %b)\n%o: f32[N, 6] = exp(%s)"
    graph = scan_graph(
        body, STATE + ", %b: f32[N, 5]", "%n: f32[N, 5], %d: f32[N, 5], %o: f32[N, 6]",
        "%y: f32[N, 5], %d: f32[N, 5], %z: f32[T, N, 6]",
    )  # fmt: skip
    graph.set_outputs(graph.outputs[:1], ["y"])
    (node,) = optimized(graph, "dce").nodes
    assert node.attrs["carried"] == 2
    agree(graph, ("dce",))


def test_a_value_carried_unchanged_is_captured() -> None:
    body = "%n: f32[N, 5] = add(%a, %b)\n%o: f32[N, 6] = exp(%s)"
    graph = scan_graph(
        body, STATE + ", %b: f32[N, 5]", "%n: f32[N, 5], %b: f32[N, 5], %o: f32[N, 6]",
        "%y: f32[N, 5], %d: f32[N, 5], %z: f32[T, N, 6]",
    )  # fmt: skip
    (node,) = optimized(graph, "dce").nodes
    assert node.attrs["carried"] == 1 and len(node.outputs) == 2
    agree(graph, ("dce",))


LOOP = """
@trip: i64[] = {trip}
{before}
%y: f32[N, 6], %z: f32[N, 6] = loop({count}, _, %s, %r, %q0) {{carried = 2}} [
  body: graph "body" (%n: i64[], %go: bool[], %a: f32[N, 6], %b: f32[N, 6], %c: f32[N, 6]) -> (%go: bool[], %d: f32[N, 6], %e: f32[N, 6]) {{
    {body}
  }}
]
"""


def loop_graph(body: str, trip: int = 3, count: str = "@trip", before: str = "%q0: f32[N, 6] = neg(%r)") -> Graph:
    return graph_of(LOOP.format(trip=trip, count=count, before=before, body=body))


def test_invariant_code_leaves_a_loop() -> None:
    graph = loop_graph("%f: f32[N, 6] = exp(%c)\n    %d: f32[N, 6] = add(%a, %f)\n    %e: f32[N, 6] = neg(%b)")
    found = lines(optimized(graph, "hoist", "dce"))
    assert found[:2] == ["neg", "exp"] and "exp" not in [f.strip() for f in found[2:]]
    same_bits(graph, ("hoist", "dce"))


@pytest.mark.parametrize(("trip", "moves"), [(3, True), (0, False)])
def test_what_may_fail_leaves_only_a_loop_that_runs(trip: int, moves: bool) -> None:
    graph = loop_graph("%d: f32[N, 6] = add(%a, %c)\n    %e: f32[N, 6] = neg(%b)", trip=trip)
    node = next(n for n in graph.nodes if n.op.name == "loop")
    assert runs(node) is moves
    (gather,) = graph_of("%y: f32[N, 5, 5] = gather(@table, %k) {axis = 0}").nodes
    assert may_move(gather, runs(node)) is moves


def test_captured_constants_go_inside() -> None:
    graph = loop_graph(
        "%d: f32[N, 6] = mul(%a, %c)\n    %e: f32[N, 6] = neg(%b)",
        before="@one: f32[] = 1.0\n%q0: f32[N, 6] = expand(@one) {shape = (dim N, 6)}",
    )
    assert len(optimized(graph, "hoist").inputs) == 2
    graph = loop_graph("%d: f32[N, 6] = mul(%a, %c)\n    %e: f32[N, 6] = neg(%b)", before="%q0: f32[N, 6] = neg(%r)")
    same_bits(graph, ("hoist", "simplify"))


def test_a_body_reads_what_is_computed_outside() -> None:
    graph = loop_graph(
        "%f: f32[N, 6] = exp(%c)\n    %g0: f32[N, 6] = add(%f, %c)\n    %d: f32[N, 6] = add(%a, %g0)\n"
        "    %e: f32[N, 6] = neg(%b)",
        before="%q0: f32[N, 6] = neg(%r)\n%q1: f32[N, 6] = exp(%q0)\n%q2: f32[N, 6] = add(%q0, %q1)",
    )
    found = lines(optimized(graph, "cse"))
    assert found[:3] == ["neg", "exp", "add"] and found[4:] == ["  add", "  neg"]
    same_bits(graph, ("cse", "dce"))


IF = """
%e0: f32[N, 6] = exp(%s)
%y: f32[N, 6], %z: f32[N, 6] = if(%b, %s, %r) [
  then: graph "a" (%v: f32[N, 6], %w: f32[N, 6]) -> (%o: f32[N, 6], %u: f32[N, 6]) {
    %o: f32[N, 6] = exp(%v)
    %u: f32[N, 6] = neg(%w)
  }
  orelse: graph "b" (%v: f32[N, 6], %w: f32[N, 6]) -> (%o: f32[N, 6], %u: f32[N, 6]) {
    %o: f32[N, 6] = tanh(%v)
    %u: f32[N, 6] = exp(%v)
  }
]
"""


def test_branches_read_what_is_computed_outside() -> None:
    graph = graph_of(IF)
    after = optimized(graph, "cse", "dce")
    assert [f.strip(" [") for f in lines(after)] == ["exp", "if", "neg", "tanh"]
    same_bits(graph, ("cse", "dce"))


def test_unused_outputs_of_branches_go() -> None:
    graph = graph_of(IF)
    graph.set_outputs(graph.outputs[:1], ["y"])
    after = optimized(graph, "dce")
    assert [f.strip(" [") for f in lines(after)] == ["if", "exp", "tanh"]
    assert len(next(iter(after.nodes)).inputs) == 2
    same_bits(graph, ("dce",))


def test_equal_branches_are_merged() -> None:
    again = IF.partition("%z: f32[N, 6] = ")[2]
    graph = graph_of(f"{IF}%y2: f32[N, 6], %z2: f32[N, 6] = {again}%q0: f32[N, 6] = sub(%y, %y2)")
    after = optimized(graph, "cse", "dce")
    assert [n.op.name for n in after.nodes].count("if") == 1
    same_bits(graph, ("cse", "dce"))


def test_a_split_of_which_one_part_is_used_is_a_slice() -> None:
    graph = graph_of("%a: f32[N, 2], %c: f32[N, 4] = split(%s) {axis = 1, sizes = (2, 4)}\n%y: f32[N, 4] = exp(%c)")
    assert lines(optimized(graph, "dce")) == ["slice {starts = (2,), ends = (6,), axes = (1,)}", "exp"]
    same_bits(graph, ("dce",))
