# ruff: noqa: E501 - the texts of graphs are wide
"""simplify, strength and reassociate: each rule alone, on NaN, infinities, both zeros and numbers near overflow."""

from __future__ import annotations

from typing import Any

import pytest

from tenun.passes import reassociate, simplify, strength
from tenun.tests.passes.rewriting import close, graph_of, lines, optimized, rules_applied, same_bits

S, I, P = "f32[N, 6]", "i32[N, 6]", "bool[N, 6]"
HALVES = "{window = (2, 2), strides = (2, 2), dilations = (1, 1)}"


def unary(*ops: str, start: str = "%s", t: str = S) -> str:
    """A chain of unary ops."""
    text, last = "", start
    for n, op in enumerate(ops):
        name = "%y" if n == len(ops) - 1 else f"%a{n}"
        op, _, attrs = op.partition(" ")
        text += f"{name}: {t} = {op}({last}) {attrs}\n"
        last = name
    return text


def beside(op: str, number: str, start: str = "%s", t: str = S, out: str = "", first: bool = False, c: str = "") -> str:
    """An op with a constant beside an input."""
    c = c or t.partition("[")[0]
    pair = f"@c, {start}" if first else f"{start}, @c"
    return f"@c: {c}[] = {number}\n%y: {out or t} = {op}({pair})"


def pair(op: str, start: str = "%s", t: str = S) -> str:
    return f"%y: {t} = {op}({start}, {start})"


