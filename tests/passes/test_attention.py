# ruff: noqa: E501 - the texts of graphs are wide
"""Attention that is found in products, scales, masks and softmax: the nodes after, and the same outputs."""

from __future__ import annotations

import numpy as np
import pytest

from tenun.ir import Builder, Graph, Tensor, dtype, parse, symbol
from tenun.ir.dims import UNKNOWN

from .test_passes import lines, optimized, same_outputs

INPUTS = {
    "q": "f32[N, 5, 2, 4]", "k": "f32[N, 7, 2, 4]", "v": "f32[N, 7, 2, 3]", "kept": "bool[N, 1, 1, 7]",
    "bias": "f32[2, 5, 7]", "one": "f32[N, 7, 4]", "vone": "f32[N, 7, 3]",
}  # fmt: skip
NUMBERS = {"half": 0.5, "two": 2.0, "low": -1e9, "minus": -np.inf, "zero": 0.0, "cap": 3.0}
Q = "%q1: f32[N, 2, 5, 4] = transpose(%q) {perm = (0, 2, 1, 3)}"
K = "%k1: f32[N, 2, 7, 4] = transpose(%k) {perm = (0, 2, 1, 3)}"
KT = "%kt: f32[N, 2, 4, 7] = transpose(%k) {perm = (0, 2, 3, 1)}"
V = "%v1: f32[N, 2, 7, 3] = transpose(%v) {perm = (0, 2, 1, 3)}"
SCORES, SCALED = "%s: f32[N, 2, 5, 7] = matmul(%q1, %kt)", "%a: f32[N, 2, 5, 7] = mul(%s, @half)"
OUT = "%y: f32[N, 2, 5, 3] = matmul(%p, %v1)"
FOUND = "attention(%transpose, %transpose_1, %transpose_2"


def graph_of(out: str, *body: str, **constants: np.ndarray) -> Graph:
    """A graph of those inputs that its nodes name."""
    text = " ".join(body) + " "
    inputs = ", ".join(f"%{n}: {t}" for n, t in INPUTS.items() if any(f"%{n}{end}" in text for end in ",) "))
    found = [f"@{n}: f32[] = {v!r}" for n, v in NUMBERS.items() if f"@{n}" in text]
    found += [f"@{n}: {'bool' if v.dtype == bool else 'f32'}{list(v.shape)} = sha256:0" for n, v in constants.items()]
    body_text = "\n".join(f"  {line}" for line in (*found, *body))
    return parse(f'graph "g" ({inputs}) -> (%y: {out}) {{\n{body_text}\n}}', constants)


def softmax(of: str, shape: str = "f32[N, 2, 5, 7]") -> str:
    return f"%p: {shape} = softmax(%{of})"


def scores(name: str, value: str) -> str:
    return f"%{name}: f32[N, 2, 5, 7] = {value}"


HEADS = "f32[N, 2, 5, 3]"
MERGED = [
    Q, K, V, "%q2: f32[2*N, 5, 4] = reshape(%q1) {shape = (dim 2*N, 5, 4)}",
    "%k2: f32[2*N, 7, 4] = reshape(%k1) {shape = (dim 2*N, 7, 4)}", "%kt: f32[2*N, 4, 7] = transpose(%k2) {perm = (0, 2, 1)}",
    "%v2: f32[2*N, 7, 3] = reshape(%v1) {shape = (dim 2*N, 7, 3)}", "%s: f32[2*N, 5, 7] = matmul(%q2, %kt)",
]  # fmt: skip
EINSUM = '%s: f32[N, 2, 5, 7] = einsum(%q, %k) {equation = "bqhd,bkhd->bhqk"}'

