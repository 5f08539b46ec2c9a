"""Permutations of axes: what becomes of attributes that speak of axes when the axes change places.

transpose(x, perm) has as its axis i the axis perm[i] of x.
"""

from __future__ import annotations

from typing import Any

from .op import axis_of

Perm = tuple[int, ...]


def inverse(perm: Perm) -> Perm:
    """The permutation that undoes perm."""
    places = [0] * len(perm)
    for i, p in enumerate(perm):
        places[p] = i
    return tuple(places)


def composed(first: Perm, then: Perm) -> Perm:
    """The permutation that does what `first` does, and `then` on its result."""
    return tuple(first[p] for p in then)


def is_identity(perm: Perm) -> bool:
    """Whether nothing changes places."""
    return perm == tuple(range(len(perm)))


def renumbered(attrs: dict[str, Any], perm: Perm) -> dict[str, Any]:
    """Attributes that speak of axes of transpose(x, perm), for an op with the trait `permutes` on x itself."""
    rank, new = len(perm), dict(attrs)
    if "axis" in attrs:
        new["axis"] = perm[axis_of(attrs["axis"], rank)]
    if "axes" in attrs:
        axes = attrs["axes"]
        if axes is None and "starts" in attrs:
            axes = tuple(range(len(attrs["starts"])))
        new["axes"] = None if axes is None else tuple(perm[axis_of(a, rank)] for a in axes)
    for name in ("pads", "repeats"):
        if name in attrs and isinstance(attrs[name], tuple):
            new[name] = tuple(attrs[name][i] for i in inverse(perm))
    return new


def remaining(perm: Perm, attrs: dict[str, Any]) -> Perm:
    """The order of the axes that a reduction of transpose(x, perm) without keepdims leaves."""
    axes = attrs["axes"] if "axes" in attrs else (attrs["axis"],)
    gone = {axis_of(a, len(perm)) for a in (range(len(perm)) if axes is None else axes)}
    left = [p for i, p in enumerate(perm) if i not in gone]
    return tuple(sorted(left).index(p) for p in left)
