"""Gradient of attention: its weights are computed again from q and k, so that nobody has to keep them."""

from __future__ import annotations

from typing import Any

from ....ir.attention import attention as written_out
from ....ir.builder import Builder
from ....ir.graph import Var
from . import form


@form
def attention(
    b: Builder, q: Var, k: Var, v: Var, mask: Var | None, bias: Var | None,
    *, scale: float, causal: bool, soft_cap: float | None,
) -> Any:  # fmt: skip
    return written_out(b, q, k, v, mask, bias, scale=scale, causal=causal, soft_cap=soft_cap)
