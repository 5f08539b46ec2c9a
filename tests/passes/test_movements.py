# ruff: noqa: E501 - the texts of graphs are wide
"""movements, reshapes and layout: what moves elements, before and after, bit for bit the same."""

from __future__ import annotations

import pytest

from tenun.passes.layout import blocks
from tenun.tests.passes.rewriting import close, graph_of, lines, optimized, same_bits

MOVEMENTS: dict[str, tuple[str, list[str]]] = {
    "concat of concat": ("%a: f32[N, 12] = concat(%s, %r) {axis = 1}\n%y: f32[N, 18] = concat(%a, %s) {axis = -1}", ["concat {axis = 1}"]),
    "concat of concat along another axis stays": (
        "%a: f32[2*N, 6] = concat(%s, %r) {axis = 0}\n%y: f32[2*N, 12] = concat(%a, %a) {axis = 1}", ["concat {axis = 0}", "concat {axis = 1}"]),
    "concat with nothing": ("%a: f32[N, 0] = slice(%s) {starts = (0,), ends = (0,), axes = (1,)}\n%y: f32[N, 6] = concat(%a, %r) {axis = 1}", []),
    "split restored": ("%a: f32[N, 2], %c: f32[N, 4] = split(%s) {axis = 1, sizes = (2, 4)}\n%y: f32[N, 6] = concat(%a, %c) {axis = 1}", []),
    "split in another order stays": ("%a: f32[N, 2], %c: f32[N, 4] = split(%s) {axis = 1, sizes = (2, 4)}\n%y: f32[N, 6] = concat(%c, %a) {axis = 1}",
                                     ["split {axis = 1, sizes = (2, 4)}", "concat {axis = 1}"]),
    "slices restored": ("%a: f32[N, 2] = slice(%s) {starts = (0,), ends = (2,), axes = (1,)}\n%c: f32[N, 4] = slice(%s) {starts = (-4,), ends = (9,), axes = (1,)}\n"
                        "%y: f32[N, 6] = concat(%a, %c) {axis = 1}", []),
    "neighbouring slices": ("%a: f32[N, 2] = slice(%s) {starts = (1,), ends = (3,), axes = (1,)}\n%c: f32[N, 2] = slice(%s) {starts = (3,), ends = (5,), axes = (1,)}\n"
                            "%y: f32[N, 10] = concat(%a, %c, %r) {axis = 1}",
                            ["slice {starts = (1,), ends = (5,), axes = (1,)}", "concat {axis = 1}"]),
    "slice of a slice": ("%a: f32[N, 4] = slice(%s) {starts = (1,), ends = (5,), axes = (1,)}\n%y: f32[N, 2] = slice(%a) {starts = (2,), ends = (4,), axes = (1,)}",
                         ["slice {starts = (3,), ends = (5,), axes = (1,)}"]),
    "slice of a part": ("%a: f32[N, 2], %c: f32[N, 4] = split(%s) {axis = 1, sizes = (2, 4)}\n%y: f32[N, 2] = slice(%c) {starts = (1,), ends = (-1,), axes = (1,)}",
                        ["slice {starts = (3,), ends = (5,), axes = (1,)}"]),
    "slice of one operand": ("%a: f32[N, 12] = concat(%s, %r) {axis = 1}\n%y: f32[N, 3] = slice(%a) {starts = (7,), ends = (10,), axes = (1,)}",
                             ["slice {starts = (1,), ends = (4,), axes = (1,)}"]),
    "slice of whole operands": ("%a: f32[N, 18] = concat(%s, %r, %s) {axis = 1}\n%y: f32[N, 12] = slice(%a) {starts = (6,), ends = (18,), axes = (1,)}",
                                ["concat {axis = 1}"]),
    "slice across operands stays": ("%a: f32[N, 12] = concat(%s, %r) {axis = 1}\n%y: f32[N, 3] = slice(%a) {starts = (5,), ends = (8,), axes = (1,)}",
                                    ["concat {axis = 1}", "slice {starts = (5,), ends = (8,), axes = (1,)}"]),
    "split of concat": ("%a: f32[N, 12] = concat(%s, %r) {axis = 1}\n%c: f32[N, 6], %e: f32[N, 6] = split(%a) {axis = 1, sizes = (6, 6)}\n"
                        "%y: f32[N, 6] = sub(%c, %e)", ["sub"]),
    "gather of a place": ("@c: i64[] = -2\n%y: f32[N, 6, 3] = gather(%x, @c) {axis = 1}",
                          ["slice {starts = (2,), ends = (3,), axes = (1,), steps = (1,)}", "reshape {shape = (dim N, 6, 3)}"]),
    "gather of a range": ("@c: i64[3] = [0, 2, 4]\n%y: f32[N, 3] = gather(%s, @c) {axis = 1}", ["slice {starts = (0,), ends = (5,), axes = (1,), steps = (2,)}"]),
    "gather of places in disorder stays": ("@c: i64[3] = [0, 4, 2]\n%y: f32[N, 3] = gather(%s, @c) {axis = 1}", ["gather {axis = 1}"]),
    "tile of ones": ("%a: f32[N, 1, 6] = reshape(%s) {shape = (dim N, 1, 6)}\n%y: f32[N, 4, 6] = tile(%a) {repeats = (1, 4, 1)}",
                     ["reshape {shape = (dim N, 1, 6)}", "expand {shape = (dim N, 4, 6)}"]),
    "repeat of ones": ("%a: f32[N, 1, 6] = reshape(%s) {shape = (dim N, 1, 6)}\n%y: f32[N, 4, 6] = repeat(%a) {repeats = 4, axis = 1}",
                       ["reshape {shape = (dim N, 1, 6)}", "expand {shape = (dim N, 4, 6)}"]),
    "expand twice": ("%a: f32[N, 1, 6] = reshape(%s) {shape = (dim N, 1, 6)}\n%e: f32[N, 5, 6] = expand(%a) {shape = (dim N, 5, 6)}\n"
                     "%y: f32[4, N, 5, 6] = expand(%e) {shape = (4, dim N, 5, 6)}", ["reshape {shape = (dim N, 1, 6)}", "expand {shape = (4, dim N, 5, 6)}"]),
    "expand before a broadcast": ("%a: f32[N, 1, 6] = reshape(%s) {shape = (dim N, 1, 6)}\n%e: f32[N, 5, 6] = expand(%a) {shape = (dim N, 5, 6)}\n"
                                  "%y: f32[N, 5, 6] = add(%e, %t)", ["reshape {shape = (dim N, 1, 6)}", "add"]),
    "expand that makes the shape stays": ("%a: f32[N, 1, 6] = reshape(%s) {shape = (dim N, 1, 6)}\n%e: f32[N, 5, 6] = expand(%a) {shape = (dim N, 5, 6)}\n"
                                          "%g: f32[N, 1, 6] = reshape(%r) {shape = (dim N, 1, 6)}\n%h1: f32[N, 5, 6] = expand(%g) {shape = (dim N, 5, 6)}\n"
                                          "%y: f32[N, 5, 6] = mul(%e, %h1)",
                                          ["reshape {shape = (dim N, 1, 6)}", "expand {shape = (dim N, 5, 6)}", "reshape {shape = (dim N, 1, 6)}", "mul"]),
    "windows of one": ("%y: f32[N, 4, 6, 3] = max_pool(%x) {window = (1, 1), strides = (1, 1), dilations = (1, 1)}", []),
    "windows of one in strides": ('%y: f32[N, 2, 3, 3] = avg_pool(%x) {window = (1, 1), strides = (2, 2), dilations = (1, 1), padding = "same"}',
                                  ["slice {starts = (0, 0), ends = (4, 6), axes = (1, 2), steps = (2, 2)}"]),
}  # fmt: skip

