# ruff: noqa: E501 - the texts of graphs are wide
"""Ops that are found in what others wrote: the graph before, the nodes after, and the same outputs."""

from __future__ import annotations

import numpy as np
import pytest

from tenun.ir import Graph, parse

from .test_passes import lines, optimized, same_outputs

HEAD = 'graph "g" (%x: f32[N, 6, 8], %m: bool[N, 6, 8]) -> (%y: f32[N, 6, 8]) {{\n{body}\n}}'
WEIGHTS = {"s": (8,), "o": (8,), "rows": (1, 1, 8), "column": (6, 1), "w": (8, 8)}
COLUMN, FULL = "f32[N, 6, 1]", "f32[N, 6, 8]"
NORM = "{axes = (2,), epsilon = 0.0010000000474974513}"
MEAN, CENTRED = f"%mean: {COLUMN} = reduce_mean(%x) {{axes = (2,), keepdims = true}}", f"%d: {FULL} = sub(%x, %mean)"
SQUARES = {"square": "square(%d)", "product": "mul(%d, %d)", "power": "pow(%d, @two)"}


def graph_of(*body: str) -> Graph:
    """A graph from its nodes; numbers are constants by their names."""
    text = " ".join(body)
    numbers = {"@eps": 0.001, "@one": 1.0, "@two": 2.0, "@three": 3.0, "@six": 6.0, "@sixth": 1 / 6, "@half": 0.5,
               "@root": np.sqrt(0.5), "@root2": np.sqrt(2), "@cube": 0.044715, "@pi": np.sqrt(2 / np.pi),
               "@beta": 1.702, "@low": -1e9}  # fmt: skip
    found = [f"{name}: f32[] = {np.float32(v).item()!r}" for name, v in numbers.items() if _names(name, text)]
    weights = {}
    for name, shape in WEIGHTS.items():
        if _names(f"@{name}", text):
            weights[name] = np.random.default_rng(len(name)).uniform(0.5, 1.5, shape).astype(np.float32)
            found.append(f"@{name}: f32{list(shape)} = sha256:0")
    return parse(HEAD.format(body="\n".join(f"  {line}" for line in (*found, *body))), weights)


def _names(name: str, text: str) -> bool:
    return any(f"{name}{end}" in text for end in ",) ")


def full(name: str, value: str) -> str:
    return f"%{name}: {FULL} = {value}"


def column(name: str, value: str) -> str:
    return f"%{name}: {COLUMN} = {value}"


def variance(of: str = "%q") -> list[str]:
    return [column("v", f"reduce_mean({of}) {{axes = (-1,), keepdims = true}}"), column("e", "add(%v, @eps)")]


def layer_norm(square: str, *rest: str) -> list[str]:
    return [MEAN, CENTRED, full("q", SQUARES[square]), *variance(), *rest]


RSQRT, FOLDED = column("r", "rsqrt(%e)"), full("g", "mul(%r, @s)")
ONES = [full("n", "neg(%x)"), full("e", "exp(%n)"), full("p", "add(%e, @one)")]
ERF = [full("t", "mul(%x, @root)"), full("e", "erf(%t)"), full("p", "add(%e, @one)")]
CUBE = [full("k", "mul(%x, %x)"), full("c", "mul(%k, %x)"), full("w", "mul(%c, @cube)"), full("u", "add(%x, %w)"),
        full("z", "mul(%u, @pi)"), full("t", "tanh(%z)"), full("p", "add(%t, @one)")]  # fmt: skip
BOX = [full("a", "add(%x, @three)"), full("c", "clip(%a) {low = 0.0, high = 6.0}")]
EXPS = [column("m1", "reduce_max(%x) {axes = (2,), keepdims = true}"), full("d", "sub(%x, %m1)"), full("e", "exp(%d)"),
        column("t", "reduce_sum(%e) {axes = (2,), keepdims = true}")]  # fmt: skip

