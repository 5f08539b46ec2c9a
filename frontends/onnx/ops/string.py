"""Strings."""

from __future__ import annotations

from ....ir.graph import Var
from ..lowering import Lowering
from ..registry import onnx


@onnx("StringNormalizer")
def string_normalizer(
    b: Lowering, X: Var, *, case_change_action: str = "NONE", is_case_sensitive: int = 0, locale: str = "",
    stopwords: tuple[str, ...] = (),
) -> Var:  # fmt: skip
    """The locale is not used: case is changed as Unicode says."""
    return b.string_normalizer(X, case=case_change_action, case_sensitive=is_case_sensitive, stopwords=stopwords)
