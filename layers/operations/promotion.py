"""Keras' type promotion: the least common dtype above those of the operands, in JAX's lattice.

Source of the table: keras/src/backend/common/dtypes.py, as it is with the TensorFlow backend.  Python numbers are weak:
`int` and `float` stand below the dtypes of tensors of their kind, so that they do not widen these.
"""

from __future__ import annotations

from functools import lru_cache

# dtype: the dtypes next above
ABOVE: dict[str, tuple[str, ...]] = {
    "bool": ("int",),
    "uint8": ("int16", "uint16"), "uint16": ("int32", "uint32"), "uint32": ("int64", "uint64"), "uint64": ("float",),
    "int": ("uint8", "int8", "complex64"),
    "int8": ("int16",), "int16": ("int32",), "int32": ("int64",), "int64": ("float",),
    "float": ("bfloat16", "float16"),
    "bfloat16": ("float32",), "float16": ("float32",), "float32": ("float64", "complex64"), "float64": ("complex128",),
    "complex64": ("complex128",), "complex128": (),
}  # fmt: skip

WEAK = {"int": "int32", "float": "float32"}  # Python numbers, and what they become where no tensor is beside them
NARROWED = {"uint64": "uint32", "complex128": "complex64"}  # results which Keras does not let be that wide


@lru_cache(None)
def _at_or_above(name: str) -> frozenset[str]:
    return frozenset({name}).union(*(_at_or_above(n) for n in ABOVE[name]))


@lru_cache(512)
def result_type(*names: str) -> str:
    """The dtype in which operands of these dtypes (or `int`, `float`) meet; TypeError where there is none.

    `keras.backend.result_type` with floatx float32.
    """
    distinct = set(names)
    if distinct <= set(WEAK):
        distinct = {WEAK[n] for n in distinct}
    if len(distinct) > 1:
        unknown = distinct - set(ABOVE)
        if unknown:
            raise TypeError(f"dtypes {', '.join(names)} have no common dtype; cast first")
        common = frozenset.intersection(*map(_at_or_above, distinct))
        distinct = {n for n in common if common <= _at_or_above(n)}
    found = distinct.pop()
    found = WEAK.get(found, found)
    return NARROWED.get(found, found)
