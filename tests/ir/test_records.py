"""Records are frozen dataclasses: the same in all that can be seen."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from tenun.ir.records import record


@record
class Ours:
    """Of two fields that count and one that does not."""

    a: int
    b: tuple[int, ...] = ()
    c: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Theirs:
    """The same."""

    a: int
    b: tuple[int, ...] = ()
    c: str = dataclasses.field(default="", compare=False)


VALUES: list[tuple[Any, ...]] = [(1,), (1, ()), (1, (2,)), (2,), (1, (), "x"), ("1",)]


def test_they_compare_and_hash_as_dataclasses_do() -> None:
    ours, theirs = ([cls(*v) for v in VALUES] for cls in (Ours, Theirs))
    assert [[a == b for a in ours] for b in ours] == [[a == b for a in theirs] for b in theirs]
    assert list(map(hash, ours)) == list(map(hash, theirs))
    assert ours[0] != theirs[0] and ours[0] != 1


def test_they_look_alike() -> None:
    assert [repr(Ours(*v)).replace("Ours", "Theirs") for v in VALUES] == [repr(Theirs(*v)) for v in VALUES]
    assert [f.name for f in dataclasses.fields(Ours)] == ["a", "b", "c"]
    assert dataclasses.replace(Ours(1), b=(3,)) == Ours(1, (3,))


@pytest.mark.parametrize(
    "one", [Ours(1, (2,), "x"), copy.deepcopy(Ours(1, (2,), "x")), pickle.loads(pickle.dumps(Ours(1, (2,), "x")))]
)
def test_they_cannot_be_changed(one: Ours) -> None:
    assert (one.a, one.b, one.c) == (1, (2,), "x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.a = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.a
    with pytest.raises(TypeError):
        Ours()  # type: ignore[call-arg]