RESHAPES: dict[str, tuple[str, list[str]]] = {
    "bias and activation": ("%m0: f32[N, 5] = matmul(%s, @m)\n%a: f32[N, 1, 1, 5] = reshape(%m0) {shape = (dim N, 1, 1, 5)}\n"
                            "%c: f32[N, 1, 1, 5] = add(%a, @b5)\n%y: f32[N, 1, 1, 5] = relu(%c)", ["matmul", "add", "relu", "reshape {shape = (dim N, 1, 1, 5)}"]),
    "two branches": ("%m0: f32[N, 5] = matmul(%s, @m)\n%a: f32[N, 1, 5] = reshape(%m0) {shape = (dim N, 1, 5)}\n%m1: f32[N, 5] = matmul(%r, @m)\n"
                     "%c: f32[N, 1, 5] = reshape(%m1) {shape = (dim N, 1, 5)}\n%y: f32[N, 1, 5] = sub(%c, %a)",
                     ["matmul", "matmul", "sub", "reshape {shape = (dim N, 1, 5)}"]),
    "a branch of another shape stays": ("%m0: f32[N, 5] = matmul(%s, @m)\n%a: f32[N, 1, 5] = reshape(%m0) {shape = (dim N, 1, 5)}\n%c: f32[N, 5, 5] = matmul(%t, @m)\n"
                                        "%y: f32[N, 5, 5] = add(%c, %a)", ["matmul", "reshape {shape = (dim N, 1, 5)}", "matmul", "add"]),
    "of an input stays": ("%a: f32[N, 1, 6] = reshape(%s) {shape = (dim N, 1, 6)}\n%y: f32[N, 1, 6] = relu(%a)", ["reshape {shape = (dim N, 1, 6)}", "relu"]),
    "a number": ("%m0: f32[2, 4, 6, 5] = matmul(%z, @m3)\n%a: f32[240] = reshape(%m0) {shape = (240,)}\n@c: f32[1] = [2.0]\n%y: f32[240] = mul(%a, @c)",
                                ["matmul", "reshape {shape = ()}", "mul", "reshape {shape = (240,)}"]),
}  # fmt: skip

