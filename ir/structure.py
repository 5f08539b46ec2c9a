"""Nested lists and dicts of named values, as JSON: what a model's inputs and outputs look like to its user.

A structure is a name, a list of structures, or a dict of structures; it is kept in `graph.metadata` under
`input_structure` and `output_structure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import RunError

Structure = Any  # str | list[Structure] | dict[str, Structure]


def names(structure: Structure) -> Iterator[str]:
    """The names in a structure, in order."""
    if isinstance(structure, str):
        yield structure
        return
    for part in structure.values() if isinstance(structure, dict) else structure:
        yield from names(part)


def pack(structure: Structure, values: Mapping[str, Any]) -> Any:
    """The structure with every name replaced by its value."""
    if isinstance(structure, str):
        return values[structure]
    if isinstance(structure, dict):
        return {k: pack(v, values) for k, v in structure.items()}
    return [pack(v, values) for v in structure]


def unpack(structure: Structure, value: Any) -> dict[str, Any]:
    """Values by name out of a nested value; RunError where the forms differ."""
    if isinstance(structure, str):
        return {structure: value}
    found: dict[str, Any] = {}
    if isinstance(structure, dict):
        if not isinstance(value, Mapping) or set(value) != set(structure):
            raise RunError(f"expected a dict with keys {sorted(structure)}, got {_described(value)}")
        for key, part in structure.items():
            found.update(unpack(part, value[key]))
        return found
    if not isinstance(value, Sequence) or len(value) != len(structure):
        raise RunError(f"expected a list of {len(structure)} inputs {list(names(structure))}, got {_described(value)}")
    for part, v in zip(structure, value):
        found.update(unpack(part, v))
    return found


def _described(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with keys {sorted(value)}"
    return f"{len(value)} values" if isinstance(value, Sequence) else f"one {type(value).__name__}"
