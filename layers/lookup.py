"""Vocabularies: StringLookup and IntegerLookup.

A vocabulary is a list of tokens; before them stand the mask token (in output mode int, if there is one) and the
tokens for what is not in it.  It is given to the constructor or `set_vocabulary`, or made by `adapt`.  Keras writes the
first into the layer's config; the others are `assets` of a `.keras` file, text with a token a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import LoadError
from ..ir import Builder, Var
from ..ir.types import string
from .base import Layer, as_dtype, layer
from .category import batches, check_mode, encode, hashed, salt_of

if TYPE_CHECKING:
    from .lowering import Scope

Array = np.ndarray[Any, Any]
DROPPED = np.iinfo(np.int64).max  # the index of what does not count


class IndexLookup(Layer):
    """What both lookups share: the place of a token in a vocabulary, or the token at a place (`invert`).

    Keras' arguments, by both classes alike:

    max_tokens         the most tokens that `adapt` keeps, those before the vocabulary included
    num_oov_indices    how many indices there are for tokens that are not in the vocabulary; 0: they are an error
    mask_token         index 0 in output mode int, does not count in the others
    oov_token          what stands for unknown tokens in the vocabulary and is given for unknown places
    vocabulary         the tokens, or a pathlib.Path of a file with a token a line
    idf_weights        for output mode tf_idf: a factor for each token
    invert             whether places are turned into tokens
    output_mode        int, one_hot, multi_hot, count, or tf_idf: counts times factors
    pad_to_max_tokens  whether encoded results have max_tokens columns
    oov_method         how integers are shared out over several indices: floormod, or farmhash of their digits
    salt               a key of two integers for the hash: SipHash-2-4 instead of Fingerprint64
    """

    max_tokens: int | None
    num_oov_indices: int
    mask_token: Any
    oov_token: Any
    vocabulary: Any
    idf_weights: Any
    invert: bool
    output_mode: str
    pad_to_max_tokens: bool
    oov_method: str
    salt: Any
    autocast: ClassVar[bool] = False
    kind: ClassVar[type]  # of a token

    def check(self) -> None:
        check_mode(self, "int", "one_hot", "multi_hot", "count", "tf_idf")
        if self.max_tokens is not None and self.max_tokens <= 1:
            self.refuse("max_tokens", hint="more than 1, or None")
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise self.invalid("pad_to_max_tokens needs max_tokens")
        if self.num_oov_indices < 0:
            self.refuse("num_oov_indices")
        if self.invert and self.output_mode != "int":
            raise self.invalid(f"invert is for output_mode='int', not {self.output_mode!r}")
        if self.idf_weights is not None and self.output_mode != "tf_idf":
            raise self.invalid(f"idf_weights are for output_mode='tf_idf', not {self.output_mode!r}")
        if self.oov_method not in ("floormod", "farmhash"):
            self.refuse("oov_method", hint="floormod or farmhash")
        self.salt = salt_of(self)
        if self.salt is not None and self.kind is int and self.oov_method != "farmhash":
            raise self.invalid("salt needs oov_method='farmhash'")
        self.tokens: list[Any] | None = None
        self.factors: Array | None = None  # of tf_idf: for every column
        given, factors = self.vocabulary, self.idf_weights
        if isinstance(given, str):
            raise self.invalid(f"the vocabulary is in another file, {given!r}; give it as pathlib.Path({given!r})")
        if given is not None:
            self.set_vocabulary(given, factors)
        if given is not None and not isinstance(given, Path):
            self.vocabulary = self._as_tokens(given)
            self.idf_weights = None if factors is None else [float(v) for v in factors]

    @property
    def lookup(self) -> IndexLookup:
        """The layer that has the vocabulary."""
        return self

    # ---- the vocabulary

    @property
    def special(self) -> list[Any]:
        """The tokens before the vocabulary."""
        masks = [self.mask_token] if self.mask_token is not None and self.output_mode == "int" else []
        return masks + [self.oov_token] * self.num_oov_indices

    @property
    def oov_start(self) -> int:
        """The first index of tokens that are not in the vocabulary."""
        return len(self.special) - self.num_oov_indices

    def known(self) -> list[Any]:
        """The tokens of the vocabulary; an error where there is none yet."""
        if self.tokens is None:
            why = "an .h5 file or an architecture holds none that was adapted: use a .keras file"
            raise self.invalid(f"has no vocabulary: call adapt(data) or set_vocabulary(tokens) first ({why})")
        return self.tokens

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The tokens in the order of their indices, with those for masks and unknown tokens or without."""
        tokens = list(self.tokens or ())
        return self.special + tokens if include_special_tokens else tokens

    def vocabulary_size(self) -> int:
        """The number of tokens, with those before the vocabulary."""
        return len(self.special) + len(self.tokens or ())

    @property
    def cardinality(self) -> int:
        return self.vocabulary_size()

    @property
    def depth(self) -> int:
        """The number of columns of encoded results."""
        return self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take tokens (with those that stand before them, or without), or a file with a token a line.

        idf_weights, one for each, in output mode tf_idf; tokens that are not given get the average.
        """
        if (self.output_mode == "tf_idf") != (idf_weights is not None):
            raise self.invalid(f"output_mode={self.output_mode!r}: idf_weights go with 'tf_idf', and only with it")
        given = self._read(vocabulary) if isinstance(vocabulary, (str, Path)) else self._as_tokens(vocabulary)
        factors = None
        if idf_weights is not None:
            factors = np.asarray(idf_weights, np.float64)
            if not given or factors.shape != (len(given),):
                raise self.invalid(f"{len(given)} tokens, but idf_weights have the shape {factors.shape}")
            start = len(self.special)
            before = 0 if given[:start] == self.special else start
            factors = np.pad(factors, (before, 0), constant_values=factors.mean())
        self.take_vocabulary(given, factors)
        self.vocabulary, self.idf_weights = None, None  # what a config said holds no longer

    def _as_tokens(self, vocabulary: Any) -> list[Any]:
        found = np.asarray(vocabulary, object).reshape(-1).tolist()
        return [v.decode() if isinstance(v, bytes) else self.kind(v) for v in found]

    def _read(self, path: str | Path) -> list[Any]:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LoadError(f"the vocabulary cannot be read: {error}", file=str(path), node=self.name) from None
        return self._parsed(text)

    def _parsed(self, text: str) -> list[Any]:
        lines = text.splitlines()
        while lines and not lines[-1]:
            lines.pop()
        try:
            return [self.kind(line) for line in lines]
        except ValueError as error:
            raise LoadError(f"a token is no integer: {error}", node=self.name) from None

    def _check_tokens(self, given: list[Any], tokens: list[Any]) -> None:
        if not given:
            raise self.invalid("the vocabulary is empty")
        repeated = [token for token, count in Counter(tokens).items() if count > 1]
        if repeated:
            raise self.invalid(f"the vocabulary has {repeated[:10]} more than once")
        for key in ("mask_token", "oov_token") if self.invert else ("mask_token",):
            token = getattr(self, key)
            if token is not None and token in tokens:
                where = f"at the start, in this order: {self.special}"
                raise self.invalid(f"the {key} {token!r} stands within the vocabulary; leave it out or put it {where}")
        size = len(self.special) + len(tokens)
        if self.max_tokens is not None and size > self.max_tokens:
            raise self.invalid(f"the vocabulary has {size} tokens, max_tokens is {self.max_tokens}")

    def _take(self, tokens: list[Any], factors: Array | None) -> None:
        self.tokens = tokens
        self.factors = None if factors is None else self._padded(factors)
        self.version += 1

    def _padded(self, factors: Array) -> Array:
        return np.pad(factors, (0, max(self.depth - len(factors), 0))).astype(np.float32)

    # ---- files

    def vocabulary_text(self) -> str | None:
        """The vocabulary as Keras writes it beside the config; None where the config has it, or there is none."""
        if self.tokens is None or self.vocabulary is not None:
            return None
        tokens = self.get_vocabulary()
        text = "\n".join(map(str, tokens))
        if self._parsed(text) != tokens:
            why = "a token is empty or more than one line, which a file of lines cannot hold"
            raise self.invalid(f"{why}: give the vocabulary to the constructor, it goes to the config then")
        return text

    def load_vocabulary(self, text: str | None, factors: Array | None) -> None:
        """Take what a file has for the layer: the text of its vocabulary, and the factors of its columns."""
        if text is not None and self.vocabulary is None:
            self.take_vocabulary(self._parsed(text), factors)
        elif factors is not None and self.tokens is not None:
            self.factors = self._padded(factors)

    def take_vocabulary(self, given: list[Any], factors: Array | None) -> None:
        """Take a vocabulary with its special tokens or without, and the factors of all columns."""
        given, start = self._as_tokens(given), len(self.special)
        tokens = given[start:] if given[:start] == self.special else given
        self._check_tokens(given, tokens)
        self._take(tokens, factors)

    def more_config(self, inline: bool) -> dict[str, Any]:
        size = {"vocabulary_size": None if self.tokens is None else self.vocabulary_size()}
        if self.tokens is None or self.vocabulary is not None or not inline:
            return size
        vocabulary = self.get_vocabulary()
        idf = {} if self.factors is None else {"idf_weights": self.factors[: len(vocabulary)].tolist()}
        return {**size, "vocabulary": vocabulary, **idf}

    # ---- learning one

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Make the vocabulary of the most frequent tokens in the data; of equally frequent ones the larger is first.

        data: an array or list, whose rows (or, in one dimension, elements) are documents, or an iterable of `steps`
        batches.  In output mode tf_idf the factor of a token is log(1 + documents / (1 + documents with the token)),
        that of unknown ones the mean.
        """
        each = batches(data, steps, (list, tuple, np.ndarray))
        self.learn(row for batch in each for row in documents(batch, batch is data))

    def learn(self, documents: Iterable[Sequence[Any]]) -> None:
        """`adapt` on lists of tokens."""
        if self.vocabulary is not None:
            raise self.invalid("its vocabulary is given: there is nothing to adapt")
        counts: Counter[Any] = Counter()
        containing: Counter[Any] = Counter()
        number = 0
        for document in documents:
            tokens = self._as_tokens(document)
            counts.update(tokens)
            containing.update(set(tokens))
            number += 1
        for token in (self.mask_token, self.oov_token):
            counts.pop(token, None)
        ranked = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        if self.max_tokens:
            ranked = ranked[: max(self.max_tokens - len(self.special), 0)]
        factors = None
        if self.output_mode == "tf_idf":
            factors = np.log(1 + number / (1 + np.array([containing[t] for t in ranked], np.float64)))
            factors = np.pad(factors, (len(self.special), 0), constant_values=factors.mean() if ranked else 0)
        self._take(ranked, factors)

    # ---- the computation

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        if self.invert:
            return self._tokens_at(b, as_dtype(b, x, "int64"))
        index = self._index(b, self._as_key(b, x))
        if self.output_mode == "int":
            return index
        if self.output_mode != "tf_idf":
            return encode(b, index, self.output_mode, self.depth, "int64")
        if self.factors is None or self.factors.shape != (self.depth,):
            shape = None if self.factors is None else self.factors.shape
            raise self.invalid(f"has {self.depth} columns, but idf_weights of the shape {shape}")
        return b.mul(encode(b, index, "count", self.depth, "float32"), self.factors)  # type: ignore[no-any-return]

    def _as_key(self, b: Builder, x: Var) -> Var:
        text = x.tensor.dtype is string
        if text != (self.kind is str):
            raise self.invalid(f"takes {'text' if self.kind is str else 'numbers'}, got {x.type}")
        return x if text else as_dtype(b, x, "int64")

    def _array(self, tokens: Sequence[Any]) -> Array:
        return np.array(tokens, object if self.kind is str else np.int64)

    def _index(self, b: Builder, x: Var) -> Var:
        """The index of each token: looked up, and for unknown ones the first index for them, or one by their hash."""
        masks = [] if self.mask_token is None else [self.mask_token]
        tokens, start = self.known(), len(self.special)
        mask = 0 if self.output_mode == "int" else DROPPED
        indices = [mask] * len(masks) + [*range(start, start + len(tokens)), self.oov_start]
        place = b.find(x, self._array(masks + tokens), strict=self.num_oov_indices == 0)
        index = b.gather(np.array(indices, np.int64), place)
        if self.num_oov_indices < 2:
            return index  # type: ignore[no-any-return]
        if self.kind is int and self.oov_method == "floormod":
            oov = b.mod(x, np.int64(self.num_oov_indices))
        else:
            oov = hashed(b, x, self.num_oov_indices, self.salt)
        unknown = b.equal(place, np.int64(len(indices) - 1))
        return b.where(unknown, b.add(oov, np.int64(self.oov_start)), index)  # type: ignore[no-any-return]

    def _tokens_at(self, b: Builder, x: Var) -> Var:
        """The token at each place, the oov_token where there is none."""
        self.known()
        if self.oov_token is None:
            raise self.invalid("invert needs an oov_token")
        table = self._array([*self.get_vocabulary(), self.oov_token])
        last = np.int64(len(table) - 1)
        place = b.where(b.less(x, np.int64(0)), last, b.minimum(x, last))
        return b.gather(table, place)  # type: ignore[no-any-return]


