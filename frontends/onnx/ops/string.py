"""Strings."""

from __future__ import annotations

from collections.abc import Sequence

from ....ir.graph import Var
from ..lowering import Lowering
from ..registry import onnx
from .contrib import contrib


@onnx("StringNormalizer")
def string_normalizer(
    b: Lowering, X: Var, *, case_change_action: str = "NONE", is_case_sensitive: int = 0, locale: str = "",
    stopwords: tuple[str, ...] = (),
) -> Var:  # fmt: skip
    """The locale is not used: case is changed as Unicode says."""
    return b.string_normalizer(X, case=case_change_action, case_sensitive=is_case_sensitive, stopwords=stopwords)


@onnx("StringConcat", since=20)
def string_concat(b: Lowering, X: Var, Y: Var) -> Var:
    return b.string_concat(X, Y)


@onnx("StringSplit", since=20)
def string_split(b: Lowering, X: Var, *, delimiter: str = "", maxsplit: int | None = None) -> Sequence[Var]:
    return b.string_split(X, delimiter=delimiter, maxsplit=-1 if maxsplit is None else maxsplit)  # type: ignore[no-any-return]


@onnx("RegexFullMatch", since=20)
def regex_full_match(b: Lowering, X: Var, *, pattern: str) -> Var:
    return b.regex_full_match(X, pattern=pattern)


@contrib("Tokenizer")
def tokenizer(
    b: Lowering, X: Var, *, mark: int, mincharnum: int, pad_value: str, separators: tuple[str, ...] = (),
    tokenexp: str = "",
) -> Var:  # fmt: skip
    """Separators count before a tokenexp; single characters are asked for by one empty separator, or by ".".

    Of no strings at all ONNX Runtime leaves an axis out of the result; here it has no tokens.
    """
    if separators == ("",) or (tokenexp == "." and not separators):
        if mincharnum != 1:
            raise b.refuse(f"mincharnum {mincharnum} for single characters", "ONNX Runtime allows 1 only")
        separators, tokenexp = (), "(?s)."
    return b.tokenize(
        X, token="" if separators else tokenexp, separators=separators, least=mincharnum, mark=bool(mark), pad=pad_value
    )


@onnx("TfIdfVectorizer", since=9)
def tf_idf_vectorizer(
    b: Lowering, X: Var, *, max_gram_length: int, max_skip_count: int, min_gram_length: int, mode: str,
    ngram_counts: tuple[int, ...], ngram_indexes: tuple[int, ...], pool_int64s: tuple[int, ...] = (),
    pool_strings: tuple[str, ...] = (), weights: tuple[float, ...] = (),
) -> Var:  # fmt: skip
    return b.tf_idf(
        X,
        mode=mode,
        least=min_gram_length,
        most=max_gram_length,
        skips=max_skip_count,
        starts=ngram_counts,
        columns=ngram_indexes,
        words=pool_strings,
        numbers=pool_int64s,
        weights=weights,
    )
