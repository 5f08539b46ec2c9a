"""Vectors of LANES numbers in compiled functions: what a row of code computes for all of them at once.

    v = load(address); w = load_some(address, 3); store(address, fma(v, 2.0, w))

A vector has the dtype of a NumPy array (or bool, as compared); + - * /, comparisons, & | ^ ~ and the functions below
work on it, numbers becoming vectors of its dtype.  LLVM cuts them into what the processor has.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import binding, ir
from numba import extending
from numba.core import cgutils
from numba.core import types as numba_types
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model

Value = Any  # of llvmlite
types: Any = numba_types


def intrinsic(function: Callable[..., Any]) -> Any:
    """A function that makes LLVM's instructions; its first parameter is not one of those that it is called with."""
    return extending.intrinsic(function)


def _lanes() -> int:
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8


LANES = _lanes()  # of every vector, whatever its dtype: float32 fills the widest register
ROWS = 4 if LANES == 16 else 2  # of a tile of products: with four vectors each they fill half of the registers

ELEMENTS: dict[Any, tuple[Any, str]] = {  # numba's dtype -> LLVM's, and its kind
    types.float32: (ir.FloatType(), "f"),
    types.float64: (ir.DoubleType(), "f"),
    types.boolean: (ir.IntType(1), "b"),
    **{t: (ir.IntType(t.bitwidth), "i" if t.signed else "u") for t in (
        types.int8, types.int16, types.int32, types.int64, types.uint8, types.uint16, types.uint32, types.uint64
    )},
}  # fmt: skip