# name: the type of the result, nodes, the attention that is found
CASES: dict[str, tuple[str, list[str], str]] = {
    "plain": (HEADS, [Q, KT, V, SCORES, softmax("s"), OUT], "attention(%q1, %k1, %v1) {scale = 1.0}"),
    "scaled": (HEADS, [Q, KT, V, SCORES, SCALED, softmax("a"), OUT], "attention(%q1, %k1, %v1) {scale = 0.5}"),
    "divided": (HEADS, [Q, KT, V, SCORES, scores("a", "div(%s, @two)"), softmax("a"), OUT],
                "attention(%q1, %k1, %v1) {scale = 0.5}"),
    "query scaled before": (
        HEADS, ["%h: f32[N, 5, 2, 4] = mul(%q, @half)", Q.replace("(%q)", "(%h)"), KT, V, SCORES, softmax("s"), OUT],
        "attention(%q1, %k1, %v1) {scale = 0.5}"),
    "both scaled before": (
        HEADS, ["%h: f32[N, 2, 5, 4] = mul(%q1, @half)", "%i: f32[N, 2, 4, 7] = div(%kt, @two)", V,
                "%s: f32[N, 2, 5, 7] = matmul(%h, %i)", softmax("s"), OUT], "attention(%q1, %k1, %v1) {scale = 0.25}"),
    "added mask": (HEADS, [Q, KT, V, SCORES, SCALED, scores("b", "add(%a, %bias)"), softmax("b"), OUT],
                   "attention(%q1, %k1, %v1, _, %bias) {scale = 0.5}"),
    "mask": (HEADS, [Q, KT, V, SCORES, SCALED, scores("b", "where(%kept, %a, @low)"), softmax("b"), OUT],
             "attention(%q1, %k1, %v1, %kept) {scale = 0.5}"),
    "mask of what goes": (HEADS, [Q, KT, V, SCORES, scores("b", "where(%kept, @low, %s)"), softmax("b"), OUT],
                          "attention(%q1, %k1, %v1, %not) {scale = 1.0}"),
    "mask and zeros": (
        HEADS, [Q, KT, V, SCORES, scores("b", "where(%kept, %s, @low)"), "%p1: f32[N, 2, 5, 7] = softmax(%b)",
                scores("p", "where(%kept, %p1, @zero)"), OUT], "attention(%q1, %k1, %v1, %kept) {scale = 1.0}"),
    "both masks": (
        HEADS, [Q, KT, V, SCORES, scores("b", "add(%s, %bias)"), scores("c", "where(%kept, %b, @low)"), softmax("c"), OUT],
        "attention(%q1, %k1, %v1, %kept, %bias) {scale = 1.0}"),
    "triangle": (HEADS, [Q, KT, V, SCORES, scores("b", "where(@tri, %s, @low)"), softmax("b"), OUT],
                 "attention(%q1, %k1, %v1) {scale = 1.0, causal = true}"),
    "soft cap": (
        HEADS, [Q, KT, V, SCORES, SCALED, scores("b", "div(%a, @cap)"), scores("c", "tanh(%b)"), scores("d", "mul(%c, @cap)"),
                softmax("d"), OUT], "attention(%q1, %k1, %v1) {scale = 0.5, soft_cap = 3.0}"),
    "keys times queries": (
        HEADS, [K, "%qt: f32[N, 2, 4, 5] = transpose(%q) {perm = (0, 2, 3, 1)}", V, "%s: f32[N, 2, 7, 5] = matmul(%k1, %qt)",
                "%t: f32[N, 2, 5, 7] = transpose(%s) {perm = (0, 1, 3, 2)}", softmax("t"), OUT],
        "attention(%q1, %k1, %v1) {scale = 1.0}"),
    "heads merged into the batch": (
        "f32[2*N, 5, 3]", [*MERGED, "%p: f32[2*N, 5, 7] = softmax(%s)", "%y: f32[2*N, 5, 3] = matmul(%p, %v2)"],
        "attention(%q2, %k2, %v2) {scale = 1.0}"),
    "heads merged but for the mask": (
        "f32[2*N, 5, 3]", [*MERGED, "%s4: f32[N, 2, 5, 7] = reshape(%s) {shape = (dim N, 2, 5, 7)}",
                           scores("b", "where(%kept, %s4, @low)"), "%p4: f32[N, 2, 5, 7] = softmax(%b)",
                           "%p: f32[2*N, 5, 7] = reshape(%p4) {shape = (dim 2*N, 5, 7)}",
                           "%y: f32[2*N, 5, 3] = matmul(%p, %v2)"],
        "attention(%q1, %k1, %v1, %kept) {scale = 1.0}"),
    "einsum": (
        "f32[N, 5, 2, 3]", [EINSUM, SCALED, softmax("a"), '%y: f32[N, 5, 2, 3] = einsum(%p, %v) {equation = "bhqk,bkhd->bqhd"}'],
        "attention(%q1, %k1, %v1) {scale = 0.5}"),
    "einsum of keys and queries": (
        "f32[N, 5, 2, 3]",
        ['%s: f32[N, 2, 5, 7] = einsum(%k, %q) {equation = "aecd,abcd->acbe"}', softmax("s"),
         '%y: f32[N, 5, 2, 3] = einsum(%p, %v) {equation = "acbe,aecd->abcd"}'], "attention(%q1, %k1, %v1) {scale = 1.0}"),
    "there and back in another dtype": (
        HEADS, [Q, KT, V, SCORES, "%w: f64[N, 2, 5, 7] = cast(%s) {to = f64}", "%p1: f64[N, 2, 5, 7] = softmax(%w)",
                scores("p", "cast(%p1) {to = f32}"), OUT], "attention(%q1, %k1, %v1) {scale = 1.0}"),
    "without heads": (
        "f32[N, 7, 3]", ["%t: f32[N, 4, 7] = transpose(%one) {perm = (0, 2, 1)}", "%s: f32[N, 7, 7] = matmul(%one, %t)",
                         "%p: f32[N, 7, 7] = softmax(%s)", "%y: f32[N, 7, 3] = matmul(%p, %vone)"],
        "attention(%one, %one, %vone) {scale = 1.0}"),
}  # fmt: skip
CASES["both scaled before"][1][:0] = [Q, KT]


