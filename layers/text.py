"""Text as numbers: TextVectorization."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Var
from ..ir.types import string
from ..ir.words import ascii_lower, ngrams
from .base import Layer, layer
from .category import batches, check_mode
from .lookup import StringLookup, documents

if TYPE_CHECKING:
    from .lowering import Scope

PUNCTUATION = r"[!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']"
LOWERED = ("lower", "lower_and_strip_punctuation")
STRIPPED = ("strip_punctuation", "lower_and_strip_punctuation")
# what the parts of a text match: words between blanks of ASCII, or every character
SPLITS = {"whitespace": r"[^ \t\n\v\f\r]+", "character": r"(?s)."}


@layer
class TextVectorization(Layer):
    """Texts as the places of their words in a vocabulary, or as these encoded: a `StringLookup` with mask token "".

    1. standardize: lower (A to Z only), strip_punctuation, lower_and_strip_punctuation, or None.
    2. split: at whitespace, into characters, or None: each text is one word.
    3. ngrams: all runs of this many words and fewer, or of the numbers in a tuple, joined by blanks.
    4. output_mode: int, to the length of the longest text or output_sequence_length, filled up with 0; or multi_hot,
       count, tf_idf, one_hot (without split), see `StringLookup`.

    Texts come in shape (N) or, where they are split, (N, 1).  `standardize` and `split` may be functions f(builder,
    texts) too; that of split gives (parts with empty strings at the ends, how many there are).
    """

    max_tokens: int | None = None
    standardize: Any = "lower_and_strip_punctuation"
    split: Any = "whitespace"
    ngrams: Any = None
    output_mode: str = "int"
    output_sequence_length: int | None = None
    pad_to_max_tokens: bool = False
    vocabulary: Any = None
    idf_weights: Any = None
    sparse: bool = False
    ragged: bool = False
    encoding: str = "utf-8"
    autocast: ClassVar[bool] = False

    def check(self) -> None:
        check_mode(self, "int", "one_hot", "multi_hot", "count", "tf_idf")
        custom = "a function f(builder, texts), or pass custom_objects with such a function in place of the layer"
        if not callable(self.standardize) and self.standardize not in (*LOWERED, *STRIPPED, None):
            self.refuse("standardize", hint=f"{', '.join(dict.fromkeys((*LOWERED, *STRIPPED)))}, None, or {custom}")
        if not callable(self.split) and self.split not in (*SPLITS, None):
            self.refuse("split", hint=f"{', '.join(SPLITS)}, None, or {custom}")
        if self.ragged:
            self.refuse("ragged", hint="with ragged=False, rows are filled up with 0")
        if self.output_mode == "one_hot" and self.split is not None:
            self.refuse("output_mode", hint="of texts that are split it is ragged in Keras; use multi_hot or count")
        if self.output_sequence_length is not None and self.output_mode != "int":
            raise self.invalid(f"output_sequence_length is for output_mode='int', not {self.output_mode!r}")
        self.ngrams = tuple(self.ngrams) if isinstance(self.ngrams, list) else self.ngrams
        if not all(isinstance(n, int) and n > 0 for n in self.widths):
            self.refuse("ngrams", hint="a number of words or a tuple of them")
        keys = ("max_tokens", "output_mode", "pad_to_max_tokens", "vocabulary", "idf_weights", "encoding")
        given = {key: getattr(self, key) for key in keys}
        self._lookup_layer = StringLookup(name=f"{self.name}_lookup", mask_token="", **given)
        self._share_vocabulary()

    @property
    def widths(self) -> tuple[int, ...]:
        """The numbers of words that are joined; none where words stay as they are."""
        if self.ngrams is None:
            return ()
        return tuple(range(1, self.ngrams + 1)) if isinstance(self.ngrams, int) else tuple(self.ngrams)

    @property
    def lookup(self) -> StringLookup:
        """The layer that has the vocabulary."""
        return self._lookup_layer

    def children(self) -> Iterator[tuple[str, Any]]:
        yield "_lookup_layer", self._lookup_layer

    def more_config(self, inline: bool) -> dict[str, Any]:
        return self.lookup.more_config(inline)

    # ---- the vocabulary

    def _share_vocabulary(self) -> None:
        self.vocabulary, self.idf_weights = self.lookup.vocabulary, self.lookup.idf_weights
        self.version += 1

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words in the order of their places, with the two for padding and unknown words or without."""
        return self.lookup.get_vocabulary(include_special_tokens)

    def vocabulary_size(self) -> int:
        """The number of words, with those two."""
        return self.lookup.vocabulary_size()

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take words, see `StringLookup.set_vocabulary`."""
        self.lookup.set_vocabulary(vocabulary, idf_weights)
        self._share_vocabulary()

    def adapt(self, data: Any, batch_size: int | None = None, steps: int | None = None) -> None:
        """Make the vocabulary of the most frequent words of texts: an array or list, or an iterable of `steps` batches.

        Every text is a document, see `StringLookup.adapt`; batch_size says nothing, as in Keras.
        """
        if callable(self.standardize) or callable(self.split):
            raise self.invalid("standardize and split are functions of a graph: adapt on words of your own, see lookup")
        each = batches(data, steps, (list, tuple, np.ndarray))
        self.lookup.learn(words for batch in each for words in self._words(batch, batch is data))
        self._share_vocabulary()

    def _words(self, batch: Any, whole: bool) -> Iterable[list[str]]:
        for texts in documents(batch, whole or self.split is not None):
            words = [self._standardized(t.decode() if isinstance(t, bytes) else str(t)) for t in texts]
            if self.split is not None:
                words = [part for text in words for part in re.findall(SPLITS[self.split], text)]
            yield ngrams(words, self.widths) if self.widths else words

    def _standardized(self, text: str) -> str:
        text = ascii_lower(text) if self.standardize in LOWERED else text
        return re.sub(PUNCTUATION, "", text) if self.standardize in STRIPPED else text

    # ---- the computation

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        if x.tensor.dtype is not string:
            raise self.invalid(f"takes texts, got {x.type}")
        place = self.lookup.lower(b, self._parts(b, x), w)
        if self.output_mode != "int" or self.output_sequence_length is None:
            return place
        length = self.output_sequence_length
        rank = len(place.shape)
        filled = b.pad(place, pads=((0, 0),) * (rank - 1) + ((0, length),))
        cut = b.slice(filled, starts=(0,), ends=(length,), axes=(-1,))
        return b.reshape(cut, shape=(*place.shape[:-1], length))  # type: ignore[no-any-return]

    def _parts(self, b: Builder, x: Var) -> Var:
        """The words of each text along a new last axis, with empty strings at the end; or the text itself."""
        x = self._standard(b, x)
        counts = None
        if self.split is not None:
            if len(x.shape) > 1:
                if x.shape[-1] != 1:
                    raise self.invalid(f"splits texts of shape (N) or (N, 1), got {x.type}")
                x = b.squeeze(x, axes=(-1,))
            split: Callable[..., Any] = self.split if callable(self.split) else _matches(SPLITS[self.split])
            x, counts = split(b, x)
        return b.string_ngrams(x, counts, widths=self.widths) if self.widths else x

    def _standard(self, b: Builder, x: Var) -> Var:
        if callable(self.standardize):
            return self.standardize(b, x)  # type: ignore[no-any-return]
        x = b.ascii_lower(x) if self.standardize in LOWERED else x
        return b.regex_replace(x, pattern=PUNCTUATION, text="") if self.standardize in STRIPPED else x


def _matches(pattern: str) -> Callable[..., Any]:
    return lambda b, x: b.regex_find(x, pattern=pattern)