EXACT: dict[str, tuple[str, list[str]]] = {
    # neutral elements
    "mul 1": (beside("mul", "1.0"), []),
    "div 1": (beside("div", "1.0"), []),
    "pow 1": (beside("pow", "1.0"), []),
    "add -0": (beside("add", "-0.0"), []),
    "add 0 stays": (beside("add", "0.0"), ["add"]),
    "sub 0": (beside("sub", "0.0"), []),
    "sub -0 adds 0": (beside("sub", "-0.0"), ["neg", "add"]),
    "add integer 0": (beside("add", "0", "%i", I), []),
    "mul 0 stays": (beside("mul", "0.0"), ["mul"]),
    "mul integer 0": (beside("mul", "0", "%i", I), ["expand {shape = (dim N, 6)}"]),
    "bit_or 0": (beside("bit_or", "0", "%i", I), []),
    "bit_xor 0": (beside("bit_xor", "0", "%i", I), []),
    "shift_left 0": (beside("shift_left", "0", "%i", I), []),
    "shift_right 0": (beside("shift_right", "0", "%i", I), []),
    "floor_div 1": (beside("floor_div", "1", "%i", I), []),
    "and true": (beside("logical_and", "true", "%p", P), []),
    "and false": (beside("logical_and", "false", "%p", P), ["expand {shape = (dim N, 6)}"]),
    "or false": (beside("logical_or", "false", "%p", P), []),
    "or true": (beside("logical_or", "true", "%p", P), ["expand {shape = (dim N, 6)}"]),
    "xor false": (beside("logical_xor", "false", "%p", P), []),
    "xor true": (beside("logical_xor", "true", "%p", P), ["logical_not"]),
    "equal true": (beside("equal", "true", "%p", P), []),
    "not_equal false": (beside("not_equal", "false", "%p", P), []),
    # with itself
    "maximum itself": (pair("maximum"), []),
    "minimum itself": (pair("minimum"), []),
    "and itself": (pair("logical_and", "%p", P), []),
    "or itself": (pair("logical_or", "%p", P), []),
    "bit_and itself": (pair("bit_and", "%i", I), []),
    "bit_or itself": (pair("bit_or", "%i", I), []),
    "mul itself": (pair("mul"), ["square"]),
    "sub itself stays": (pair("sub"), ["sub"]),
    "div itself stays": (pair("div"), ["div"]),
    "integer sub itself": (pair("sub", "%i", I), ["expand {shape = (dim N, 6)}"]),
    # choice
    "where of one": (f"%y: {S} = where(%p, %s, %s)", []),
    "where of one, wider condition": ("%o: bool[2, 4, 6, 3] = greater(%z, @b3)\n%y: f32[2, 4, 6, 3] = where(%o, @b3, @b3)",
                                      ["greater", "where"]),
    **{f"max_pool_grad where {op}": (
        f"@c: f32[] = 0.5\n@zero: f32[] = 0.0\n%a: f32[2, 2, 3, 3] = max_pool(%z) {HALVES}\n%g: f32[2, 2, 3, 3] = neg(%a)\n"
        f"%m: f32[2, 4, 6, 3] = max_pool_grad(%z, %a, %g) {HALVES}\n%o: bool[2, 4, 6, 3] = {op}(%z, @c)\n%y: f32[2, 4, 6, 3] = where(%o, %m, @zero)",
        [f"max_pool {HALVES}", "neg", op, "where", f"max_pool_grad {HALVES}"])
       for op in ("greater", "greater_equal", "less", "less_equal")},
    "where not": (f"%n: {P} = logical_not(%p)\n%y: {S} = where(%n, %s, %r)", ["where"]),
    "where true": (f"@c: bool[] = true\n%y: {S} = where(@c, %s, %r)", []),
    "where false": (f"@c: bool[] = false\n%y: {S} = where(@c, %s, %r)", []),
    "where true, wider other": ("@c: bool[] = true\n%y: f32[2, 4, 6, 3] = where(@c, @b3, %z)", ["expand {shape = (2, 4, 6, 3)}"]),
    # signs
    **{f"{op} twice": (unary(op, op), [op]) for op in ("relu", "abs", "floor", "ceil", "round", "sign")},
    **{f"abs of {op}": (unary(op, "abs"), [op]) for op in ("square", "exp", "sigmoid")},
    **{f"relu of {op}": (unary(op, "relu"), [op]) for op in ("abs", "square", "exp", "sigmoid")},
    "abs of softmax": (unary("softmax {axis = -1}", "abs"), ["softmax"]),
    "relu of softmax": (unary("softmax {axis = -1}", "relu"), ["softmax"]),
    "abs of sqrt stays": (unary("sqrt", "abs"), ["sqrt", "abs"]),
    "abs of neg": (unary("neg", "abs"), ["abs"]),
    "square of neg": (unary("neg", "square"), ["square"]),
    "square of abs": (unary("abs", "square"), ["square"]),
    "neg twice": (unary("neg", "neg"), []),
    "not twice": (unary("logical_not", "logical_not", start="%p", t=P), []),
    "mul -1": (beside("mul", "-1.0"), ["neg"]),
    "div -1": (beside("div", "-1.0"), ["neg"]),
    "add of neg": (f"%n: {S} = neg(%r)\n%y: {S} = add(%s, %n)", ["sub"]),
    "sub of neg": (f"%n: {S} = neg(%r)\n%y: {S} = sub(%s, %n)", ["add"]),
    "neg of sub stays": (f"%n: {S} = sub(%s, %r)\n%y: {S} = neg(%n)", ["sub", "neg"]),
    **{f"{op} of negs": (f"%n: {S} = neg(%s)\n%k: {S} = neg(%r)\n%y: {S} = {op}(%n, %k)", [op]) for op in ("mul", "div")},
    **{f"{op} of neg and a constant": (f"@c: f32[] = 3.0\n%n: {S} = neg(%s)\n%y: {S} = {op}(%n, @c)", ["neg", op])
       for op in ("mul", "div")},
    **{f"neg of {op} by a constant": (f"@c: f32[] = 3.0\n%n: {S} = {op}(%s, @c)\n%y: {S} = neg(%n)", ["neg", op])
       for op in ("mul", "div")},
    "sub of a constant": (beside("sub", "3.5"), ["neg", "add"]),
    "not equal": (f"%n: {P} = equal(%s, %r)\n%y: {P} = logical_not(%n)", ["not_equal"]),
    "not not_equal": (f"%n: {P} = not_equal(%s, %r)\n%y: {P} = logical_not(%n)", ["equal"]),
    "not less stays": (f"%n: {P} = less(%s, %r)\n%y: {P} = logical_not(%n)", ["less", "logical_not"]),
    **{f"integer not {op}": (f"%n: {P} = {op}(%i, %j)\n%y: {P} = logical_not(%n)", [other]) for op, other in (
        ("less", "greater_equal"), ("less_equal", "greater"), ("greater", "less_equal"), ("greater_equal", "less"))},
    # bounds
    "maximum": (beside("maximum", "-1.5", first=True), ["clip {low = -1.5}"]),
    "minimum": (beside("minimum", "2.0"), ["clip {high = 2.0}"]),
    "maximum then minimum": (f"@a: f32[] = -1.0\n@c: f32[] = 2.0\n%m: {S} = maximum(%s, @a)\n%y: {S} = minimum(%m, @c)",
                             ["clip {low = -1.0, high = 2.0}"]),
    "clip of clip": (unary("clip {low = -1.0, high = 4.0}", "clip {low = 0.5, high = 6.0}"), ["clip {low = 0.5, high = 4.0}"]),
    "clip of clip above": (unary("clip {low = -1.0, high = 0.25}", "clip {low = 0.5, high = 6.0}"), ["clip {low = 0.5, high = 0.5}"]),
    "relu of clip": (unary("clip {low = -1.0, high = 6.0, open_high = true}", "relu"), ["clip {low = 0.0, high = 6.0, open_high = true}"]),
    "clip of relu": (unary("relu", "clip {low = none, high = 6.0}"), ["clip {low = 0.0, high = 6.0}"]),
    "clip without bounds": (unary("clip {low = none, high = none}"), []),
    "maximum with NaN stays": (beside("maximum", "nan"), ["maximum"]),
    # reductions
    **{f"{op} twice": (f"%a: f32[2, 6, 3] = {op}(%z) {{axes = (1,)}}\n%y: f32[2, 3] = {op}(%a) {{axes = (1,)}}",
                       [f"{op} {{axes = (1, 2)}}"]) for op in ("reduce_max", "reduce_min")},
    **{f"{op} twice": (f"%g: bool[2, 4, 6, 3] = greater(%z, @b3)\n%a: bool[2, 1, 6, 3] = {op}(%g) {{axes = (1,), keepdims = true}}\n"
                       f"%y: bool[2, 1, 3] = {op}(%a) {{axes = (2,)}}",
                       ["greater", f"{op} {{axes = (1, 2)}}", "reshape {shape = (2, 1, 3)}"]) for op in ("reduce_any", "reduce_all")},
    "reduction and reshape": ("%a: f32[N, 1, 1, 3] = reduce_sum(%x) {axes = (1, 2), keepdims = true}\n"
                              "%y: f32[N, 3] = reshape(%a) {shape = (dim N, 3)}", ["reduce_sum {axes = (1, 2)}"]),
    # casts
    "cast to itself": (unary("cast {to = f32}"), []),
    "cast there and back": (f"%a: f64[N, 6] = cast(%s) {{to = f64}}\n%y: {S} = cast(%a) {{to = f32}}", []),
    "cast by way of more": ("%a: f32[N, 6] = cast(%h) {to = f32}\n%y: f64[N, 6] = cast(%a) {to = f64}", ["cast {to = f64}"]),
    "cast of integers": (f"%a: i64[N, 6] = cast(%u) {{to = i64}}\n%y: {I} = cast(%a) {{to = i32}}", ["cast {to = i32}"]),
    "cast by way of less stays": (f"%a: f16[N, 6] = cast(%s) {{to = f16}}\n%y: {S} = cast(%a) {{to = f32}}", ["cast {to = f16}", "cast {to = f32}"]),
    "cast of a float to an integer stays": ("%a: f64[N, 6] = cast(%s) {to = f64}\n%y: i32[N, 6] = cast(%a) {to = i32}",
                                            ["cast {to = f64}", "cast {to = i32}"]),
    "identity": (unary("identity"), []),
    "stop_gradient": (unary("stop_gradient"), []),
    "straight_through": (f"%y: {S} = straight_through(%s, %s)", []),
    "round_gradient": ("@c: f32[] = 2.0\n%y: f32[N, 6] = round_gradient(%s, @c) {to = f8e5m2}", []),
}  # fmt: skip

