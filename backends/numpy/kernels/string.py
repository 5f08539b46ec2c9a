"""Strings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from ....errors import RunError
from ....ir.words import ascii_lower as lower_letters
from ....ir.words import ngrams
from ..registry import Array, Scratch, Step, function, kernel
from .hashes import hash_texts
from .regex import compiled, finder

_T = TypeVar("_T")
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
    return _filled([str(text).split(delimiter or None, maxsplit) for text in x.reshape(-1)], x.shape)


def _filled(rows: Sequence[Sequence[str]], shape: tuple[int, ...], pad: str = "") -> tuple[Array, Array]:
    """Lists of different lengths as an array with empty strings (or others) at their ends, and the lengths."""
    counts = np.array([len(row) for row in rows], np.int64)
    out = np.full((len(rows), counts.max(initial=0)), pad, object)
    for place, row in zip(out, rows):
        place[: len(row)] = row
    return out.reshape(*shape, out.shape[1]), counts.reshape(shape)


def _of_pattern(make: Callable[[str], _T], pattern: str, op: str) -> _T:
    try:
        return make(pattern)
    except (ValueError, OverflowError) as error:
        raise RunError(f"{pattern!r} is no regular expression: {error}", op=op) from None


@function
def regex_full_match(x: Array, *, pattern: str) -> Array:
    expression = _of_pattern(compiled, pattern, "regex_full_match")
    return np.array([expression.matches(str(text)) for text in x.reshape(-1)], bool).reshape(x.shape)


def _each(change: Callable[[str], str], x: Array) -> Array:
    """A function of every string."""
    out = np.empty(x.size, object)
    out[:] = [change(str(text)) for text in x.reshape(-1)]
    return out.reshape(x.shape)


@function
def ascii_lower(x: Array) -> Array:
    return _each(lower_letters, x)


@function
def regex_replace(x: Array, *, pattern: str, text: str) -> Array:
    return _each(partial(_of_pattern(finder, pattern, "regex_replace").sub, text), x)


@function
def regex_find(x: Array, *, pattern: str) -> tuple[Array, Array]:
    expression = _of_pattern(finder, pattern, "regex_find")
    return _filled([expression.findall(str(text)) for text in x.reshape(-1)], x.shape)


START_OF_TEXT, END_OF_TEXT = "\x02", "\x03"


@function
def tokenize(
    x: Array, *, token: str, separators: tuple[str, ...], least: int, mark: bool, pad: str
) -> Array:  # fmt: skip
    splits = [_of_pattern(finder, separator, "tokenize").split for separator in separators]
    find = None if separators else _of_pattern(finder, token, "tokenize").longest
    rows = [_tokens(str(text), find, splits, least) for text in x.reshape(-1)]
    if mark and any(rows):
        rows = [[START_OF_TEXT, *row, END_OF_TEXT] for row in rows]
    return _filled(rows, x.shape, pad)[0]


def _tokens(
    text: str, find: Callable[[str], list[str]] | None, splits: Sequence[Callable[[str], list[str]]], least: int
) -> list[str]:
    """The matches, or what is left of the text when one separator after the other has cut the pieces."""
    row = [text] if find is None else [part for part in find(text) if len(part) >= least]
    for split in splits:
        row = [part for piece in row for part in split(piece) if len(part) >= least]
    return row


@function
def string_ngrams(x: Array, counts: Array | None, *, widths: tuple[int, ...], separator: str) -> Array:
    size = x.shape[-1]
    flat = x.reshape(x.size // size if size else int(np.prod(x.shape[:-1])), size)
    ends = [size] * len(flat) if counts is None else counts.reshape(-1).tolist()
    rows = [ngrams(list(map(str, row[:end])), widths, separator) for row, end in zip(flat, ends)]
    if not rows and counts is None:
        return np.empty((*x.shape[:-1], sum(max(size - w + 1, 0) for w in widths)), object)
    out, _ = _filled(rows, x.shape[:-1])
    return out


@function
def string_hash(x: Array, *, key: tuple[int, ...]) -> Array:
    return hash_texts([str(v).encode() for v in x.reshape(-1).tolist()], key).reshape(x.shape)


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
