"""Compiling with numba: functions of addresses and sizes, kept on disk, and steps that call them.

Compiled functions take addresses of arrays (int64) and numbers.  A plan's arrays stay where they are, so that a step
has nothing to look at; every function has one signature, whatever the strides and flags of the arrays; and vectors are
loaded and stored without any doubt on which arrays overlap, which keeps LLVM from making vectors itself.  Arguments lie
in memory too, so that all steps are functions of one address, which compiled code can call as well (`crew`).
"""

from __future__ import annotations

import ctypes
import hashlib
import linecache
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numba import __version__ as numba_version
from numba import njit
from numba.core import types as numba_types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from numba.core.ccallback import CFunc

from ..cache import cache_folder as user_cache
from ..numpy.registry import Array

types: Any = numba_types

# Sums keep their order and NaN its meaning (no fastmath); division by zero gives what IEEE says; no threads of numba's
# own, which would be too many beside ours; other threads run while a function does.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def cache_folder() -> Path:
    """Where compiled functions are kept: NUMBA_CACHE_DIR, TENUN_CACHE, or the user's cache folder."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given) / "tenun"
    return user_cache() / "numba"


@cache
def source_stamp() -> str:
    """A digest of this backend's sources, on which every compiled function may depend, and numba's version."""
    digest = hashlib.sha256(numba_version.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Locator(_CacheLocator):  # type: ignore[misc]
    """Finds the cache of a function: not beside its source, which may be read-only or in no file at all."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return source_stamp()

    def get_disambiguator(self) -> str:
        code, variant = self._function.__code__, getattr(self._function, "variant", "")
        return hashlib.sha256(f"{code.co_filename} {code.co_firstlineno} {variant}".encode()).hexdigest()[:16]

    @classmethod
    def from_function(cls, function: Any, file: str) -> _Locator:
        return cls(function)


class _CacheImpl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = [_Locator]


class _Cache(FunctionCache):  # type: ignore[misc]
    """numba's cache in our folder; where that cannot be read or written, functions are compiled by every process."""

    _impl_class = _CacheImpl

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            return super().load_overload(signature, context)
        except Exception:  # whatever is in the file
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except Exception:
            self.disable()


def compiled(function: Callable[..., Any]) -> Any:
    """The function compiled when it is called for the first time, or read from the cache."""
    dispatcher = njit(**OPTIONS)(function)
    with suppress(Exception):  # numba's insides may change: then nothing is kept
        dispatcher._cache = _Cache(function)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """A function that becomes part of those compiled functions that call it."""
    return njit(forceinline=True, **OPTIONS)(function)


def variant(function: Callable[..., Any], key: str, **names: Any) -> Any:
    """A function compiled with other meanings for some of its global names; `key` tells such variants apart.

    Names that mean plain functions are inlined, with the same meanings for their own global names.
    """
    inner = {k: inlined(_copied(v, names)) if isinstance(v, FunctionType) else v for k, v in names.items()}
    copy = _copied(function, inner)
    copy.__dict__["variant"] = key
    return compiled(copy)


def _copied(function: Any, names: dict[str, Any]) -> FunctionType:
    return FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)


def from_text(name: str, text: str, names: dict[str, Any]) -> Any:
    """The compiled function that a text defines; `names` are what it may use."""
    return compiled(_from_text(name, text, names))


def _from_text(name: str, text: str, names: dict[str, Any]) -> Any:
    file = f"<tenun {name} {hashlib.sha256(text.encode()).hexdigest()[:24]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)  # for tracebacks, and for numba's messages
    scope: dict[str, Any] = {**names, "__name__": __name__}
    exec(compile(text, file, "exec"), scope)
    return scope[name]


# ---- calls ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """How a compiled function is called: `door` is the address of a function of an address, where that of the compiled
    function (`address`) and its arguments lie, 8 bytes each; `call` is the door for Python, whose other threads run on.
    """

    address: int
    door: int
    call: Callable[[int], None]
    owners: Any  # of the machine code


@cache
def entry_of(function: Any, kinds: str) -> Entry:
    """The entry of a function of int64 and float64, one letter each: i or f."""
    made, door = _native(function.py_func, [_KINDS[kind] for kind in kinds]), _door(kinds)
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(door.address)
    call.__name__ = function.py_func.__name__  # type: ignore[attr-defined]
    return Entry(made.address, door.address, call, (made, door))


@cache
def _door(kinds: str) -> Any:
    """The machine code that calls functions of these arguments."""
    from .vectors import caller

    return _native(
        _from_text("door", f"def door(at):\n    call(at)  # {kinds}\n", {"call": caller(kinds)}), [types.int64]
    )


def _native(function: Any, arguments: list[Any]) -> Any:
    """A function as machine code with C's conventions."""
    made: Any = CFunc(function, (tuple(arguments), types.void), {}, dict(OPTIONS))
    with suppress(Exception):  # as above
        made._cache = _Cache(function)
    made.compile()
    return made


_KINDS = {"i": types.int64, "f": types.float64}


class Call(partial[Any]):
    """A step: a compiled function with its arguments.  Arrays are given as their addresses, and kept alive."""

    native = True
    entry: Entry
    block: Array  # the function's address and its arguments
    arrays: tuple[Array, ...]

    def __new__(cls, function: Any, *arguments: Any) -> Call:
        numbers = [_argument(given) for given in arguments]
        entry = entry_of(function, "".join("f" if isinstance(n, float) else "i" for n in numbers))
        words = [np.float64(n).view(np.int64) if isinstance(n, float) else n for n in numbers]
        block = np.array([entry.address, *words], np.int64)
        made = super().__new__(cls, entry.call, block.ctypes.data)
        made.entry, made.block = entry, block
        made.arrays = tuple(a for a in arguments if isinstance(a, np.ndarray))
        return made


def _argument(given: Any) -> Any:
    if isinstance(given, np.ndarray):
        return int(given.ctypes.data)
    return 0 if given is None else given if isinstance(given, float) else int(given)
