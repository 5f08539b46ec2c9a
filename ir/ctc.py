"""Connectionist temporal classification in core ops: the forward recursion of Graves et al. 2006, in logarithms."""

from __future__ import annotations

import math

import numpy as np

from . import dims
from .builder import Builder
from .graph import Var
from .ops.control import control_node, trace
from .shapes import dim, shape_of, vector
from .types import boolean, i64

NEVER = -1e30  # log 0 in sums of logarithms: finite, so that gradients are
LOG_0 = math.log(1e-307)  # what TensorFlow takes for that of a state in which an alignment cannot end


def ctc_loss(
    b: Builder, labels: Var, logits: Var, label_lengths: Var, logit_lengths: Var | None = None, blank: int = 0
) -> Var:
    """-log of the probability that logits (N, T, C) spell labels (N, L), over 2 L + 1 states blank, label, ... blank.

    Lengths (N) say how many labels (and steps) count, by default all steps.  An alignment that cannot be costs -LOG_0,
    as in tensorflow/python/ops/ctc_ops.py, instead of infinity.
    """
    labels = b.cast(labels, to=i64)
    blanks = b.add(b.mul(labels, 0), blank)
    emitted, skips = _interleaved(b, blanks, labels, blank), _skips(b, labels)
    logs = b.log_softmax(logits, axis=-1)
    every = vector(b, [dim(b, logits, 0), dim(b, logits, 1), dim(b, emitted, 1)])
    scores = b.gather_elements(logs, b.expand(b.unsqueeze(emitted, axes=(1,)), shape=every), axis=-1)
    states = _numbered(b, dim(b, emitted, 1))
    never, last = (b.constant(v, dtype=logs.tensor.dtype.numpy) for v in (NEVER, LOG_0))
    zero = b.constant(0, dtype=logs.tensor.dtype.numpy)
    first = b.where(b.equal(states, 0), zero, never)
    end = b.mul(b.unsqueeze(b.cast(label_lengths, to=i64), axes=(1,)), 2)  # of the last label and the blank behind it
    final = b.logical_or(b.equal(states, end), b.equal(states, b.sub(end, 1)))
    steps = _numbered(b, dim(b, logits, 1))
    runs = None if logit_lengths is None else b.less(steps, b.unsqueeze(b.cast(logit_lengths, to=i64), axes=(1,)))
    first = b.expand(b.unsqueeze(first, axes=(0,)), shape=shape_of(b, emitted))
    reached = _forward(b, first, scores, skips, runs)
    return b.neg(b.reduce_log_sum_exp(b.add(reached, b.where(final, zero, last)), axes=(1,)))  # type: ignore


def _numbered(b: Builder, count: object) -> Var:
    """0, 1, ... up to a count."""
    return b.range(np.int64(0), b.as_var(np.int64(count) if isinstance(count, int) else count), np.int64(1))  # type: ignore


def _interleaved(b: Builder, even: Var, odd: Var, last: int) -> Var:
    """even[0], odd[0], even[1], ..., odd[-1], last along the last axis of two (N, L): (N, 2 L + 1)."""
    pairs = b.concat(b.unsqueeze(even, axes=(2,)), b.unsqueeze(odd, axes=(2,)), axis=2)
    size = odd.shape[1]
    flat = b.reshape(pairs, shape=vector(b, [dim(b, odd, 0), 2 * size if dims.known(size) else -1]))
    return b.pad(flat, np.int64(last), pads=((0, 0), (0, 1)))  # type: ignore[no-any-return]


def _skips(b: Builder, labels: Var) -> Var:
    """bool (N, 2 L + 1): to which states one may come past the blank before them: to a label unlike that before it."""
    before = b.pad(labels, np.int64(-1), pads=((0, 0), (1, -1)))
    other = b.cast(b.not_equal(labels, before), to=i64)
    return b.cast(_interleaved(b, b.mul(labels, 0), other, 0), to=boolean)  # type: ignore[no-any-return]


def _forward(b: Builder, first: Var, scores: Var, skips: Var, runs: Var | None) -> Var:
    """The logarithm of the probability of all ways into each state (N, S) after the scores (N, T, S).

    Where `runs` (N, T) is false the step does not count.
    """

    def step(inner: Builder, reached: Var, score: Var, *more: Var) -> list[Var]:
        *run, skip = more
        never = inner.constant(NEVER, dtype=reached.tensor.dtype.numpy)
        one = inner.pad(reached, never, pads=((0, 0), (1, -1)))
        two = inner.where(skip, inner.pad(reached, never, pads=((0, 0), (2, -2))), never)
        ways = inner.concat(*(inner.unsqueeze(v, axes=(0,)) for v in (reached, one, two)), axis=0)
        after = inner.add(inner.reduce_log_sum_exp(ways, axes=(0,)), score)
        return [inner.where(inner.unsqueeze(run[0], axes=(1,)), after, reached) if run else after]

    scanned = [scores] if runs is None else [scores, runs]
    row = [] if runs is None else [("run", runs.tensor.with_(shape=(runs.shape[0],)))]
    types = [("reached", first.type), ("score", first.type), *row, ("skips", skips.type)]
    count = len(scanned)
    attrs = {"input_axes": (1,) * count, "output_axes": (), "input_reverse": (0,) * count, "output_reverse": ()}
    body = {"body": trace("ctc_step", step, types, b.source)}
    made = control_node(b, "scan", [first, *scanned, skips], {"carried": 1, "scanned": count, **attrs}, body)
    return made.outputs[0]
