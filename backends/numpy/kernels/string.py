"""Strings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial

import numpy as np

from ....errors import RunError
from ..registry import Array, Scratch, Step, function, kernel

_CASES: dict[str, Callable[[str], str]] = {"NONE": str, "LOWER": str.lower, "UPPER": str.upper}


@function
def string_normalizer(x: Array, *, case: str, case_sensitive: bool, stopwords: tuple[str, ...]) -> Array:
    """Words without the stopwords, in the case asked for; one empty word if none is left."""
    key = _CASES["NONE" if case_sensitive else "LOWER"]
    stop = {key(word) for word in stopwords}
    words = [_CASES[case](word) for word in map(str, x.reshape(-1)) if key(word) not in stop]
    result = np.array(words or [""], dtype=object)
    return result if x.ndim == 1 else result.reshape(1, -1)


@function
def string_concat(x: Array, y: Array) -> Array:
    out = np.empty(np.broadcast_shapes(x.shape, y.shape), object)
    np.add(x, y, out=out)
    return out


@function
def string_split(x: Array, *, delimiter: str, maxsplit: int) -> tuple[Array, Array]:
    parts = [str(text).split(delimiter or None, maxsplit) for text in x.reshape(-1)]
    counts = np.array([len(p) for p in parts], np.int64)
    out = np.full((len(parts), counts.max(initial=0)), "", object)
    for row, found in zip(out, parts):
        row[: len(found)] = found
    return out.reshape(*x.shape, out.shape[1]), counts.reshape(x.shape)


@function
def regex_full_match(x: Array, *, pattern: str) -> Array:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise RunError(f"{pattern!r} is no regular expression: {error}", op="regex_full_match") from None
    found = [expression.fullmatch(str(text)) is not None for text in x.reshape(-1)]
    return np.array(found, bool).reshape(x.shape)


@kernel
def tf_idf(
    x: Array, *, mode: str, least: int, most: int, skips: int, starts: tuple[int, ...], columns: tuple[int, ...],
    words: tuple[str, ...], numbers: tuple[int, ...], weights: tuple[float, ...], out: Array, scratch: Scratch,
) -> list[Step]:  # fmt: skip
    """The pool is sorted into one table for each length that counts."""
    pool: tuple[object, ...] = words or numbers
    tables: dict[int, dict[tuple[object, ...], int]] = {}
    entry = 0
    for n, (start, end) in enumerate(zip(starts, (*starts[1:], len(pool))), 1):
        grams = [pool[i : i + n] for i in range(start, end - n + 1, n)]
        if least <= n <= most:
            tables[n] = dict(reversed([*zip(grams, columns[entry : entry + len(grams)])]))  # the first one counts
        entry += len(grams)
    rows = out.reshape(-1, out.shape[-1])
    steps: list[Step] = [partial(_count_grams, x, tables, skips, rows)]
    if mode == "IDF":
        steps.append(partial(np.minimum, rows, 1, rows))
    if mode != "TF" and weights:
        steps.append(partial(np.multiply, rows, np.array(weights, np.float32), rows))
    return steps


def _count_grams(x: Array, tables: dict[int, dict[tuple[object, ...], int]], skips: int, out: Array) -> None:
    out.fill(0)
    for row, items in zip(out, x.reshape(len(out), -1).tolist()):
        for n, table in tables.items():
            for apart in range(1, skips + 2 if n > 1 else 2):
                grams = zip(*(items[i * apart :] for i in range(n)))
                for column, count in Counter(table[g] for g in grams if g in table).items():
                    row[column] += count