LAYOUT: dict[str, tuple[str, list[str]]] = {
    "a reshape that splits": ("%a: f32[N, 3, 4, 6] = transpose(%x) {perm = (0, 3, 1, 2)}\n%y: f32[N, 3, 2, 2, 6] = reshape(%a) {shape = (dim N, 3, 2, 2, 6)}",
                              ["reshape {shape = (dim N, 2, 2, 6, 3)}", "transpose {perm = (0, 4, 1, 2, 3)}"]),
    "a reshape that joins": ("%a: f32[N, 3, 4, 6] = transpose(%x) {perm = (0, 3, 1, 2)}\n%c: f32[N, 3, 24] = reshape(%a) {shape = (dim N, 3, 24)}\n"
                             "%y: f32[N, 24, 3] = transpose(%c) {perm = (0, 2, 1)}", ["reshape {shape = (dim N, 24, 3)}"]),
    "a reshape that joins what was apart stays": ("%a: f32[N, 3, 4, 6] = transpose(%x) {perm = (0, 3, 1, 2)}\n%y: f32[N, 12, 6] = reshape(%a) {shape = (dim N, 12, 6)}",
                                                  ["transpose {perm = (0, 3, 1, 2)}", "reshape {shape = (dim N, 12, 6)}"]),
    "channel shuffle": ("%a: f32[2, 6, 4, 3] = transpose(%z) {perm = (0, 2, 1, 3)}\n%c: f32[2, 2, 3, 4, 3] = reshape(%a) {shape = (2, 2, 3, 4, 3)}\n"
                        "%e: f32[2, 3, 2, 4, 3] = transpose(%c) {perm = (0, 2, 1, 3, 4)}\n%g: f32[2, 6, 4, 3] = reshape(%e) {shape = (2, 6, 4, 3)}\n"
                        "%y: f32[2, 4, 6, 3] = transpose(%g) {perm = (0, 2, 1, 3)}",
                        ["reshape {shape = (2, 4, 2, 3, 3)}", "transpose {perm = (0, 1, 3, 2, 4)}", "reshape {shape = (2, 4, 6, 3)}"]),
    "rows of a product": ("%a: f32[N, 6, 4, 3] = transpose(%x) {perm = (0, 2, 1, 3)}\n%c: f32[N, 6, 4, 5] = matmul(%a, @m3, @b5) {activation = relu}\n"
                          "%y: f32[N, 4, 6, 5] = transpose(%c) {perm = (0, 2, 1, 3)}", ["matmul {activation = relu}"]),
    "place of the largest channel": ("%a: f32[N, 3, 4, 6] = transpose(%x) {perm = (0, 3, 1, 2)}\n%y: i64[N, 4, 6] = argmax(%a) {axis = 1}", ["argmax {axis = 3}"]),
    "resize": ("%a: f32[N, 3, 4, 6] = transpose(%x) {perm = (0, 3, 1, 2)}\n%c: f32[N, 3, 8, 12] = resize(%a) {sizes = (8, 12), axes = (2, 3)}\n"
               "%y: f32[N, 8, 12, 3] = transpose(%c) {perm = (0, 2, 3, 1)}", ["resize {sizes = (8, 12), axes = (1, 2)}"]),
    "columns of a product stay": ("%a: f32[N, 3, 4, 6] = transpose(%x) {perm = (0, 3, 1, 2)}\n%y: f32[N, 3, 4, 5] = matmul(%a, @m)",
                                  ["transpose {perm = (0, 3, 1, 2)}", "matmul"]),
}  # fmt: skip
TABLES = {"movements": MOVEMENTS, "reshapes": RESHAPES, "layout": LAYOUT}
CASES = [(name, case) for name, table in TABLES.items() for case in table]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_case(name: str, case: str) -> None:
    body, expected = TABLES[name][case]
    graph = graph_of(body)
    assert lines(optimized(graph, name, "dce")) == expected
    if "matmul" in body:
        close(graph, (name, "fold"))
    else:
        same_bits(graph, (name, "fold", "dce"))


def test_blocks_of_a_reshape() -> None:
    assert blocks((2, 3, 4), (6, 4)) == [(range(2), range(1)), (range(2, 3), range(1, 2))]
    assert blocks((2, 12), (2, 3, 4, 1)) == [(range(1), range(1)), (range(1, 2), range(1, 4))]
    assert blocks((6, 4), (4, 6)) == [(range(2), range(2))]
    assert blocks((1, 4), (4,)) == [(range(2), range(1))]
    assert blocks((), ()) is None and blocks((0, 3), (3, 0)) is None