class Vector(types.Type):  # type: ignore[misc]
    """LANES numbers of a dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype} x {LANES})")

    @property
    def kind(self) -> str:
        return ELEMENTS[self.dtype][1]

    @property
    def llvm(self) -> Any:
        return ir.VectorType(ELEMENTS[self.dtype][0], LANES)


F32, BOOL = Vector(types.float32), Vector(types.boolean)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


def splat(builder: Value, value: Value) -> Value:
    """A vector of one number."""
    t = ir.VectorType(value.type, LANES)
    first = builder.insert_element(ir.Constant(t, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(t, ir.Undefined), zeros)


def constant(vector: Any, number: Any) -> Value:
    """A vector of one number that is known now."""
    return ir.Constant(vector.llvm if isinstance(vector, Vector) else vector, [number] * LANES)


@lower_cast(types.Number, Vector)
@lower_cast(types.Boolean, Vector)
def _number_to_vector(context: Any, builder: Value, number: Any, vector: Vector, value: Value) -> Value:
    element = context.cast(builder, value, number, vector.dtype)
    if vector.dtype is types.boolean and element.type.width != 1:
        element = builder.trunc(element, ir.IntType(1))
    return splat(builder, element)


# ---- operators -----------------------------------------------------------------------------------------------

_ARITHMETIC: dict[Any, dict[str, str]] = {  # operator -> kind of dtype -> instruction
    operator.add: {"f": "fadd", "i": "add", "u": "add"},
    operator.sub: {"f": "fsub", "i": "sub", "u": "sub"},
    operator.mul: {"f": "fmul", "i": "mul", "u": "mul"},
    operator.truediv: {"f": "fdiv"},
    operator.and_: {"i": "and_", "u": "and_", "b": "and_"},
    operator.or_: {"i": "or_", "u": "or_", "b": "or_"},
    operator.xor: {"i": "xor", "u": "xor", "b": "xor"},
}
_COMPARISONS = {
    operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "==", operator.ne: "!=",
}  # fmt: skip


def _vector_of(*args: Any) -> Vector | None:
    """The type that operands, vectors and numbers, have in common."""
    vectors = {a for a in args if isinstance(a, Vector)}
    others = [a for a in args if not isinstance(a, (Vector, types.Number, types.Boolean))]
    return vectors.pop() if len(vectors) == 1 and not others else None


def _declare(key: Any, count: int, result: Callable[[Vector], Any], emit: Callable[..., Value]) -> None:
    """An operator on vectors: the type of its result, and emit(builder, vector type, *values)."""

    @infer_global(key)
    class _Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, keywords: Any) -> Any:
            vector = _vector_of(*args) if len(args) == count else None
            return None if vector is None else signature(result(vector), *[vector] * count)

    @lower_builtin(key, *[Vector] * count)
    def _lower(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        return emit(builder, sig.args[0], *values)


def _emit_arithmetic(instructions: dict[str, str], builder: Value, vector: Vector, x: Value, y: Value) -> Value:
    return getattr(builder, instructions[vector.kind])(x, y)


def compared(builder: Value, kind: str, sign: str, x: Value, y: Value) -> Value:
    """x sign y, false where one of them is NaN (!= is true)."""
    if kind == "f":
        return (builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered)(sign, x, y)
    return (builder.icmp_signed if kind == "i" else builder.icmp_unsigned)(sign, x, y)


def _declare_operators() -> None:
    for key, instructions in _ARITHMETIC.items():
        _declare(key, 2, lambda vector: vector, partial(_emit_arithmetic, instructions))
    for key, sign in _COMPARISONS.items():
        _declare(key, 2, lambda vector: BOOL, lambda b, v, x, y, sign=sign: compared(b, v.kind, sign, x, y))
    _declare(operator.neg, 1, lambda v: v, lambda b, v, x: b.fneg(x) if v.kind == "f" else b.neg(x))
    _declare(operator.invert, 1, lambda v: v, lambda b, v, x: b.not_(x))


_declare_operators()


# ---- functions of vectors ------------------------------------------------------------------------------------


def intrinsic_call(builder: Value, name: str, result: Any, *values: Value) -> Value:
    """A call of an intrinsic of LLVM, which is called after the types of its operands."""
    function = builder.module.declare_intrinsic(name, (), ir.FunctionType(result, [v.type for v in values]))
    return builder.call(function, values)


def _suffix(vector: Vector) -> str:
    letter = "i" if vector.kind in "iu" else "f"
    return f"v{LANES}{letter}{ELEMENTS[vector.dtype][0].width if letter == 'i' else vector.dtype.bitwidth}"


def _function(emit: Callable[..., Value], count: int, result: Callable[[Vector], Any] = lambda v: v) -> Any:
    """A function of `count` vectors of one dtype; emit(builder, vector type, *values)."""

    def typed(typing: Any, *args: Any) -> Any:
        vector = _vector_of(*args)
        if vector is None:
            return None

        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            return emit(builder, vector, *values)

        return signature(result(vector), *[vector] * count), code

    named: dict[int, Callable[..., Any]] = {
        1: lambda typing, x: typed(typing, x),
        2: lambda typing, x, y: typed(typing, x, y),
        3: lambda typing, x, y, z: typed(typing, x, y, z),
    }
    return intrinsic(named[count])


def _of_llvm(name: str, count: int) -> Any:
    """An intrinsic of LLVM as a function."""
    return _function(lambda b, v, *xs: intrinsic_call(b, f"llvm.{name}.{_suffix(v)}", v.llvm, *xs), count)


fma = _of_llvm("fma", 3)
sqrt = _of_llvm("sqrt", 1)
floor = _of_llvm("floor", 1)
ceil = _of_llvm("ceil", 1)
rint = _of_llvm("rint", 1)
absolute = _function(
    lambda b, v, x: intrinsic_call(b, f"llvm.fabs.{_suffix(v)}", v.llvm, x) if v.kind == "f" else x
    if v.kind == "u" else b.select(b.icmp_signed("<", x, constant(v, 0)), b.neg(x), x), 1,
)  # fmt: skip
copysign = _of_llvm("copysign", 2)


def _select_larger(sign: str) -> Callable[..., Value]:
    """The operand that is larger (or smaller) than the other; NaN where one of them is."""

    def emit(builder: Value, vector: Vector, x: Value, y: Value) -> Value:
        chosen = builder.select(compared(builder, vector.kind, sign, x, y), x, y)
        if vector.kind != "f":
            return chosen
        return builder.select(builder.fcmp_unordered("uno", x, x), x, chosen)

    return emit


maximum = _function(_select_larger(">"), 2)
minimum = _function(_select_larger("<"), 2)
# The same where y is never NaN: one instruction.
at_least = _function(lambda b, v, x, y: b.select(compared(b, v.kind, "<", x, y), y, x), 2)
at_most = _function(lambda b, v, x, y: b.select(compared(b, v.kind, ">", x, y), y, x), 2)


@intrinsic
def where(typing: Any, mask: Any, x: Any, y: Any) -> Any:
    """x where the mask holds, else y."""
    vector = _vector_of(x, y)
    if vector is None or mask != BOOL:
        return None

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        return builder.select(*values)

    return signature(vector, BOOL, vector, vector), code


def _bits(builder: Value, value: Value) -> Value:
    return builder.bitcast(value, ir.VectorType(ir.IntType(32), LANES))


def _emit_power_of_two(builder: Value, vector: Vector, biased: Value) -> Value:
    integers = ir.VectorType(ir.IntType(32), LANES)
    shifted = builder.shl(_bits(builder, biased), constant(integers, 23))
    return builder.bitcast(builder.add(shifted, constant(integers, 127 << 23)), vector.llvm)


# 2^n of float32 from n + 1.5 · 2^23, in whose last bits the whole number n is; n from -126 to 127.
power_of_two = _function(_emit_power_of_two, 1)


def _emit_exponent(builder: Value, vector: Vector, x: Value) -> Value:
    """The n for which x / 2^n is in [√½, √2), x being a positive and normal float32."""
    integers = ir.VectorType(ir.IntType(32), LANES)
    moved = builder.sub(_bits(builder, x), constant(integers, 0x3F3504F3))  # √½
    return builder.sitofp(builder.ashr(moved, constant(integers, 23)), vector.llvm)


exponent = _function(_emit_exponent, 1)


def _emit_scaled_down(builder: Value, vector: Vector, x: Value, n: Value) -> Value:
    """x / 2^n by its bits, n being a whole number."""
    integers = ir.VectorType(ir.IntType(32), LANES)
    shift = builder.shl(builder.fptosi(n, integers), constant(integers, 23))
    return builder.bitcast(builder.sub(_bits(builder, x), shift), vector.llvm)


scaled_down = _function(_emit_scaled_down, 2)


def cast_to(dtype: Any) -> Any:
    """A function that converts vectors to numba's dtype; floats to floats, integers and booleans to anything."""
    target = Vector(dtype)

    @intrinsic
    def cast(typing: Any, x: Any) -> Any:
        if not isinstance(x, Vector):
            return None

        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            return _converted(builder, x, target, values[0])

        return signature(target, x), code

    return cast