STRENGTH: dict[str, tuple[str, list[str]]] = {
    **{f"pow {n}": (beside("pow", n), [op]) for n, op in (("2.0", "square"), ("0.5", "sqrt"), ("-1.0", "reciprocal"), ("-0.5", "rsqrt"))},
    "pow 0": (beside("pow", "0.0"), ["expand {shape = (dim N, 6)}"]),
    "pow 2 of doubles": (beside("pow", "2.0", "%d", "f64[N, 6]"), ["square"]),
    "pow 3 stays": (beside("pow", "3.0"), ["pow"]),
    "div 4": (beside("div", "-4.0"), ["reciprocal", "mul"]),
    "div 3 stays": (beside("div", "3.0"), ["div"]),
    "div by a subnormal power stays": (beside("div", "1.1754943508222875e-38"), ["reciprocal", "mul"]),
    "div by the largest power stays": (beside("div", "1.7014118346046923e+38"), ["div"]),
    "one over": (beside("div", "1.0", first=True), ["reciprocal"]),
    "one over a root": (f"@c: f32[] = 1.0\n%r1: {S} = sqrt(%s)\n%y: {S} = div(@c, %r1)", ["rsqrt"]),
    "floor_div 8": (beside("floor_div", "8", "%i", I), ["shift_right"]),
    "mod 8": (beside("mod", "8", "%i", I), ["bit_and"]),
    "mod 6 stays": (beside("mod", "6", "%i", I), ["mod"]),
    "signed div stays": (beside("div", "8", "%i", I), ["div"]),
    "unsigned div 8": (beside("div", "8", "%u", "u8[N, 6]"), ["shift_right"]),
}  # fmt: skip

