"""Compiled calls side by side: branches of calls that threads take from a board, without Python and its lock.

A thread that serves a board looks at it all the time, for as long as there was something to do lately: it begins with
a branch in a fraction of a microsecond, where waking a thread takes 60.  So much smaller work than that of NumPy's
backend is worth sharing.  Every seat at the board has a range of the branches: a thread that works on the same part of
every layer finds in its own cache what it has written.  Who is done takes what is left at other seats; the caller takes
part, and does everything where nobody else is awake.

What is left at a seat is one word (the number of the job, the end of the range, the next branch to be taken), which
changes by compare-and-swap: whoever takes a branch knows that it belongs to the job that he has read.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types as numba_types
from numba.core.typing.templates import signature

from ..numpy.registry import Array, Step
from ..numpy.workers import MOST, Branches, Parallel, Worker, cuts, team
from .compiler import Call, compiled, inlined
from .vectors import intrinsic, intrinsic_call, number

LEAST_FLOPS = 1 << 18  # of a branch: 2.5 µs
SPINS = 1 << 14  # looks at a board where nothing lies, 15 to 40 ns each

types: Any = numba_types
_I64 = ir.IntType(64)
_LINE = 64  # bytes: words that different threads write are that far apart
SEATS = 8
# Places on a board, behind the words of the seats: where the branches are, how many are done, whether more may come.
BRANCHES, DONE, BUSY, SIZE = (_LINE * (SEATS + i) for i in range(4))
_HERE = threading.local()  # .board: that of the thread


# ---- compiled ------------------------------------------------------------------------------------------------


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, ir.PointerType(_I64))


@intrinsic
def call(typing: Any, entry: Any, arguments: Any) -> Any:
    """Call the function at an address with one int64."""

    def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        pointer = ir.PointerType(ir.FunctionType(ir.VoidType(), [_I64]))
        builder.call(builder.inttoptr(values[0], pointer), [values[1]])
        return context.get_dummy_value()

    return signature(types.none, types.int64, types.int64), code


@intrinsic
def seen(typing: Any, address: Any) -> Any:
    """A word, and everything that was written before it."""

    def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.load_atomic(_pointer(builder, values[0]), "acquire", 8)

    return signature(types.int64, types.int64), code


@intrinsic
def publish(typing: Any, address: Any, word: Any) -> Any:
    """Write a word after everything before."""

    def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        builder.store_atomic(values[1], _pointer(builder, values[0]), "release", 8)
        return context.get_dummy_value()

    return signature(types.none, types.int64, types.int64), code


@intrinsic
def swapped(typing: Any, address: Any, old: Any, new: Any) -> Any:
    """Whether a word was the old one, and is the new one now."""

    def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        pair = builder.cmpxchg(_pointer(builder, values[0]), values[1], values[2], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return signature(types.boolean, types.int64, types.int64, types.int64), code


@intrinsic
def count_up(typing: Any, address: Any) -> Any:
    """Add 1 to a word."""

    def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        builder.atomic_rmw("add", _pointer(builder, values[0]), _I64(1), "acq_rel")
        return context.get_dummy_value()

    return signature(types.none, types.int64), code


_IS_X86 = platform.machine() in ("x86_64", "AMD64")


@intrinsic
def pause(typing: Any) -> Any:
    """Wait for a moment in which another thread of the core may work."""

    def code(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        if _IS_X86:
            intrinsic_call(builder, "llvm.x86.sse2.pause", ir.VoidType())
        return context.get_dummy_value()

    return signature(types.none), code


@inlined
def run(branch: int) -> None:
    """The calls of a branch: pairs of addresses, of a function and of its arguments, and a 0."""
    while number(branch) != 0:
        call(number(branch), number(branch + 8))
        branch += 16


@inlined
def taken(board: int, seat: int) -> int:
    """The next branch that lies on a board, of those at a seat if there are any left; or 0."""
    for k in range(SEATS):
        queue = board + _LINE * ((seat + k) % SEATS)
        word = seen(queue)
        while (word & 0xFFFF) < ((word >> 16) & 0xFFFF):
            branches = number(board + BRANCHES)
            if swapped(queue, word, word + 1):
                return number(branches + 8 * (word & 0xFFFF))
            word = seen(queue)
    return 0


def serve(board: int, seat: int, stop: int, spins: int) -> None:
    """Do what lies on a board; return when there was nothing for so many looks, none of which found the caller busy, or
    where `stop` is not 0."""
    idle = 0
    while idle < spins and seen(stop) == 0:
        branch = taken(board, seat)
        if branch != 0:
            run(branch)
            count_up(board + DONE)
            idle = 0
        else:
            pause()
            idle = idle + 1 if seen(board + BUSY) == 0 else 0


def share(place: int, branches: int, count: int) -> None:
    """Lay branches on a board, take part, and wait for the last one.

    place: the address of the board and how many seats are taken; where it is one, branches run one after the other.
    """
    board, seats = number(place), min(number(place + 8), count)
    if seats <= 1:
        for i in range(count):
            run(number(branches + 8 * i))
        return
    job = (number(board) >> 32) + 1
    publish(board + BRANCHES, branches)
    publish(board + DONE, 0)
    for seat in range(seats):
        word = (job << 32) | ((count * (seat + 1) // seats) << 16) | (count * seat // seats)
        publish(board + _LINE * seat, word)
    branch = taken(board, 0)
    while branch != 0:
        run(branch)
        count_up(board + DONE)
        branch = taken(board, 0)
    while seen(board + DONE) < count:
        pause()


def run_all(place: int, calls: int) -> None:
    """Calls one after the other; place: the address of the board which they use, or of a 0."""
    board = number(place)
    if board != 0:
        publish(board + BUSY, 1)
    run(calls)
    if board != 0:
        publish(board + BUSY, 0)


serve_compiled, share_compiled, run_all_compiled = compiled(serve), compiled(share), compiled(run_all)


# ---- steps ---------------------------------------------------------------------------------------------------


class Board:
    """The board of a thread: addresses of branches lie on it, for each seat the range that is meant for it."""

    def __init__(self) -> None:
        self._words = np.zeros(SIZE // 8 + _LINE // 8, np.int64)
        self.address = -(-self._words.ctypes.data // _LINE) * _LINE
        self.seats = [Seat(self, i) for i in range(SEATS)]  # the first one is that of the thread itself


class Seat:
    """Where a worker stands by."""

    def __init__(self, board: Board, number: int) -> None:
        self._board, self._number = board, number

    def serve(self, stop: Array) -> None:
        """Do what is there, until there has been nothing for a while or `stop` is not 0."""
        Call(serve_compiled, self._board.address, self._number, stop, SPINS)()


class Fork(Parallel):
    """Branches that are compiled calls only."""

    native = True

    def __init__(self, branches: Branches) -> None:
        super().__init__(branches)
        self._lists = [_listed(branch) for branch in branches]
        self._branches = np.array([a.ctypes.data for a in self._lists], np.int64)
        self._row = Row([self])

    def at(self, place: Array) -> Call:
        """The call that shares the branches out, at the board and the seats that `place` tells."""
        return Call(share_compiled, place, self._branches, len(self._branches))

    def __call__(self) -> None:
        self._row()


class Row:
    """Calls and forks one after another, as one call: Python has its turn, which takes longer than a small kernel, once
    for all of them."""

    native = True

    def __init__(self, steps: Sequence[Call | Fork]) -> None:
        self._place = np.zeros(2, np.int64)  # the address of the board, and how many seats are taken
        self._told = 0, 0
        self._seats = min(SEATS, max(len(step.branches) if isinstance(step, Fork) else 1 for step in steps))
        self._calls = [step.at(self._place) if isinstance(step, Fork) else step for step in steps]
        self._list = _listed(self._calls)
        self._run = Call(run_all_compiled, self._place, self._list)

    def __call__(self) -> None:
        if self._seats > 1:
            workers = team()[: self._seats - 1]
            place = _standing_by(workers), 1 + len(workers)
            if place != self._told:
                self._told = self._place[:] = place
        self._run()


def _standing_by(workers: Sequence[Worker]) -> int:
    """The address of this thread's board, at which workers take seats; 0 where there are none."""
    if not workers:
        return 0
    board: Board | None = getattr(_HERE, "board", None)
    if board is None:
        board = _HERE.board = Board()
    for worker, seat in zip(workers, board.seats[1:]):
        worker.stand_by(seat)
    return board.address


def joined(steps: Sequence[Step]) -> list[Step]:
    """The steps, those that need nothing of Python joined in rows."""
    found: list[Step] = []
    for native, group in groupby(steps, lambda step: isinstance(step, (Call, Fork))):
        row: list[Any] = list(group)
        found += [Row(row)] if native and len(row) > 1 else row
    return found


def _listed(branch: Sequence[Step]) -> Array:
    """The addresses of calls, and a 0 behind them."""
    pairs = [number for step in branch if isinstance(step, Call) for number in (step.entry.door, step.args[0])]
    return np.array([*pairs, 0], np.int64)


def together(branches: Branches) -> list[Step]:
    """The branches as steps: one of them as it is; by way of a board where all are compiled calls."""
    if len(branches) == 1:
        return list(branches[0])
    compiled = all(isinstance(step, Call) for branch in branches for step in branch)
    return [Fork(branches) if compiled else Parallel(branches)]


def shares(length: int, flops: int, most: int = MOST, unit: int = 1) -> list[slice]:
    """An axis in as many parts as compiled work is worth, of whole units."""
    return cuts(length, flops, most, unit, LEAST_FLOPS)
