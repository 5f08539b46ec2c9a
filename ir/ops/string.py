"""Strings."""

from __future__ import annotations

from ..attributes import Floats, Ints, Strs
from ..dims import UNKNOWN
from ..op import broadcast_type, op, require
from ..types import DTYPES, Tensor, boolean, f32, i64, string

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


def _require_string(x: Tensor) -> None:
    require(x.dtype is string, f"operand is {x.dtype}, expected str")


@op("string")
def string_concat(x: Tensor, y: Tensor) -> Tensor:
    """x followed by y, string by string; shapes broadcast."""
    _require_string(x)
    _require_string(y)
    return broadcast_type(x, y)


@op("string", "opaque")
def string_split(x: Tensor, *, delimiter: str = "", maxsplit: int = -1) -> tuple[Tensor, Tensor]:
    """The parts of each string along a new last axis, filled up with empty strings, and how many there are.

    As str.split: without a delimiter at runs of blanks; at most maxsplit times, if that is not negative.
    """
    _require_string(x)
    return Tensor(string, (*x.dims, UNKNOWN)), Tensor(i64, x.shape)


@op("string")
def regex_full_match(x: Tensor, *, pattern: str) -> Tensor:
    """Whether all of a string matches a regular expression in the syntax of RE2, in time linear in the string."""
    _require_string(x)
    return Tensor(boolean, x.shape)


TF_IDF_MODES = ("TF", "IDF", "TFIDF")


@op("string")
def tf_idf(
    x: Tensor, *, mode: str, least: int, most: int, skips: int, starts: Ints, columns: Ints, words: Strs = (),
    numbers: Ints = (), weights: Floats = (),
) -> Tensor:  # fmt: skip
    """How often each n-gram of a pool occurs in each row of x, (C) or (N, C): one column for each (ONNX
    TfIdfVectorizer).

    The pool, `words` or `numbers`, lists n-grams of 1 element, from starts[1] on those of 2, and so on; columns[i] is
    the place of the i-th.  Those of `least` to `most` elements count, elements being up to `skips` + 1 apart.  IDF: 1
    for any number of times; times the column's weight, as in TFIDF.
    """
    require(mode in TF_IDF_MODES, f"mode {mode!r} is none of {', '.join(TF_IDF_MODES)}")
    require(0 < least <= most, f"n-grams of {least} to {most} elements")
    require(bool(words) != bool(numbers), "the pool has words or numbers, one of them")
    require(x.dtype is string if words else x.dtype.is_integer, f"operand is {x.dtype}, unlike the pool")
    require(x.rank in (0, 1, 2), f"operand has rank {x.rank}, expected 1 or 2")
    require(not weights or len(weights) == max(columns, default=-1) + 1, f"{len(weights)} weights")
    return Tensor(f32, (*x.dims[:-1], max(columns, default=-1) + 1))


@op("string", mixes=lambda rank: ())
def ascii_lower(x: Tensor) -> Tensor:
    """x with the letters A to Z in lower case, all others as they are (tf.strings.lower)."""
    _require_string(x)
    return Tensor(string, x.shape)


@op("string", mixes=lambda rank, **_: ())
def regex_replace(x: Tensor, *, pattern: str, text: str) -> Tensor:
    """x with `text` in place of every match of a regular expression in the syntax of RE2."""
    _require_string(x)
    return Tensor(string, x.shape)


@op("string", "opaque")
def regex_find(x: Tensor, *, pattern: str) -> tuple[Tensor, Tensor]:
    """The matches of a regular expression in the syntax of RE2 in each string, as string_split gives parts."""
    _require_string(x)
    return Tensor(string, (*x.dims, UNKNOWN)), Tensor(i64, x.shape)


@op("string", "opaque")
def tokenize(
    x: Tensor, *, token: str = "", separators: Strs = (), least: int = 1, mark: bool = False, pad: str = ""
) -> Tensor:
    """The tokens of each string along a new last axis, filled up with `pad` (com.microsoft.Tokenizer).

    They are the matches of `token`, or what is left when the matches of one of `separators` after the other are taken
    out; expressions have the syntax of RE2, of matches that begin at one place the longest counts, and where one is
    empty the next begins behind the next character.  Tokens of less than `least` characters are left out.  mark: a
    token "\\x02" before the others and "\\x03" after them, unless no string has any.
    """
    _require_string(x)
    require(bool(token) != bool(separators), "tokens are given by their pattern or by separators, one of them")
    require(least > 0, f"tokens of at least {least} characters")
    return Tensor(string, (*x.dims, UNKNOWN))


@op("string", "opaque")
def string_ngrams(x: Tensor, counts: Tensor | None = None, *, widths: Ints, separator: str = " ") -> Tensor:
    """Neighbours in each row of x, (..., T), joined: all of widths[0] words, then all of widths[1], ...

    The first counts[...] words of a row count, by default all.  Rows are filled up with empty strings.
    """
    _require_string(x)
    require(x.rank > 0 and all(w > 0 for w in widths), f"n-grams of {widths} words in rank {x.rank}")
    if counts is not None:
        require(counts.dtype is i64, f"counts are {counts.dtype}, expected i64")
        require(counts.rank == x.rank - 1, f"counts have rank {counts.rank}, expected {x.rank - 1}")
    words = x.dims[-1]
    if counts is None and isinstance(words, int):
        return Tensor(string, (*x.dims[:-1], sum(max(words - w + 1, 0) for w in widths)))
    return Tensor(string, (*x.dims[:-1], UNKNOWN))


@op("string", mixes=lambda rank, **_: ())
def string_hash(x: Tensor, *, key: Ints = ()) -> Tensor:
    """64 bits that tell the UTF-8 bytes of each string; an integer is taken as its decimal digits.

    FarmHash's Fingerprint64 (Pike and Alakuijala 2014); with a key of two integers SipHash-2-4 (Aumasson and
    Bernstein 2012), of one, its seed, the 32 bits of MurmurHash3 (Appleby 2011).
    """
    require(x.dtype is string or x.dtype.is_integer, f"operand is {x.dtype}, expected str or integers")
    require(len(key) <= 2, f"a key of {len(key)} integers")
    return Tensor(DTYPES["u64"], x.shape)
