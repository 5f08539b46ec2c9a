# ruff: noqa: E501 - the texts of graphs are wide
"""batchnorm, pooling, padding, sums: what is folded into products and pools, what must not be, and the same results."""

from __future__ import annotations

from typing import Any

import pytest

from tenun.passes import padding, pooling, sums
from tenun.tests.passes.rewriting import close, graph_of, lines, optimized, rules_applied

CONV = "strides = (1, 1), dilations = (1, 1)"
SAME, VALID = f'conv {{{CONV}, padding = "same"}}', f"conv {{{CONV}}}"
NORM5 = "batch_norm({}, @b5, @c5, @d5, @v5) {{axis = -1, epsilon = 0.001}}"
NORM3 = "batch_norm({}, @b3, @c3, @d3, @v3) {{axis = -1, epsilon = 0.001}}"
NORM6 = "batch_norm({}, @b6, @c6, @c6, @v6) {{axis = -1, epsilon = 0.001}}"
X5, X3 = "f32[N, 4, 6, 5]", "f32[N, 4, 6, 3]"
CONVED = f'%c: {X5} = conv(%x, @w, @b5) {{{CONV}, padding = "same"}}'
DENSE = "%c: f32[N, 5] = matmul(%s, @m, @b5)"

BATCHNORM: dict[str, tuple[str, list[str]]] = {
    # after a product
    "norm after matmul": (f"{DENSE}\n%y: f32[N, 5] = {NORM5.format('%c')}", ["matmul"]),
    "norm after depthwise": (f'%c: {X3} = conv(%x, @wd) {{{CONV}, padding = "same", groups = 3}}\n%y: {X3} = {NORM3.format("%c")}',
                             [f'conv {{{CONV}, padding = "same", groups = 3}}']),
    "norm after conv_transpose": (f"%c: f32[N, 5, 7, 2] = conv_transpose(%x, @wt) {{{CONV}, output_padding = (0, 0)}}\n"
                                  "%y: f32[N, 5, 7, 2] = mul(%c, @c2)", [f"conv_transpose {{{CONV}, output_padding = (0, 0)}}"]),
    "factor after conv_transpose in groups": (
        f"%c: f32[N, 5, 7, 6] = conv_transpose(%x, @wt) {{{CONV}, output_padding = (0, 0), groups = 3}}\n%y: f32[N, 5, 7, 6] = mul(@c6, %c)",
        [f"conv_transpose {{{CONV}, output_padding = (0, 0), groups = 3}}"]),
    **{f"{op} of a number": (f"{CONVED}\n@k0: f32[] = 2.5\n%y: {X5} = {op}(%c, @k0)", [SAME]) for op in ("mul", "div", "add", "sub")},
    **{f"{op} of a row": (f"{CONVED}\n%y: {X5} = {op}(%c, @c5)", [SAME]) for op in ("mul", "div", "add", "sub")},
    "neg": (f"{CONVED}\n%y: {X5} = neg(%c)", [SAME]),
    "mul then add": (f"{CONVED}\n%d: {X5} = mul(%c, @c5)\n%y: {X5} = add(%d, @d5)", [SAME]),
    "division of a constant stays": (f"{CONVED}\n%y: {X5} = div(@c5, %c)", [SAME, "div"]),
    "division by zero stays": (f"{CONVED}\n@k0: f32[] = 0.0\n%y: {X5} = div(%c, @k0)", [SAME, "div"]),
    "a result read twice stays": (f"{DENSE}\n%d: f32[N, 5] = mul(%c, @c5)\n%y: f32[N, 5] = add(%c, %d)", ["matmul", "mul", "add"]),
    "after an activation stays": ("%c: f32[N, 5] = matmul(%s, @m) {activation = relu}\n%y: f32[N, 5] = mul(%c, @c5)",
                                  ["matmul {activation = relu}", "mul"]),
    # what stands between
    "through a reshape": (f"{DENSE}\n%d: f32[N, 1, 5] = reshape(%c) {{shape = (dim N, 1, 5)}}\n%y: f32[N, 1, 5] = mul(%d, @c5)",
                          ["matmul", "reshape {shape = (dim N, 1, 5)}"]),
    "through heads": ("%c: f32[N, 5, 30] = matmul(%t, @wc, @c30)\n%d: f32[N, 5, 3, 10] = reshape(%c) {shape = (dim N, 5, 3, 10)}\n"
                      "%e: f32[N, 3, 5, 10] = transpose(%d) {perm = (0, 2, 1, 3)}\n%y: f32[N, 3, 5, 10] = mul(%e, @c10)",
                      ["matmul", "reshape {shape = (dim N, 5, 3, 10)}", "transpose {perm = (0, 2, 1, 3)}"]),
    "a number through a transpose": ("%c: f32[N, 5, 30] = matmul(%t, @wc)\n%e: f32[N, 30, 5] = transpose(%c) {perm = (0, 2, 1)}\n"
                                     "@k0: f32[1] = [0.125]\n%y: f32[N, 30, 5] = mul(%e, @k0)", ["matmul", "transpose {perm = (0, 2, 1)}"]),
    "a row through a transpose stays": ("%c: f32[N, 5, 30] = matmul(%t, @wc)\n%e: f32[N, 30, 5] = transpose(%c) {perm = (0, 2, 1)}\n"
                                        "%y: f32[N, 30, 5] = mul(%e, @c5)", ["matmul", "transpose {perm = (0, 2, 1)}", "mul"]),
    "through a mean": (f"{CONVED}\n%d: f32[N, 2, 3, 5] = avg_pool(%c) {{window = (2, 2), strides = (2, 2), dilations = (1, 1)}}\n"
                       f"%y: f32[N, 2, 3, 5] = {NORM5.format('%d')}", [SAME, "avg_pool {window = (2, 2), strides = (2, 2), dilations = (1, 1)}"]),
    "a shift through a mean that counts padding stays": (
        f'{CONVED}\n%d: {X5} = avg_pool(%c) {{window = (3, 3), strides = (1, 1), dilations = (1, 1), padding = "same", count_include_pad = true}}\n'
        f"%y: {X5} = add(%d, @c5)", [SAME, 'avg_pool {window = (3, 3), strides = (1, 1), dilations = (1, 1), padding = "same", count_include_pad = true}', "add"]),
    "through a global mean": (f"{CONVED}\n%d: f32[N, 5] = reduce_mean(%c) {{axes = (1, 2)}}\n%y: f32[N, 5] = {NORM5.format('%d')}",
                              [SAME, "reduce_mean {axes = (1, 2)}"]),
    "through a concatenation": (f'%c: {X5} = conv(%x, @w) {{{CONV}, padding = "same"}}\n%e: {X5} = conv(%x, @w1) {{{CONV}}}\n'
                                f"%g: f32[N, 4, 6, 10] = concat(%c, %e) {{axis = 3}}\n%y: f32[N, 4, 6, 10] = mul(%g, @c10)", [SAME, VALID, "concat {axis = 3}"]),
    "concatenation with an input stays": (f"%e: {X3} = neg(%x)\n%g: f32[N, 4, 6, 6] = concat(%x, %e) {{axis = 3}}\n%y: f32[N, 4, 6, 6] = mul(%g, @c6)",
                                          ["neg", "concat {axis = 3}", "mul"]),
    "rows of a table": ("%c: f32[N, 5, 5] = gather(@table, %k) {axis = 0}\n@k0: f32[] = 2.25\n%d: f32[N, 5, 5] = mul(%c, @k0)\n%y: f32[N, 5, 5] = add(%d, @c5)",
                        ["gather"]),
    # before a product
    "norm before matmul": (f"%c: f32[N, 6] = {NORM6.format('%s')}\n%y: f32[N, 5] = matmul(%c, @m) {{activation = relu}}", ["matmul {activation = relu}"]),
    "norm before depthwise": (f"%c: {X3} = {NORM3.format('%x')}\n%y: f32[N, 2, 4, 3] = conv(%c, @wd) {{{CONV}, groups = 3}}", [f"conv {{{CONV}, groups = 3}}"]),
    "factor before groups": (f"%g: f32[N, 4, 6, 6] = concat(%x, %x) {{axis = 3}}\n%c: f32[N, 4, 6, 6] = mul(%g, @c6)\n"
                             f"%y: f32[N, 4, 6, 4] = conv(%c, @wg) {{{CONV}, groups = 2}}", ["concat {axis = 3}", f"conv {{{CONV}, groups = 2}}"]),
    "factor before a padded conv": (f'%c: {X3} = mul(%x, @c3)\n%y: {X5} = conv(%c, @w) {{{CONV}, padding = "same"}}', [SAME]),
    "factor before conv_transpose": (f"%c: {X3} = mul(%x, @c3)\n%y: f32[N, 5, 7, 2] = conv_transpose(%c, @wt) {{{CONV}, output_padding = (0, 0)}}",
                                     [f"conv_transpose {{{CONV}, output_padding = (0, 0)}}"]),
    "addend before a conv": (f"%c: {X3} = add(%x, @c3)\n%y: f32[N, 2, 4, 5] = conv(%c, @w, @b5) {{{CONV}}}", [VALID]),
    "addend before a padded conv stays": (f'%c: {X3} = add(%x, @c3)\n%y: {X5} = conv(%c, @w) {{{CONV}, padding = "same"}}', ["add", SAME]),
    "factor and addend before a padded conv": (f'@k0: f32[] = 0.00784\n@k1: f32[] = -1.0\n%c: {X3} = mul(%x, @k0)\n%e: {X3} = add(%c, @k1)\n'
                                               f'%y: {X5} = conv(%e, @w) {{{CONV}, padding = "same"}}', ["add", SAME]),
    "two readers": ("%c: f32[N, 6] = mul(%s, @c6)\n%d: f32[N, 5] = matmul(%c, @m)\n%e: f32[N, 5] = matmul(%c, @m, @b5)\n%y: f32[N, 5] = sub(%d, %e)",
                    ["matmul", "matmul", "sub"]),
    "another reader": ("%c: f32[N, 6] = mul(%s, @c6)\n%d: f32[N, 5] = matmul(%c, @m)\n%e: f32[N, 5] = reduce_sum(%c) {axes = (1,), keepdims = true}\n".replace("%e: f32[N, 5]", "%e: f32[N, 1]")
                       + "%y: f32[N, 5] = sub(%d, %e)", ["mul", "matmul", "reduce_sum {axes = (1,), keepdims = true}", "sub"]),
    "norm before flatten and matmul": (f"%c: {X3} = {NORM3.format('%x')}\n%f0: f32[N, 72] = reshape(%c) {{shape = (dim N, 72)}}\n%y: f32[N, 5] = matmul(%f0, @m72)",
                                       ["reshape {shape = (dim N, 72)}", "matmul"]),
    "norm before mean and matmul": (f"%c: {X3} = {NORM3.format('%x')}\n%f0: f32[N, 3] = reduce_mean(%c) {{axes = (1, 2)}}\n%y: f32[N, 5] = matmul(%f0, @m3)",
                                    ["reduce_mean {axes = (1, 2)}", "matmul"]),
    "factor before padding and conv": (f"%c: {X3} = mul(%x, @c3)\n%p0: f32[N, 6, 8, 3] = pad(%c) {{pads = ((0, 0), (1, 1), (1, 1), (0, 0))}}\n"
                                       f"%y: {X5} = conv(%p0, @w) {{{CONV}}}", ["pad {pads = ((0, 0), (1, 1), (1, 1), (0, 0))}", VALID]),
    "addend before padding and conv stays": (f"%c: {X3} = add(%x, @c3)\n%p0: f32[N, 6, 8, 3] = pad(%c) {{pads = ((0, 0), (1, 1), (1, 1), (0, 0))}}\n"
                                             f"%y: {X5} = conv(%p0, @w) {{{CONV}}}", ["add", "pad {pads = ((0, 0), (1, 1), (1, 1), (0, 0))}", VALID]),
}  # fmt: skip