def built(name: str) -> Graph:
    out, body, _ = CASES[name]
    constants = {"tri": np.tri(5, 7, dtype=bool)} if "@tri" in " ".join(body) else {}
    return graph_of(out, *body, **constants)


@pytest.mark.parametrize("name", CASES)
def test_found(name: str) -> None:
    """One attention, its operands (whatever they are called), and no softmax, product or mask beside it."""
    graph, want = built(name), CASES[name][2]
    found = optimized(graph, "attention", "simplify", "dce")
    (node,) = (n for n in found.nodes if n.op.name == "attention")
    text = lines(found)
    assert not any(line.startswith(("softmax", "matmul", "einsum", "mul", "div")) for line in text)
    shapes = [None if v is None else v.shape for v in node.inputs]
    assert len(shapes) == 5 and [s is None for s in shapes[3:]] == [
        "%kept" not in want and "%not" not in want,
        "%bias" not in want,
    ]
    assert (
        str(node).partition("attention(")[2].partition(")")[2].partition("  //")[0].strip()
        == want.partition(")")[2].strip()
    )
    same_outputs(graph, ("attention", "simplify"))
    same_outputs(graph, ("attention",))


def test_text() -> None:
    found = optimized(built("scaled"), "attention", "simplify", "dce")
    assert lines(found) == [
        "transpose(%q) {perm = (0, 2, 1, 3)}", "transpose(%v) {perm = (0, 2, 1, 3)}", "transpose(%k) {perm = (0, 2, 1, 3)}",
        "attention(%q1, %transpose, %v1) {scale = 0.5}",
    ]  # fmt: skip


STAY: dict[str, tuple[str, list[str]]] = {
    "weights that are asked for": ("f32[N, 2, 5, 7]", [Q, KT, V, SCORES, softmax("s"), OUT.replace("%y", "%z"),
                                                       "%w: f32[N, 2, 5, 1] = reduce_sum(%z) {axes = (3,), keepdims = true}",
                                                       "%y: f32[N, 2, 5, 7] = mul(%p, %w)"]),
    "softmax over heads": (HEADS, [Q, KT, V, SCORES, "%p: f32[N, 2, 5, 7] = softmax(%s) {axis = 1}", OUT]),
    "a mask that hides little": (HEADS, [Q, KT, V, SCORES, scores("b", "where(%kept, %s, @zero)"), softmax("b"), OUT]),
    "a mask that leaves NaN": (HEADS, [Q, KT, V, SCORES, scores("b", "where(%kept, %s, @minus)"), softmax("b"), OUT]),
    "scaled after a mask": (HEADS, [Q, KT, V, SCORES, scores("b", "add(%s, %bias)"), scores("c", "mul(%b, @half)"), softmax("c"), OUT]),
    "other zeros": (HEADS, [Q, KT, V, SCORES, "%p1: f32[N, 2, 5, 7] = softmax(%s)", scores("p", "where(%kept, %p1, @zero)"), OUT]),
    "no first product": (HEADS, [V, "%t: f32[2, 5, 7] = softmax(%bias)", scores("p", "expand(%t) {shape = (dim N, 2, 5, 7)}"), OUT,
                                 ]),
}  # fmt: skip


@pytest.mark.parametrize("name", STAY)
def test_not_found(name: str) -> None:
    graph = graph_of(*[STAY[name][0]], *STAY[name][1])
    before = lines(graph)
    assert lines(optimized(graph, "attention")) == before


def test_shapes_that_exporters_compute() -> None:
    """tf2onnx merges the heads into the batch by products of dimensions, and takes the larger of equal ones."""
    b = Builder(Graph("g"))
    shape = b.shape(b.input("x", Tensor(dtype("f32"), (symbol("N"), 2, 5))))
    lead = b.gather(shape, np.int64([0, 1]))
    assert b.reduce_prod(lead, keepdims=True).tensor.value == (symbol("N") * 2,)
    assert b.maximum(lead, lead).tensor.value == (symbol("N"), 2)
    assert b.minimum(lead, np.int64([3, 3])).tensor.value == (UNKNOWN, 2)
