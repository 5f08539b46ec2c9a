"""Conversion of elements to another dtype, text included, and the same bits read as another dtype."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ....ir.types import DType
from ..registry import Array, Scratch, Step, kernel


@kernel
def cast(x: Array, *, to: DType, out: Array, scratch: Scratch) -> Step:
    """x in another dtype."""
    if x.dtype.hasobject and out.dtype.hasobject:
        return partial(np.copyto, out, x)
    if out.dtype.hasobject:
        return partial(_to_strings, x, out)
    if x.dtype.hasobject:
        return partial(_from_strings, x, out)
    return partial(np.copyto, out, x, casting="unsafe")


@kernel
def bit_cast(x: Array, *, to: DType, out: Array, scratch: Scratch) -> Step:
    return partial(np.copyto, out.view(x.dtype), x)


def _text(value: Any) -> str:
    """A number as ONNX Cast writes it: the shortest digits that tell it; NaN, INF, -INF; booleans as 1 and 0."""
    if isinstance(value, np.bool_):
        return str(int(value))
    text = str(value)
    return {"nan": "NaN", "inf": "INF", "-inf": "-INF"}.get(text, text)


def _to_strings(x: Array, out: Array) -> None:
    for place, value in np.ndenumerate(x):
        out[place] = _text(value)


def _from_strings(x: Array, out: Array) -> None:
    parsers: dict[str, Callable[[str], Any]] = {"i": _parse_integer, "u": _parse_integer, "b": _parse_bool}
    parse = parsers.get(out.dtype.kind, float)
    for place, text in np.ndenumerate(x):
        out[place] = parse(text)


def _parse_integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _parse_bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else bool(float(text))