POOL = "window = (2, 2), strides = (2, 2), dilations = (1, 1)"
POOLING: dict[str, tuple[str, list[str]]] = {
    "mean before a 1x1 conv": (f"%c: {X5} = conv(%x, @w1, @b5) {{{CONV}}}\n%y: f32[N, 2, 3, 5] = avg_pool(%c) {{{POOL}}}", [f"avg_pool {{{POOL}}}", VALID]),
    "no bias": (f'%c: {X5} = conv(%x, @w1) {{{CONV}, padding = "same"}}\n%y: f32[N, 2, 3, 5] = avg_pool(%c) {{{POOL}}}', [f"avg_pool {{{POOL}}}", SAME]),
    "padding that counts, with a bias, stays": (
        f'%c: {X5} = conv(%x, @w1, @b5) {{{CONV}}}\n%y: f32[N, 3, 4, 5] = avg_pool(%c) {{{POOL}, padding = ((1, 1), (1, 1)), count_include_pad = true}}',
        [VALID, f"avg_pool {{{POOL}, padding = ((1, 1), (1, 1)), count_include_pad = true}}"]),
    "a 3x3 conv stays": (f"{CONVED}\n%y: f32[N, 2, 3, 5] = avg_pool(%c) {{{POOL}}}", [SAME, f"avg_pool {{{POOL}}}"]),
    "an activation stays": (f"%c: {X5} = conv(%x, @w1) {{{CONV}, activation = relu}}\n%y: f32[N, 2, 3, 5] = avg_pool(%c) {{{POOL}}}",
                            [f"conv {{{CONV}, activation = relu}}", f"avg_pool {{{POOL}}}"]),
    "global mean before a 1x1 conv": (f"%c: {X5} = conv(%x, @w1, @b5) {{{CONV}}}\n%y: f32[N, 1, 1, 5] = reduce_mean(%c) {{axes = (1, 2), keepdims = true}}",
                                      ["reduce_mean {axes = (1, 2), keepdims = true}", VALID]),
    "mean of steps before a product": ("%c: f32[N, 5, 5] = matmul(%t, @m, @b5)\n%y: f32[N, 5] = reduce_mean(%c) {axes = (1,)}",
                                       ["reduce_mean {axes = (1,)}", "matmul"]),
    "mean of channels stays": ("%c: f32[N, 5, 5] = matmul(%t, @m)\n%y: f32[N, 5] = reduce_mean(%c) {axes = (2,)}", ["matmul", "reduce_mean {axes = (2,)}"]),
}  # fmt: skip