TWO = f"@a: f32[] = 3.0\n@b: f32[6] = [0.5, 0.7, 1.5, 2.5, 3.0, 4.0]\n%m: {S} = {{}}(%s, @a)\n%y: {S} = {{}}(%m, @b)"
ROUNDED: dict[str, tuple[str, list[str]]] = {
    **{f"{a} then {b}": (TWO.format(a, b), ops) for a, b, ops in (
        ("mul", "mul", ["mul", "mul"]), ("mul", "div", ["div", "mul"]), ("div", "mul", ["div", "mul"]),
        ("div", "div", ["mul", "div"]), ("add", "add", ["add", "add"]))},
    "integers add then add": (f"@a: i32[] = 3\n@b: i32[] = -5\n%m: {I} = add(%i, @a)\n%y: {I} = add(%m, @b)", ["add", "add"]),
    "rounding by adding stays": (f"@a: f32[] = 12582912.0\n@b: f32[] = -12582912.0\n%m: {S} = add(%s, @a)\n%y: {S} = add(%m, @b)",
                                 ["add", "add"]),
    "mul that overflows stays": (f"@a: f32[] = 1e30\n@b: f32[] = 1e30\n%m: {S} = mul(%s, @a)\n%y: {S} = mul(%m, @b)", ["mul", "mul"]),
    "pow 3": (beside("pow", "3.0"), ["square", "mul"]),
    "pow 4": (beside("pow", "4.0"), ["square", "square"]),
    **{f"{op} twice": (f"%a: f32[2, 6, 3] = {op}(%z) {{axes = (1,)}}\n%y: f32[2, 1] = {op}(%a) {{axes = (1, 2), keepdims = true}}\n"
                       .replace("f32[2, 1]", "f32[2, 1, 1]"), [f"{op} {{axes = (1, 2, 3)}}", "reshape {shape = (2, 1, 1)}"])
       for op in ("reduce_sum", "reduce_mean", "reduce_prod", "reduce_l2", "reduce_log_sum_exp")},
}  # fmt: skip
TABLES = {"simplify": EXACT, "strength": STRENGTH, "reassociate": ROUNDED}
CASES = [(name, case) for name, table in TABLES.items() for case in table]
# of these, one of two zeros is as good as the other
OPEN_ZEROS = ("maximum", "minimum", "clip", "relu", "reduce_max", "reduce_min")


@pytest.mark.parametrize(("name", "case"), CASES)
def test_rule(name: str, case: str) -> None:
    body, expected = TABLES[name][case]
    passes = ("simplify", name) if case == "one over a root" else (name,)
    graph = graph_of(body)
    found = lines(optimized(graph, *passes))
    assert [line.split(" ")[0] if " " not in want else line for line, want in zip(found, expected)] == expected
    assert len(found) == len(expected), found
    if name == "reassociate" and case != "integers add then add":
        close(graph, passes, 1e-6)
        close(graph, (*passes, "fold"), 1e-6)
    else:
        same_bits(graph, passes, signs=not case.startswith(OPEN_ZEROS))
        same_bits(graph, (*passes, "fold"), signs=not case.startswith(OPEN_ZEROS))


def test_every_rule_has_a_case(monkeypatch: Any) -> None:
    graphs = [(graph_of(TABLES[name][case][0]), (name,)) for name, case in CASES]
    found = rules_applied(monkeypatch, graphs)
    moved = {r.name for r in simplify.MOVEMENTS} | {f"{op} and reshape" for op in simplify.REDUCTION_OPS}
    tables = (simplify.RULES, strength.RULES, reassociate.RULES)
    assert {r.name for rules in tables for r in rules} - moved - found - {"one over a root"} == set()


@pytest.mark.parametrize("case", ["pow 3", "pow 4"])
def test_powers_as_products_are_off_by_two_units_at_most(case: str) -> None:
    import numpy as np

    from tenun.tests.passes.rewriting import given, run

    graph = graph_of(ROUNDED[case][0])
    inputs = given(graph, special=False)
    want = inputs["s"].astype(np.float64) ** int(case[-1])
    got = run(graph, ("reassociate",), inputs)["y"]
    assert (np.abs(got - want) <= 2 * np.spacing(np.abs(want).astype(np.float32))).all()


def test_a_power_of_special_numbers_is_that_of_the_product() -> None:
    import numpy as np

    from tenun.tests.passes.rewriting import given, run

    graph = graph_of(ROUNDED["pow 3"][0])
    inputs = given(graph, special=True)
    before, after = (run(graph, passes, inputs)["y"] for passes in ((), ("reassociate",)))
    np.testing.assert_array_equal(np.isnan(after), np.isnan(before))
    finite = np.isfinite(before)
    np.testing.assert_array_equal(after[~finite], before[~finite])
    np.testing.assert_array_equal(np.signbit(after[finite]), np.signbit(before[finite]))
