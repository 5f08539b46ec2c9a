"""Strings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..registry import Array, function

_CASES: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}


@function
def string_normalizer(x: Array, *, case: str, case_sensitive: bool, stopwords: tuple[str, ...]) -> Array:
    """Words without the stopwords, in the case asked for; one empty word if none is left."""
    key = _CASES["NONE" if case_sensitive else "LOWER"]
    stop = {key(word) for word in stopwords}
    words = [_CASES[case](word) for word in map(str, x.reshape(-1)) if key(word) not in stop]
    result = np.array(words or [""], dtype=object)
    return result if x.ndim == 1 else result.reshape(1, -1)