def _converted(builder: Value, have: Vector, want: Vector, x: Value) -> Value:
    if have.dtype == want.dtype:
        return x
    if want.kind == "b":
        zero = constant(have, 0)
        return compared(builder, have.kind, "!=", x, zero)
    if have.kind == "f":
        assert want.kind == "f", "floats are cut in NumPy's way by NumPy"
        return (builder.fpext if want.dtype.bitwidth > have.dtype.bitwidth else builder.fptrunc)(x, want.llvm)
    if want.kind == "f":
        return (builder.sitofp if have.kind == "i" else builder.uitofp)(x, want.llvm)
    if ELEMENTS[want.dtype][0].width < ELEMENTS[have.dtype][0].width:
        return builder.trunc(x, want.llvm)
    return (builder.sext if have.kind == "i" else builder.zext)(x, want.llvm) if (
        ELEMENTS[want.dtype][0].width > ELEMENTS[have.dtype][0].width) else x  # fmt: skip


# ---- memory --------------------------------------------------------------------------------------------------


def _pointer(builder: Value, address: Value, t: Any) -> Value:
    return builder.inttoptr(address, ir.PointerType(t))


def _in_memory(vector: Vector) -> Any:
    """What a vector is in memory: booleans are bytes."""
    return ir.VectorType(ir.IntType(8), LANES) if vector.kind == "b" else vector.llvm


