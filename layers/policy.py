"""Dtype policies: in what a layer computes, in what it keeps its weights, and whether these are quantised.

A layer knows its policy by Keras' name: `float32`, `mixed_bfloat16`, `int8_from_float32`, `int4/128_from_float32`
(blocks of 128), `gptq/4/-1_from_float32` (4 bits, one block); and `float8/16_from_float32` where the history of
largest values is not of the usual length.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..errors import TenunError, UnsupportedError
from ..ir import dtype

_COMPUTED_IN = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
HISTORY = 1024  # how many largest values float8 looks back at, by default

# mode: the numbers after it in a name, with what holds where they are left out
MODES: dict[str, tuple[int, ...]] = {"int8": (), "int4": (-1,), "float8": (HISTORY,), "gptq": (4, -1), "awq": (4, -1)}


class Policy(NamedTuple):
    """A policy by its parts; `numbers` are those of the mode, see MODES."""

    source: str = "float32"
    mode: str | None = None
    numbers: tuple[int, ...] = ()

    @property
    def compute(self) -> str:
        """The dtype of floating-point inputs, of the computation and of its result."""
        return _COMPUTED_IN.get(self.source, self.source)

    @property
    def variable(self) -> str:
        """The dtype of weights that are not quantised."""
        return "float32" if self.source in _COMPUTED_IN else self.source

    @property
    def bits(self) -> int:
        """The bits of a number of the kernel."""
        return {"int8": 8, "int4": 4}.get(self.mode or "", self.numbers[0] if self.numbers else 8)

    @property
    def block(self) -> int:
        """How many rows of a kernel share a scale; -1: all."""
        return self.numbers[-1] if self.mode in ("int4", "gptq", "awq") else -1

    @property
    def name(self) -> str:
        if self.mode is None:
            return self.source
        shown = () if self.numbers == MODES[self.mode] and self.mode == "float8" else self.numbers
        return "/".join([self.mode, *map(str, shown)]) + f"_from_{self.source}"


@lru_cache(256)
def policy(name: str | None) -> Policy:
    """The policy of a name; UnsupportedError where there is none of it."""
    if name is None:
        return Policy()
    how, _, source = str(name).rpartition("_from_")
    if source not in _COMPUTED_IN:
        try:
            dtype(source)
        except (TenunError, TypeError, ValueError):
            raise UnsupportedError(f"dtype {name!r} is not supported") from None
    if not how:
        return Policy(source)
    mode, *given = how.split("/")
    default = MODES.get(mode)
    if default is None or len(given) not in (0, len(default)) or not all(n.lstrip("-").isdigit() for n in given):
        raise UnsupportedError(f"dtype policy {name!r} is not supported", hint=f"quantised ones: {', '.join(MODES)}")
    return Policy(source, mode, tuple(map(int, given)) or default)
