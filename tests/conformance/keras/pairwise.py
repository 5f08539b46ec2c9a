"""Covering arrays: few configurations that contain every pair of values of any two factors.

Greedy, after AETG (Cohen, Dalal, Fredman, Patton 1997): each row starts with a pair that no row has yet, and takes of
every other factor the value which covers the most such pairs with what is chosen already.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Choice = dict[str, int]  # the number of a value by factor
Pair = tuple[tuple[str, int], tuple[str, int]]


def covering(
    factors: Mapping[str, Sequence[Any]], allowed: Callable[[dict[str, Any]], bool] = lambda row: True, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows (a value for each factor), the first of them made of first values.

    `allowed` is asked about parts of rows too (factors that it does not find are yet to be chosen); pairs that no
    allowed row can have are left out.
    """
    rng = random.Random(seed)
    names = list(factors)
    numbers = {name: range(len(values)) for name, values in factors.items()}
    open_pairs = {((a, i), (b, j)) for a, b in itertools.combinations(names, 2) for i in numbers[a] for j in numbers[b]}
    singles = {(a, i) for a in names for i in numbers[a]} if len(names) == 1 else set()

    def values(choice: Choice) -> dict[str, Any]:
        return {name: factors[name][choice[name]] for name in names if name in choice}

    def take(choice: Choice) -> None:
        chosen = [(name, choice[name]) for name in names]
        open_pairs.difference_update(itertools.combinations(chosen, 2))
        singles.difference_update(chosen)

    first = dict.fromkeys(names, 0)
    rows = [first] if allowed(values(first)) else []
    if rows:
        take(first)
    while open_pairs or singles:
        start = min(open_pairs) if open_pairs else (min(singles),)
        row = _row(dict(start), names, numbers, open_pairs, lambda c: allowed(values(c)), rng)
        if row is not None:
            rows.append(row)
            take(row)
        open_pairs.discard(start)  # type: ignore[arg-type]
        singles.discard(start[0])
    return [values(row) for row in rows]


def _row(
    start: Choice, names: list[str], numbers: Mapping[str, range], open_pairs: set[Pair],
    allowed: Callable[[Choice], bool], rng: random.Random, tries: int = 5,
) -> Choice | None:  # fmt: skip
    """A row with a given start; None where none was found that is allowed."""
    if not allowed(start):
        return None
    rank = {name: i for i, name in enumerate(names)}

    def gain(choice: Choice, name: str, number: int) -> int:
        here = (name, number)
        found = 0
        for other, at in choice.items():
            there = (other, at)
            found += ((here, there) if rank[name] < rank[other] else (there, here)) in open_pairs
        return found

    for _ in range(tries):
        choice = dict(start)
        rest = [name for name in names if name not in choice]
        rng.shuffle(rest)
        for name in rest:
            fitting = [i for i in numbers[name] if allowed({**choice, name: i})]
            if not fitting:
                break
            gains = [(gain(choice, name, i), -i) for i in fitting]
            choice[name] = -max(gains)[1]
        else:
            return choice
    return None
