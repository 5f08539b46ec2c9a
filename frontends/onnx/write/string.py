"""Strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....ir.types import boolean, f32, string
from ..emitter import Emitter, Item
from . import export, refuse


@export()
def string_normalizer(w: Emitter, x: Item, *, case: str, case_sensitive: bool, stopwords: Sequence[str]) -> Item:
    return w.StringNormalizer(  # type: ignore[no-any-return]
        x, case_change_action=case, is_case_sensitive=int(case_sensitive), stopwords=list(stopwords) or None
    )


@export()
def string_concat(w: Emitter, x: Item, y: Item) -> Item:
    w.need(20, "StringConcat")
    return w.StringConcat(x, y)  # type: ignore[no-any-return]


@export()
def string_split(w: Emitter, x: Item, *, delimiter: str, maxsplit: int) -> Sequence[Item]:
    w.need(20, "StringSplit")
    limit = None if maxsplit < 0 else maxsplit
    parts, counts = w.StringSplit(x, delimiter=delimiter, maxsplit=limit, outputs=2)
    return parts, counts


@export()
def regex_full_match(w: Emitter, x: Item, *, pattern: str) -> Item:
    w.need(20, "RegexFullMatch")
    return w.RegexFullMatch(x, pattern=pattern, result=boolean)  # type: ignore[no-any-return]


@export()
def tf_idf(
    w: Emitter, x: Item, *, mode: str, least: int, most: int, skips: int, starts: Any, columns: Any, words: Any,
    numbers: Any, weights: Any,
) -> Item:  # fmt: skip
    return w.TfIdfVectorizer(  # type: ignore[no-any-return]
        x, mode=mode, min_gram_length=least, max_gram_length=most, max_skip_count=skips, ngram_counts=list(starts),
        ngram_indexes=list(columns), pool_strings=list(words) or None, pool_int64s=list(numbers) or None,
        weights=list(weights) or None, result=f32,
    )  # fmt: skip


@export()
def ascii_lower(w: Emitter, x: Item) -> Item:
    """ONNX changes the case of rows, and of all letters."""
    flat = w.Reshape(x, w.ints([-1]))
    lower = w.StringNormalizer(flat, case_change_action="LOWER", is_case_sensitive=1)
    return w.Reshape(lower, w.shape_of(x, x.tensor), result=string)  # type: ignore[no-any-return]


refuse("ONNX has no such operator on strings", "regex_replace", "regex_find", "string_ngrams", "string_hash")