def documents(batch: Any, whole: bool) -> Iterable[Any]:
    """The rows of a batch: of a whole data set in one dimension, its elements; of a batch in one, all of it."""
    array = np.asarray(batch, object) if not isinstance(batch, np.ndarray) else batch
    if array.ndim < 2:
        return [[v] for v in array.reshape(-1).tolist()] if whole else [array.reshape(-1).tolist()]
    return [row.reshape(-1).tolist() for row in array]


@layer
class StringLookup(IndexLookup):
    """The place of each text in a vocabulary, or the text at each place; see `IndexLookup`.

    Texts are compared as UTF-8 whatever `encoding` says: Keras only reads its own table back by it.
    """

    max_tokens: int | None = None
    num_oov_indices: int = 1
    mask_token: Any = None
    oov_token: Any = "[UNK]"
    vocabulary: Any = None
    idf_weights: Any = None
    invert: bool = False
    output_mode: str = "int"
    pad_to_max_tokens: bool = False
    sparse: bool = False
    encoding: str = "utf-8"
    salt: Any = None
    oov_method: str = "floormod"
    kind: ClassVar[type] = str


@layer
class IntegerLookup(IndexLookup):
    """The place of each integer in a vocabulary, or the integer at each place; see `IndexLookup`."""

    max_tokens: int | None = None
    num_oov_indices: int = 1
    mask_token: Any = None
    oov_token: Any = -1
    vocabulary: Any = None
    vocabulary_dtype: str = "int64"
    idf_weights: Any = None
    invert: bool = False
    output_mode: str = "int"
    sparse: bool = False
    pad_to_max_tokens: bool = False
    oov_method: str = "floormod"
    salt: Any = None
    kind: ClassVar[type] = int

    def check(self) -> None:
        if self.vocabulary_dtype != "int64":
            self.refuse("vocabulary_dtype", hint="Keras knows int64 only")
        super().check()
