"""The pass `directions` on text, and the same outputs with it and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tenun
from tenun.backends.numpy.evaluate import evaluate
from tenun.ir import Graph, parse, verify
from tenun.passes.manager import PIPELINES, Context, optimize

WEIGHTS = {
    "w": (1, 3, 8), "v": (1, 3, 8), "r": (1, 2, 8), "q": (1, 2, 8), "b": (1, 8), "wide": (2, 3, 8), "two_w": (2, 3, 8),
    "two": (2, 2, 8), "big": (1, 3, 12), "big_r": (1, 3, 12), "gw": (1, 3, 6), "gr": (1, 2, 6),
}  # fmt: skip
LSTM = "%{n}: f32[N, 5, {d}, 2], %{n}_h: f32[N, {d}, 2], %{n}_c: f32[N, {d}, 2] = lstm({given}) {{{attrs}}}"
TURN = "%{n}: f32[N, 5, {of}] = slice(%{x}) {{starts = (-1,), ends = (-2147483647,), axes = (1,), steps = (-1,)}}"
REVERSE = 'direction = "reverse"'


def lstm(n: str, given: str, attrs: str = "", d: int = 1) -> str:
    return LSTM.format(n=n, given=given, attrs=attrs, d=d)


def turn(n: str, x: str, of: str = "3") -> str:
    return TURN.format(n=n, x=x, of=of)


def graph_of(body: list[str], outs: str) -> Graph:
    rng = np.random.default_rng(0)
    text = "\n".join(body)
    used = {k: s for k, s in WEIGHTS.items() if f"@{k}," in text or f"@{k})" in text}
    lines = [f"  @{k}: f32[{', '.join(map(str, s))}] = sha256:0" for k, s in used.items()]
    weights = {k: rng.normal(size=s, scale=0.5).astype(np.float32) for k, s in used.items()}
    head = 'graph "g" (%x: f32[N, 5, 3], %m: bool[N, 5], %s: f32[N, 1, 2])'
    return parse(f"{head} -> ({outs}) {{\n" + "\n".join([*lines, *body]) + "\n}", weights)


ONE, TWO = "%y: f32[N, 5, 1, 2]", "%y: f32[N, 5, 1, 2], %z: f32[N, 5, 1, 2]"
BOTH = 'direction = "bidirectional"'
# name: (nodes, outputs, the recurrent nodes that become of them, other ops that are left)
CASES: dict[str, tuple[list[str], str, list[str], list[str]]] = {
    "forward and reverse": (
        [lstm("y", "%x, @w, @r, @b"), lstm("z", "%x, @v, @q, @b", REVERSE)], TWO,
        [f"lstm(%x, @w, @r, @b) {{{BOTH}}}"], ["slice", "slice"],
    ),
    "the reverse one comes first": (
        [lstm("z", "%x, @v, @q", REVERSE), lstm("y", "%x, @w, @r")], TWO,
        [f"lstm(%x, @w, @r) {{{BOTH}}}"], ["slice", "slice"],
    ),
    "x turned around, and the sequence turned back": (
        [lstm("y", "%x, @w, @r"), turn("t", "x"), lstm("k", "%t, @v, @q"), turn("z", "k", "1, 2")], TWO,
        [f"lstm(%x, @w, @r) {{{BOTH}}}"], ["slice", "slice"],
    ),
    "x turned around by itself": (
        [turn("t", "x"), lstm("y", "%t, @v, @q")], ONE, [f"lstm(%x, @v, @q) {{{REVERSE}}}"], ["slice"],
    ),
    "turned around twice": (
        [turn("t", "x"), lstm("y", "%t, @v, @q", REVERSE), "%z: f32[N, 1, 2] = neg(%y_h)"], "%z: f32[N, 1, 2]",
        ["lstm(%x, @v, @q)"], ["neg"],
    ),
    "x turned around and the mask not": (
        [turn("t", "x"), lstm("y", "%t, @v, @q, _, %m")], ONE, ["lstm(%t, @v, @q, _, %m)"], ["slice"],
    ),
    "side by side": (
        [lstm("y", "%x, @w, @r"), lstm("z", "%x, @v, @q", REVERSE),
         "%p: f32[N, 5, 2] = reshape(%y) {shape = (dim N, 5, 2)}",
         "%q: f32[N, 5, 2] = reshape(%z) {shape = (dim N, 5, 2)}",
         "%o: f32[N, 5, 4] = concat(%p, %q) {axis = 2}"], "%o: f32[N, 5, 4]",
        [f"lstm(%x, @w, @r) {{{BOTH}}}"], ["reshape"],
    ),
    "two that go the same way": (
        [lstm("y", "%x, @w, @r"), lstm("z", "%x, @v, @q")], TWO, ["lstm(%x, @w, @r)"], ["slice", "slice"],
    ),
    "three": (
        [lstm("y", "%x, @w, @r"), lstm("z", "%x, @v, @q"), lstm("k", "%x, @v, @r", REVERSE)],
        TWO + ", %k: f32[N, 5, 1, 2]",
        [f"lstm(%x, @w, @r) {{{BOTH}}}", "lstm(%x, @v, @q)"], ["slice", "slice"],
    ),
    "three that go the same way": (
        [lstm("y", "%x, @w, @r"), lstm("z", "%x, @v, @q"), lstm("k", "%x, @v, @r")], TWO + ", %k: f32[N, 5, 1, 2]",
        ["lstm(%x, @w, @r)"], ["slice", "slice", "slice"],
    ),
    "two layers of both directions": (
        [lstm("y", "%x, @wide, @two", BOTH, 2), lstm("z", "%x, @two_w, @two", BOTH, 2)],
        "%y: f32[N, 5, 2, 2], %z: f32[N, 5, 2, 2]",
        [f"lstm(%x, @wide, @two) {{{BOTH}}}"], ["slice", "slice"],
    ),
    "the same mask and states": (
        [lstm("y", "%x, @w, @r, _, %m, %s"), lstm("z", "%x, @v, @q, _, %m, %s", REVERSE)], TWO,
        [f"lstm(%x, @w, @r, _, %m, %concat) {{{BOTH}}}"], ["concat", "slice", "slice"],
    ),
    "one has a mask": (
        [lstm("y", "%x, @w, @r, _, %m"), lstm("z", "%x, @v, @q", REVERSE)], TWO,
        ["lstm(%x, @w, @r, _, %m)", f"lstm(%x, @v, @q) {{{REVERSE}}}"], [],
    ),
    "one has a bias": (
        [lstm("y", "%x, @w, @r, @b"), lstm("z", "%x, @v, @q", REVERSE)], TWO,
        ["lstm(%x, @w, @r, @b)", f"lstm(%x, @v, @q) {{{REVERSE}}}"], [],
    ),
    "other attributes": (
        [lstm("y", "%x, @w, @r"), lstm("z", "%x, @v, @q", REVERSE + ", clip = 1.0")], TWO,
        ["lstm(%x, @w, @r)", f"lstm(%x, @v, @q) {{{REVERSE}, clip = 1.0}}"], [],
    ),
    "other sizes": (
        [lstm("y", "%x, @w, @r"),
         f"%z: f32[N, 5, 1, 3], %z_h: f32[N, 1, 3], %z_c: f32[N, 1, 3] = lstm(%x, @big, @big_r) {{{REVERSE}}}"],
        "%y: f32[N, 5, 1, 2], %z: f32[N, 5, 1, 3]",
        ["lstm(%x, @w, @r)", f"lstm(%x, @big, @big_r) {{{REVERSE}}}"], [],
    ),
    "another cell": (
        [lstm("y", "%x, @w, @r"), f"%z: f32[N, 5, 1, 2], %z_h: f32[N, 1, 2] = gru(%x, @gw, @gr) {{{REVERSE}}}"], TWO,
        ["lstm(%x, @w, @r)", f"gru(%x, @gw, @gr) {{{REVERSE}}}"], [],
    ),
    "one starts where the other ends": (
        [lstm("y", "%x, @w, @r, _, _, %s"), lstm("z", "%x, @v, @q, _, _, %y_h", REVERSE)], TWO,
        ["lstm(%x, @w, @r, _, _, %s)", f"lstm(%x, @v, @q, _, _, %y_h) {{{REVERSE}}}"], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    body, outs, layers, others = CASES[name]
    graph = graph_of(body, outs)
    verify(graph)
    passes = ("directions", "fold", "dce")
    after = optimize(graph, passes, Context(evaluate), verify_each=True)
    found = [
        line.partition(" = ")[2].partition("  //")[0] for line in str(after).splitlines() if line.startswith("  %")
    ]
    cells = [line for line in found if line.startswith(("lstm", "gru"))]
    assert cells == layers
    assert sorted(line.partition("(")[0] for line in found if line not in cells) == sorted(others)
    again = optimize(after, passes, Context(evaluate), verify_each=True)
    assert str(again) == str(after)
    before, merged = tenun.compile(graph, pipeline="none"), tenun.compile(graph, pipeline=passes)
    for n in (1, 3):
        rng = np.random.default_rng(n)
        given = rng.normal(size=(n, 5, 3)).astype("f"), rng.random((n, 5)) < 0.6, rng.normal(size=(n, 1, 2)).astype("f")
        for got, want in zip(_list(merged(*given)), _list(before(*given))):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def _list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def test_it_is_part_of_inference() -> None:
    assert "directions" in PIPELINES["inference"]