def _mask(builder: Value, count: Value) -> Value:
    lanes = ir.Constant(ir.VectorType(ir.IntType(64), LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, splat(builder, count))


def _masked_name(what: str, vector: Vector, pointer: Value) -> str:
    t = _in_memory(vector)
    name = f"v{LANES}{'i' if vector.kind in 'iub' else 'f'}"
    name += str(t.element.width if vector.kind in "iub" else vector.dtype.bitwidth)
    return f"llvm.masked.{what}.{name}.p0" + ("" if getattr(pointer.type, "is_opaque", False) else name)


def _align(vector: Vector) -> int:
    return 1 if vector.kind == "b" else int(vector.dtype.bitwidth) // 8


def _loaded(builder: Value, vector: Vector, raw: Value) -> Value:
    return builder.icmp_unsigned("!=", raw, constant(raw.type, 0)) if vector.kind == "b" else raw


def loads_of(dtype: Any) -> tuple[Any, Any, Any]:
    """load(address), load_some(address, count) -> the first `count` lanes and zeros, and load_one(address) -> one
    number in all lanes; of numba's dtype."""
    vector = Vector(dtype)

    @intrinsic
    def load(typing: Any, address: Any) -> Any:
        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            t = _in_memory(vector)
            return _loaded(builder, vector, builder.load(_pointer(builder, values[0], t), align=_align(vector)))

        return signature(vector, types.int64), code

    @intrinsic
    def load_some(typing: Any, address: Any, count: Any) -> Any:
        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            t = _in_memory(vector)
            pointer = _pointer(builder, values[0], t)
            name, zeros = _masked_name("load", vector, pointer), ir.Constant(t, None)
            align, mask = ir.Constant(ir.IntType(32), _align(vector)), _mask(builder, values[1])
            return _loaded(builder, vector, intrinsic_call(builder, name, t, pointer, align, mask, zeros))

        return signature(vector, types.int64, types.int64), code

    @intrinsic
    def load_one(typing: Any, address: Any) -> Any:
        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            element = _in_memory(vector).element
            number = builder.load(_pointer(builder, values[0], element), align=_align(vector))
            return _loaded(builder, vector, splat(builder, number))

        return signature(vector, types.int64), code

    return load, load_some, load_one


load, load_some, load_one = loads_of(types.float32)


def _to_memory(builder: Value, vector: Vector, value: Value) -> Value:
    return builder.zext(value, _in_memory(vector)) if vector.kind == "b" else value


@intrinsic
def store(typing: Any, address: Any, v: Any) -> Any:
    """Write a vector."""
    if not isinstance(v, Vector):
        return None

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        pointer = _pointer(builder, values[0], _in_memory(v))
        builder.store(_to_memory(builder, v, values[1]), pointer, align=_align(v))
        return context.get_dummy_value()

    return signature(types.none, types.int64, v), code


@intrinsic
def store_some(typing: Any, address: Any, v: Any, count: Any) -> Any:
    """Write the first `count` lanes."""
    if not isinstance(v, Vector):
        return None

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        pointer = _pointer(builder, values[0], _in_memory(v))
        name = _masked_name("store", v, pointer)
        align, mask = ir.Constant(ir.IntType(32), _align(v)), _mask(builder, values[2])
        intrinsic_call(builder, name, ir.VoidType(), _to_memory(builder, v, values[1]), pointer, align, mask)
        return context.get_dummy_value()

    return signature(types.none, types.int64, v, types.int64), code


@intrinsic
def byte(typing: Any, address: Any) -> Any:
    """A byte as a number."""

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        i8 = ir.IntType(8)
        return builder.zext(builder.load(_pointer(builder, values[0], i8), align=1), ir.IntType(64))

    return signature(types.int64, types.int64), code


@intrinsic
def number(typing: Any, address: Any) -> Any:
    """An int64 in memory."""

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        return builder.load(_pointer(builder, values[0], ir.IntType(64)), align=8)

    return signature(types.int64, types.int64), code


def caller(kinds: str) -> Any:
    """call(at): call the function whose address lies at an address, with what lies behind it, 8 bytes each: an int64
    for each i, a float64 for each f."""

    @intrinsic
    def call(typing: Any, at: Any) -> Any:
        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            i64 = ir.IntType(64)
            given = [i64 if kind == "i" else ir.DoubleType() for kind in kinds]
            places = [builder.add(values[0], i64(8 * i)) for i in range(len(kinds) + 1)]
            function = builder.load(_pointer(builder, places[0], i64), align=8)
            arguments = [builder.load(_pointer(builder, p, t), align=8) for p, t in zip(places[1:], given)]
            builder.call(_pointer(builder, function, ir.FunctionType(ir.VoidType(), given)), arguments)
            return context.get_dummy_value()

        return signature(types.none, types.int64), code

    return call


@intrinsic
def move(typing: Any, source: Any, target: Any) -> Any:
    """Copy 4 bytes."""

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        i32 = ir.IntType(32)
        element = builder.load(_pointer(builder, values[0], i32), align=4)
        builder.store(element, _pointer(builder, values[1], i32), align=4)
        return context.get_dummy_value()

    return signature(types.none, types.int64, types.int64), code


@intrinsic
def spread(typing: Any, number: Any) -> Any:
    """A vector of float32 of one number."""

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        return splat(builder, values[0])

    return signature(F32, types.float32), code


@intrinsic
def first_lanes(typing: Any, count: Any) -> Any:
    """Whether a lane is one of the first `count`."""

    def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
        return _mask(builder, values[0])

    return signature(BOOL, types.int64), code


# ---- all lanes together --------------------------------------------------------------------------------------


def _folded(combine: Callable[..., Value]) -> Any:
    """One number from a vector of float32: halves combined, then halves of these, always in the same order."""

    @intrinsic
    def fold(typing: Any, v: Any) -> Any:
        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            value, width = values[0], LANES // 2
            while width:
                order = [i + width if i < width else 0 for i in range(LANES)]
                mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
                value = combine(builder, value, builder.shuffle_vector(value, value, mask))
                width //= 2
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return signature(types.float32, F32), code

    return fold


total = _folded(lambda b, x, y: b.fadd(x, y))
largest = _folded(lambda b, x, y: _select_larger(">")(b, F32, x, y))


# ---- products ------------------------------------------------------------------------------------------------


def product_tile(rows: int, width: int) -> Any:
    """tile(x, row bytes, offsets, runs, depth, w, out, out row bytes, again): out (rows, width vectors) = x @ w.

    A row of x is `runs` runs of `depth` numbers, at the byte offsets (int64) that `offsets` points at; w lies as (runs,
    depth, width vectors) without gaps.  The sums stay in registers and are made in this order, whatever the number of
    rows, and added to what is in out where `again` is not 0.
    """
    i64 = ir.IntType(64)

    @intrinsic
    def tile(
        typing: Any, x: Any, pitch: Any, offsets: Any, runs: Any, depth: Any, w: Any, out: Any, out_pitch: Any,
        again: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            x, pitch, offsets, runs, depth, w, *rest = values
            _emit_tile(builder, rows, width, x, pitch, i64(4), offsets, runs, depth, w, i64(width * LANES * 4), *rest)
            return context.get_dummy_value()

        return signature(types.none, *[types.int64] * 9), code

    return tile


def strided_tile(rows: int, width: int) -> Any:
    """tile(x, row bytes, element bytes, offsets, runs, depth, w, w row bytes, out, out row bytes, again): the same with
    numbers of x, and rows of w, so many bytes apart."""

    @intrinsic
    def tile(
        typing: Any, x: Any, pitch: Any, step: Any, offsets: Any, runs: Any, depth: Any, w: Any, w_pitch: Any, out: Any,
        out_pitch: Any, again: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, builder: Value, sig: Any, values: Any) -> Value:
            _emit_tile(builder, rows, width, *values)
            return context.get_dummy_value()

        return signature(types.none, *[types.int64] * 11), code

    return tile


def _emit_tile(
    builder: Value, rows: int, width: int, x: Value, pitch: Value, step: Value, offsets: Value, runs: Value,
    depth: Value, w: Value, w_pitch: Value, out: Value, out_pitch: Value, again: Value,
) -> None:  # fmt: skip
    i64, zero = ir.IntType(64), constant(F32, 0.0)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(rows * width)]  # registers, once optimised
    for total_of in sums:
        builder.store(zero, total_of)
    with cgutils.for_range(builder, runs, intp=i64) as run:
        start = builder.add(x, _load(builder, builder.add(offsets, builder.mul(run.index, i64(8))), i64))
        lines = [builder.add(start, builder.mul(pitch, i64(r))) for r in range(rows)]
        weights = builder.add(w, builder.mul(builder.mul(run.index, depth), w_pitch))
        with cgutils.for_range(builder, depth, intp=i64) as at:
            row, place = builder.add(weights, builder.mul(at.index, w_pitch)), builder.mul(at.index, step)
            factors = [_load(builder, builder.add(row, i64(v * LANES * 4)), F32.llvm) for v in range(width)]
            for r, line in enumerate(lines):
                one = _load(builder, builder.add(line, place), ir.FloatType())
                for factor, total_of in zip(factors, sums[r * width :]):
                    operands = splat(builder, one), factor, builder.load(total_of)
                    builder.store(intrinsic_call(builder, f"llvm.fma.{_suffix(F32)}", F32.llvm, *operands), total_of)
    more = builder.icmp_signed("!=", again, i64(0))
    for i, total_of in enumerate(sums):
        address = builder.add(builder.add(out, builder.mul(out_pitch, i64(i // width))), i64(i % width * LANES * 4))
        made, before = builder.load(total_of), _load(builder, address, F32.llvm)
        result = builder.select(more, builder.fadd(made, before), made)
        builder.store(result, _pointer(builder, address, F32.llvm), align=4)


def _load(builder: Value, address: Value, t: Any) -> Value:
    return builder.load(_pointer(builder, address, t), align=8 if t == ir.IntType(64) else 4)