AROUND = "{pads = ((0, 0), (1, 1), (1, 1), (0, 0))}"
LOW = "@low: f32[] = -inf\n"
P3 = "f32[N, 6, 8, 3]"
MAX = "window = (3, 3), strides = (2, 2), dilations = (1, 1)"
PADDING: dict[str, tuple[str, list[str]]] = {
    "before a conv that pads": (f"%p0: {P3} = pad(%x) {AROUND}\n%y: f32[N, 6, 8, 5] = conv(%p0, @w) {{{CONV}, padding = \"same\"}}",
                                [f"conv {{{CONV}, padding = ((2, 2), (2, 2))}}"]),
    "before a causal conv": (f"%p0: {P3} = pad(%x) {AROUND}\n%y: f32[N, 6, 8, 5] = conv(%p0, @w) {{{CONV}, padding = \"causal\"}}",
                             [f"conv {{{CONV}, padding = ((3, 1), (3, 1))}}"]),
    "before a mean": (f"%p0: {P3} = pad(%x) {AROUND}\n%y: f32[N, 2, 3, 3] = avg_pool(%p0) {{{MAX}}}",
                      [f"avg_pool {{{MAX}, padding = ((1, 1), (1, 1)), count_include_pad = true}}"]),
    "before a mean that pads without counting stays": (
        f"%p0: {P3} = pad(%x) {AROUND}\n%y: f32[N, 3, 4, 3] = avg_pool(%p0) {{{MAX}, padding = \"same\"}}", [f"pad {AROUND}", f'avg_pool {{{MAX}, padding = "same"}}']),
    "-inf before a maximum": (f"{LOW}%p0: {P3} = pad(%x, @low) {AROUND}\n%y: f32[N, 2, 3, 3] = max_pool(%p0) {{{MAX}}}", [f"max_pool {{{MAX}, padding = ((1, 1), (1, 1))}}"]),
    "zeros before a maximum stay": (f"%p0: {P3} = pad(%x) {AROUND}\n%y: f32[N, 2, 3, 3] = max_pool(%p0) {{{MAX}}}", [f"pad {AROUND}", f"max_pool {{{MAX}}}"]),
    "zeros after a relu before a maximum": (f"%c: {X3} = relu(%x)\n%p0: {P3} = pad(%c) {AROUND}\n%y: f32[N, 2, 3, 3] = max_pool(%p0) {{{MAX}}}",
                                            ["relu", f"max_pool {{{MAX}, padding = ((1, 1), (1, 1))}}"]),
    "zeros after a conv with relu before a maximum": (
        f"%c: f32[N, 4, 6, 5] = conv(%x, @w1) {{{CONV}, activation = clip(low = 0.0, high = 6.0, open_low = False, open_high = False)}}\n"
        f"%p0: f32[N, 6, 8, 5] = pad(%c) {AROUND}\n%y: f32[N, 2, 3, 5] = max_pool(%p0) {{{MAX}}}",
        [f"conv {{{CONV}, activation = clip(low = 0.0, high = 6.0, open_low = False, open_high = False)}}", f"max_pool {{{MAX}, padding = ((1, 1), (1, 1))}}"]),
    "windows of padding alone stay": ("%c: f32[N, 4, 6, 3] = relu(%x)\n%p0: f32[N, 8, 6, 3] = pad(%c) {pads = ((0, 0), (3, 1), (0, 0), (0, 0))}\n"
                                      f"%y: f32[N, 3, 2, 3] = max_pool(%p0) {{{MAX}}}",
                                      ["relu", "pad {pads = ((0, 0), (3, 1), (0, 0), (0, 0))}", f"max_pool {{{MAX}}}"]),
    "pad twice": (f"%a: {P3} = pad(%x) {AROUND}\n%y: f32[N, 7, 8, 3] = pad(%a) {{pads = ((0, 0), (0, 1), (0, 0), (0, 0))}}",
                  ["pad {pads = ((0, 0), (1, 2), (1, 1), (0, 0))}"]),
    "pad twice with other numbers stays": (f"{LOW}%a: {P3} = pad(%x) {AROUND}\n%y: f32[N, 7, 8, 3] = pad(%a, @low) {{pads = ((0, 0), (0, 1), (0, 0), (0, 0))}}",
                                           [f"pad {AROUND}", "pad {pads = ((0, 0), (0, 1), (0, 0), (0, 0))}"]),
    "activation between": (f"%c: {X5} = conv(%x, @w1) {{{CONV}}}\n%p0: f32[N, 6, 8, 5] = pad(%c) {AROUND}\n%y: f32[N, 6, 8, 5] = relu(%p0)",
                           [VALID, "relu", f"pad {AROUND}"]),
    "activation that moves 0 stays": (f"%c: {X5} = conv(%x, @w1) {{{CONV}}}\n%p0: f32[N, 6, 8, 5] = pad(%c) {AROUND}\n%y: f32[N, 6, 8, 5] = sigmoid(%p0)",
                                      [VALID, f"pad {AROUND}", "sigmoid"]),
}  # fmt: skip
GRADIENT = f"%a: f32[2, 2, 3, 3] = max_pool(%z) {{{POOL}}}\n%g: f32[2, 2, 3, 3] = neg(%a)\n%g0: f32[2, 4, 6, 3] = max_pool_grad(%z, %a, %g) {{{POOL}}}\n"
POOLED, SUM = f"max_pool {{{POOL}}}", "reduce_sum {axes = (0, 1, 2)}"
SUMS: dict[str, tuple[str, list[str]]] = {
    "over all places": (f"{GRADIENT}%y: f32[3] = {SUM[:10]}(%g0) {SUM[11:]}", [POOLED, "neg", SUM]),
    "of each image, which others read too": (
        f"{GRADIENT}%k: f32[2, 1, 1, 3] = reduce_sum(%g0) {{axes = (1, -2), keepdims = true}}\n%y: f32[2, 4, 6, 3] = add(%g0, %k)",
        [POOLED, "neg", f"max_pool_grad {{{POOL}}}", "reduce_sum {axes = (1, -2), keepdims = true}", "add"]),
    "of rows alone stays": (f"{GRADIENT}%y: f32[2, 6, 3] = reduce_sum(%g0) {{axes = (1,)}}",
                            [POOLED, "neg", f"max_pool_grad {{{POOL}}}", "reduce_sum {axes = (1,)}"]),
    "all ties stays": (f"{GRADIENT[:-2]}, all_ties = true}}\n%y: f32[3] = reduce_sum(%g0) {{axes = (0, 1, 2)}}",
                       [POOLED, "neg", f"max_pool_grad {{{POOL}, all_ties = true}}", SUM]),
}  # fmt: skip
TABLES = {"batchnorm": BATCHNORM, "pooling": POOLING, "padding": PADDING, "sums": SUMS}
CASES = [(name, case) for name, table in TABLES.items() for case in table]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_case(name: str, case: str) -> None:
    body, expected = TABLES[name][case]
    graph = graph_of(body)
    assert lines(optimized(graph, name, "fold", "dce")) == expected
    if case != "division by zero stays":
        close(graph, (name, "fold", "dce"))
        close(graph, (name,))


def test_every_rule_has_a_case(monkeypatch: Any) -> None:
    found = rules_applied(monkeypatch, [(graph_of(TABLES[name][case][0]), (name,)) for name, case in CASES])
    assert {r.name for r in (*pooling.RULES, *padding.RULES, *sums.RULES)} - found <= {"padding into conv"}
