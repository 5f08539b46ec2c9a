"""Strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....ir.types import DTYPES, Tensor, boolean, f32, i64, string
from ..emitter import Emitter, Item
from . import export, refuse
from .reduce import reduced


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
def tokenize(
    w: Emitter, x: Item, *, token: str, separators: Sequence[str], least: int, mark: bool, pad: str
) -> Item:  # fmt: skip
    """ONNX Runtime's operator; there, "." alone is any character, and an empty separator alone ends each of them."""
    rule: dict[str, Any]
    if separators:
        rule = {"separators": ["(?:)"] if list(separators) == [""] else list(separators)}
    else:
        rule = {"tokenexp": {".": "(?:.)", "(?s).": "." if least == 1 else "(?s)."}.get(token, token)}
    return w.emit(  # type: ignore[no-any-return]
        "Tokenizer", x, domain="com.microsoft", mincharnum=least, mark=int(mark), pad_value=pad, **rule
    )


@export()
def string_hash(w: Emitter, x: Item, *, key: Sequence[int]) -> Item:
    """ONNX Runtime has MurmurHash3."""
    if len(key) != 1 or x.dtype is not string:
        raise w.refuse(
            "no operator of ONNX gives the bytes of a string or the digits of a number", "hash before the model"
        )
    low = w.emit("MurmurHash3", x, domain="com.microsoft", seed=key[0], positive=1, result=DTYPES["u32"])
    return w.cast(low, DTYPES["u64"])


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
def string_ngrams(w: Emitter, x: Item, counts: Item | None = None, *, widths: Sequence[int], separator: str) -> Item:
    """For each width the words from every place on, where there are enough; those are brought to the front."""
    w.need(20, "StringConcat")
    lead = w.Slice(w.Shape(x, result=i64), w.ints([0]), w.ints([-1]))
    size = w.axis_size(x, x.rank - 1)
    numbers = w.Range(w.constant(np.int64(0)), w.scalar(size), w.constant(np.int64(1)))
    words = size if counts is None else w.Unsqueeze(counts, w.ints([-1]))
    grams, valid = [], []
    for width in widths:
        empty = w.Expand(w.constant(np.array("", object)), w.Concat(lead, w.ints([width - 1]), axis=0))
        longer = w.Concat(x, empty, axis=-1) if width > 1 else x
        gram: Item | None = None
        for start in range(width):
            part = w.Slice(longer, w.ints([start]), w.Add(size, start), w.ints([-1]))
            joined = gram if gram is None else w.StringConcat(gram, w.constant(np.array(separator, object)))
            gram = part if joined is None else w.StringConcat(joined, part)
        fits = w.LessOrEqual(w.Add(numbers, width), words, result=boolean)
        grams.append(gram)
        valid.append(w.Expand(fits, w.Concat(lead, size, axis=0)))
    return _front(w, w.Concat(*grams, axis=-1), w.typed(w.Concat(*valid, axis=-1), Tensor(boolean, None)))


def _front(w: Emitter, x: Item, valid: Item) -> Item:
    """The valid elements of each row, in their order, filled up with empty strings to the longest row."""
    numbers = w.cast(valid, i64)
    total = reduced(w, "ReduceSum", numbers, (-1,), True)
    length = w.Slice(w.Shape(x, result=i64), w.ints([-1]), w.ints([np.iinfo(np.int64).max]))
    places = w.Range(w.constant(np.int64(0)), w.scalar(length), w.constant(np.int64(1)))
    key = w.Sub(w.Mul(numbers, w.Mul(length, 2)), places)  # valid ones first, the earlier of them before the later
    _, order = w.TopK(key, length, axis=-1, outputs=2)
    sorted_x = w.GatherElements(x, w.typed(order, Tensor(i64, None)), axis=-1)
    kept = w.Where(w.Less(places, total, result=boolean), sorted_x, w.constant(np.array("", object)), result=string)
    totals = w.Concat(w.Reshape(total, w.ints([-1])), w.ints([0]), axis=0)  # of no rows the longest one has none
    most = reduced(w, "ReduceMax", totals, (0,), True)
    return w.Slice(kept, w.ints([0]), most, w.ints([-1]))  # type: ignore[no-any-return]


refuse(
    "ONNX can test whether a string matches an expression, but not replace or find parts of it; split and clean text "
    "before the model, or standardize=None",
    "regex_replace", "regex_find",
)  # fmt: skip
refuse("ONNX lowers all letters there are, not A to Z alone", "ascii_lower")
