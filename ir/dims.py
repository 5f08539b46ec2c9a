"""Symbolic dimensions: integer polynomials over named symbols, with floor division, remainder, min and max.

A dimension is an `int` or an `Expr`; arithmetic falls back to `int` as soon as it can, so that
`f32[N, 32, 32, 3]` flattens to `f32[N, 3072]`.  Expressions are kept in one normal form (a sum of products of
atoms), which makes equality structural.  `UNKNOWN` (`?`) is a dimension of which nothing is known: it absorbs
all arithmetic and is compatible with everything.

Nothing but the standard library and the errors enters this module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Union

Atom = Union["Symbol", "Call"]
Monomial = tuple["Atom", ...]


class Symbol(str):
    """A named unknown, at least 0."""

    __slots__ = ()


class Call(tuple[str, "Dim", "Dim"]):
    """An operation on two dimensions that is no polynomial: `//`, `%`, `max` or `min`."""

    __slots__ = ()

    def __str__(self) -> str:
        name, a, b = self
        return f"{name}({a}, {b})" if name in ("max", "min") else f"{_paren(a)}{name}{_paren(b)}"


class Expr:
    """A sum of monomials with integer coefficients; immutable, hashable, never a plain integer."""

    __slots__ = ("_hash", "terms")
    terms: tuple[tuple[Monomial, int], ...]

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        self._hash = hash(terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        text = ""
        for monomial, factor in self.terms:
            body = "*".join(_paren(atom) if isinstance(atom, Call) else str(atom) for atom in monomial)
            size = abs(factor)
            piece = str(size) if not monomial else body if size == 1 else f"{size}*{body}"
            text += (" - " if factor < 0 else " + ") + piece if text else ("-" if factor < 0 else "") + piece
        return text

    def __add__(self, other: Dim) -> Dim:
        return _sum([*self.terms, *_terms(other)])

    def __mul__(self, other: Dim) -> Dim:
        products = []
        for left, i in self.terms:
            products += [(_sorted(left + right), i * j) for right, j in _terms(other)]
        return _sum(products)

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + -other

    def __rsub__(self, other: int) -> Dim:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        return floor_div(self, other)

    def __rfloordiv__(self, other: int) -> Dim:
        return floor_div(other, self)

    def __mod__(self, other: Dim) -> Dim:
        return remainder(self, other)

    def __bool__(self) -> bool:
        return True

    def __index__(self) -> int:
        raise TypeError(f"dimension {self} is symbolic, not a number")


Dim = Union[int, Expr]


def _paren(x: Dim | Atom) -> str:
    text = str(x)
    return text if text.isidentifier() or text.isdigit() or text == "?" else f"({text})"


def _terms(x: Dim) -> tuple[tuple[Monomial, int], ...]:
    return x.terms if isinstance(x, Expr) else (((), int(x)),)


def _sorted(monomial: Monomial) -> Monomial:
    return tuple(sorted(monomial, key=str))


def _sum(terms: Iterable[tuple[Monomial, int]]) -> Dim:
    total: dict[Monomial, int] = {}
    for monomial, factor in terms:
        if monomial and any(atom == "?" for atom in monomial):
            return UNKNOWN
        total[monomial] = total.get(monomial, 0) + factor
    kept = {m: f for m, f in total.items() if f}
    if not any(kept):  # no monomial but the constant one
        return kept.get((), 0)
    return Expr(tuple(sorted(kept.items(), key=lambda item: (not item[0], -len(item[0]), str(item[0])))))


def symbol(name: str) -> Expr:
    """The dimension called `name`."""
    return Expr((((Symbol(name),), 1),))


UNKNOWN = symbol("?")


def known(x: Dim) -> bool:
    """Whether x is anything but `?`."""
    return isinstance(x, int) or (x is not UNKNOWN and x != UNKNOWN)


def _call(name: str, fold: Callable[[int, int], int], a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        return fold(a, b)
    if not (known(a) and known(b)):
        return UNKNOWN
    return Expr((((Call((name, a, b)),), 1),))


def floor_div(a: Dim, b: Dim) -> Dim:
    """a // b, exact where b divides a term by term: (q·b + r) // b = q + r // b."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if not (known(a) and known(b)):
        return UNKNOWN
    if a == b:
        return 1
    divisor = _terms(b)
    if len(divisor) != 1:
        return _call("//", int.__floordiv__, a, b)
    monomial, factor = divisor[0]
    whole: list[tuple[Monomial, int]] = []
    rest: list[tuple[Monomial, int]] = []
    for term, count in _terms(a):
        left = _without(term, monomial)
        (rest if left is None or count % factor else whole).append(
            (term, count) if left is None or count % factor else (left, count // factor)
        )
    remaining = _sum(rest)
    if remaining == 0:
        return _sum(whole)
    return _sum(whole) + _call("//", int.__floordiv__, remaining, b)


def _without(term: Monomial, factor: Monomial) -> Monomial | None:
    """The monomial term / factor, None where factor does not divide it."""
    left = list(term)
    for atom in factor:
        if atom not in left:
            return None
        left.remove(atom)
    return tuple(left)


def remainder(a: Dim, b: Dim) -> Dim:
    """a % b = a - b·(a // b)."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    return 0 if a - floor_div(a, b) * b == 0 else _call("%", int.__mod__, a, b)


def ceil_div(a: Dim, b: int) -> Dim:
    """a / b, rounded up; b > 0."""
    return floor_div(a + (b - 1), b)


def maximum(a: Dim, b: Dim) -> Dim:
    """The larger of two dimensions, settled where they differ by a number."""
    gap = a - b
    return (a if gap >= 0 else b) if isinstance(gap, int) else _call("max", max, a, b)


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of two dimensions, settled where they differ by a number."""
    gap = a - b
    return (b if gap >= 0 else a) if isinstance(gap, int) else _call("min", min, a, b)


def product(dims: Iterable[Dim]) -> Dim:
    """The number of elements of a shape."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def compatible(a: Dim, b: Dim) -> bool:
    """Whether a and b may be equal: false only where they differ by a number."""
    if a is b:
        return True
    gap = a - b
    return not isinstance(gap, int) or gap == 0


def unify(a: Dim, b: Dim) -> Dim:
    """What is known of one dimension described by both a and b (compatible): a number, else the first known."""
    return a if isinstance(a, int) or (not isinstance(b, int) and known(a)) else b


_FOLDS: dict[str, Callable[[Dim, Dim], Dim]] = {"//": floor_div, "%": remainder, "max": maximum, "min": minimum}


def call(name: str, a: Dim, b: Dim) -> Dim:
    """The operation called name (`//`, `%`, `max`, `min`) on two dimensions."""
    return _FOLDS[name](a, b)


def substitute(x: Dim, values: Mapping[str, Dim]) -> Dim:
    """x with symbols replaced by their values; symbols without a value stay."""
    if not isinstance(x, Expr):
        return x
    total: Dim = 0
    for monomial, factor in x.terms:
        total = total + product(_atom_value(atom, values) for atom in monomial) * factor
    return total


def _atom_value(atom: Atom, values: Mapping[str, Dim]) -> Dim:
    if isinstance(atom, Symbol):
        return values.get(atom, symbol(atom))
    name, a, b = atom
    return call(name, substitute(a, values), substitute(b, values))


def symbols(x: Dim) -> set[str]:
    """The names that x depends on."""
    found: set[str] = set()
    for monomial, _ in x.terms if isinstance(x, Expr) else ():
        for atom in monomial:
            found |= {str(atom)} if isinstance(atom, Symbol) else symbols(atom[1]) | symbols(atom[2])
    return found


def as_symbol(x: Dim) -> str | None:
    """The name of x if x is a bare symbol."""
    if isinstance(x, Expr) and len(x.terms) == 1:
        (monomial, factor), *_ = x.terms
        if factor == 1 and len(monomial) == 1 and isinstance(monomial[0], Symbol) and monomial[0] != "?":
            return str(monomial[0])
    return None


def is_number(dims: Iterable[Dim]) -> bool:
    """Whether all dimensions are numbers."""
    for d in dims:  # noqa: SIM110 - asked very often, and this is twice as fast as all(...)
        if not isinstance(d, int):
            return False
    return True


def number_of(shape: Iterable[int]) -> int:
    """The number of elements of a shape of numbers."""
    return math.prod(shape)
