"""What is done to single texts: shared by the kernels and by layers that learn a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

_LOWER = {ord(c): ord(c.lower()) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def ascii_lower(text: str) -> str:
    """The letters A to Z in lower case."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def ngrams(words: Sequence[str], widths: Sequence[int], separator: str = " ") -> list[str]:
    """All neighbours of widths[0] words joined, then those of widths[1], ..."""
    return [separator.join(words[i : i + w]) for w in widths for i in range(len(words) - w + 1)]
