"""Strings."""

from __future__ import annotations

from ..attributes import Strs
from ..dims import UNKNOWN
from ..op import op, require
from ..types import Tensor, string

CASES = ("NONE", "LOWER", "UPPER")


@op("string", "opaque")
def string_normalizer(x: Tensor, *, case: str = "NONE", case_sensitive: bool = False, stopwords: Strs = ()) -> Tensor:
    """The words of x (rank 1, or 2 with one row) that are no stopwords, in lower or upper case; never none at all.

    Where all words are stopwords, one empty string is left (ONNX StringNormalizer).
    """
    require(x.dtype is string, f"operand is {x.dtype}, expected str")
    require(case in CASES, f"case {case!r} is none of {', '.join(CASES)}")
    require(x.rank in (1, 2), f"operand has rank {x.rank}, expected 1 or 2")
    return Tensor(string, (*x.dims[:-1], UNKNOWN))