CASES: dict[str, tuple[list[str], list[str]]] = {
    **{f"layer norm, {how}": (layer_norm(how, column("s1", "sqrt(%e)"), full("y", "div(%d, %s1)")), [f"layer_norm(%x) {NORM}"])
       for how in SQUARES},
    "layer norm with scale and bias": (
        layer_norm("square", column("s1", "sqrt(%e)"), column("r", "reciprocal(%s1)"), full("n", "mul(%d, %r)"),
                   full("k", "mul(@s, %n)"), full("y", "add(%k, @o)")),
        [f"layer_norm(%x, @s, @o) {NORM}"],
    ),
    "layer norm with bias": (
        layer_norm("square", RSQRT, full("n", "mul(%d, %r)"), full("y", "add(%n, @rows)")),
        [f"layer_norm(%x, _, @rows) {NORM}"],
    ),
    "a scale of rows is none": (
        layer_norm("square", RSQRT, full("n", "mul(%d, %r)"), full("y", "mul(%n, @column)")),
        [f"layer_norm(%x) {NORM}", "mul(%layer_norm, @column)"],
    ),
    "layer norm, folded": (
        layer_norm("square", RSQRT, FOLDED, full("a", "mul(%x, %g)"), column("n", "neg(%mean)"), full("b", "mul(%n, %g)"),
                   full("t", "add(%b, @o)"), full("y", "add(%a, %t)")),
        [f"layer_norm(%x, @s, @o) {NORM}"],
    ),
    "layer norm, folded by subtraction": (
        layer_norm("square", RSQRT, FOLDED, full("b", "mul(%mean, %g)"), full("a", "mul(%x, %g)"), full("t", "sub(@o, %b)"),
                   full("y", "add(%a, %t)")),
        [f"layer_norm(%x, @s, @o) {NORM}"],
    ),
    "layer norm, folded without a scale": (
        layer_norm("square", RSQRT, column("b", "mul(%mean, %r)"), full("a", "mul(%x, %r)"), full("y", "sub(%a, %b)")),
        [f"layer_norm(%x) {NORM}"],
    ),
    "rms norm": (
        [full("q", "square(%x)"), *variance(), RSQRT, full("n", "mul(%x, %r)"), full("y", "mul(@s, %n)")],
        [f"rms_norm(%x, @s) {NORM}"],
    ),
    "rms norm by division": (
        [full("q", "pow(%x, @two)"), *variance(), column("s1", "sqrt(%e)"), full("y", "div(%x, %s1)")],
        [f"rms_norm(%x) {NORM}"],
    ),
    "rms norm, folded": (
        [full("q", "mul(%x, %x)"), *variance(), RSQRT, FOLDED, full("y", "mul(%x, %g)")], [f"rms_norm(%x, @s) {NORM}"],
    ),
    "softmax": ([*EXPS, full("y", "div(%e, %t)")], ["softmax(%x) {axis = 2}"]),
    "softmax without a maximum": (
        [full("e", "exp(%x)"), "%t: f32[N, 1, 8] = reduce_sum(%e) {axes = (1,), keepdims = true}", full("y", "div(%e, %t)")],
        ["softmax(%x) {axis = 1}"],
    ),
    "log softmax": ([*EXPS, column("l", "log(%t)"), full("y", "sub(%d, %l)")], ["log_softmax(%x) {axis = 2}"]),
    "log softmax of a sum": (
        [column("l", "reduce_log_sum_exp(%x) {axes = (2,), keepdims = true}"), full("y", "sub(%x, %l)")],
        ["log_softmax(%x) {axis = 2}"],
    ),
    "log of softmax": ([full("p", "softmax(%x)"), full("y", "log(%p)")], ["log_softmax(%x)"]),
    "gelu, half of it after": ([*ERF, full("h", "mul(%x, %p)"), full("y", "mul(%h, @half)")], ["gelu(%x)"]),
    "gelu, half of it before": ([*ERF, full("h", "div(%x, @two)"), full("y", "mul(%h, %p)")], ["gelu(%x)"]),
    "gelu, half of the sum": ([*ERF, full("h", "mul(%p, @half)"), full("y", "mul(%h, %x)")], ["gelu(%x)"]),
    "gelu by division": (
        [full("t", "div(%x, @root2)"), *ERF[1:], full("h", "mul(%x, %p)"), full("y", "mul(%h, @half)")], ["gelu(%x)"],
    ),
    "gelu by tanh": ([*CUBE, full("h", "mul(%x, @half)"), full("y", "mul(%h, %p)")], ["gelu(%x) {approximate = true}"]),
    "gelu by tanh of a power": (
        [full("c", "pow(%x, @three)"), *CUBE[2:], full("h", "mul(%p, @half)"), full("y", "mul(%x, %h)")],
        ["gelu(%x) {approximate = true}"],
    ),
    "gelu by tanh, factored": (
        [full("k", "square(%x)"), full("w", "mul(%k, @cube)"), full("u", "add(%w, @one)"), full("v", "mul(%x, @pi)"),
         full("z", "mul(%v, %u)"), *CUBE[5:], full("h", "mul(%x, %p)"), full("y", "mul(%h, @half)")],
        ["gelu(%x) {approximate = true}"],
    ),
    "sigmoid": ([*ONES, full("y", "div(@one, %p)")], ["sigmoid(%x)"]),
    "sigmoid by reciprocal": ([*ONES, full("y", "reciprocal(%p)")], ["sigmoid(%x)"]),
    "silu": ([full("s1", "sigmoid(%x)"), full("y", "mul(%x, %s1)")], ["silu(%x)"]),
    "silu by division": ([*ONES, full("y", "div(%x, %p)")], ["silu(%x)"]),
    "swish": (
        [full("t", "mul(%x, @beta)"), full("s1", "sigmoid(%t)"), full("y", "mul(%s1, %x)")],
        ["silu(%x) {beta = 1.7020000219345093}"],
    ),
    "softplus": ([full("e", "exp(%x)"), full("p", "add(@one, %e)"), full("y", "log(%p)")], ["softplus(%x)"]),
    "softplus by log1p": ([full("e", "exp(%x)"), full("y", "log1p(%e)")], ["softplus(%x)"]),
    "mish": (
        [full("e", "exp(%x)"), full("l", "log1p(%e)"), full("t", "tanh(%l)"), full("y", "mul(%x, %t)")], ["mish(%x)"],
    ),
    "hard silu": ([*BOX, full("v", "mul(%x, %c)"), full("y", "div(%v, @six)")], ["hard_silu(%x)"]),
    "hard silu, cut before": ([*BOX, full("v", "mul(%c, @sixth)"), full("y", "mul(%x, %v)")], ["hard_silu(%x)"]),
    "hard sigmoid": (
        [*BOX, full("y", "div(%c, @six)")], ["hard_sigmoid(%x) {alpha = 0.16666666666666666}"],
    ),
    "choice by products": (
        [full("k", "cast(%m) {to = f32}"), full("a", "mul(%k, %x)"), "%n: bool[N, 6, 8] = logical_not(%m)",
         full("l", "cast(%n) {to = f32}"), full("b", "mul(@low, %l)"), full("y", "add(%a, %b)")],
        ["where(%m, %x, @c)"],
    ),
    "product of rows": (
        ["%r: f32[6*N, 8] = reshape(%x) {shape = (dim 6*N, 8)}", "%p: f32[6*N, 8] = matmul(%r, @w)",
         full("y", "reshape(%p) {shape = (dim N, 6, 8)}")],
        ["matmul(%x, @w)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_found(name: str) -> None:
    body, after = CASES[name]
    graph = graph_of(*body)
    found = lines(optimized(graph, "recognize", "dce"))
    assert [line.replace("%n, ", "%layer_norm, ") for line in found] == after
    same_outputs(graph, ("recognize",))


STAY = {
    "another constant": [full("t", "mul(%x, @half)"), *ERF[1:], full("h", "mul(%x, %p)"), full("y", "mul(%h, @half)")],
    "another operand": [full("z", "exp(%x)"), full("s1", "sigmoid(%z)"), full("y", "mul(%x, %s1)")],
    "means over other axes": [MEAN, CENTRED, full("q", "square(%d)"), full("e", "add(%q, @eps)"),
                              full("r", "rsqrt(%e)"), full("y", "mul(%d, %r)")],
    "softmax over two axes": ["%a: f32[N, 1, 1] = reduce_max(%x) {axes = (1, 2), keepdims = true}",
                              full("d", "sub(%x, %a)"), full("e", "exp(%d)"),
                              "%t: f32[N, 1, 1] = reduce_sum(%e) {axes = (1, 2), keepdims = true}",
                              full("y", "div(%e, %t)")],
    "what others read": [full("s1", "sigmoid(%x)"), full("a", "mul(%x, %s1)"), full("y", "sub(%a, %s1)")],
}  # fmt: skip


@pytest.mark.parametrize("name", STAY)
def test_not_found(name: str) -> None:
    graph = graph_of(*STAY[name])
    assert len(lines(optimized(graph, "recognize"))) == len(STAY[name])
    same_outputs(graph, ("recognize",))
