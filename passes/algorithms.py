"""Choice of algorithms: a convolution becomes the op that costs least for its sizes.

    %y = conv(%x, @w, @b)   becomes   %u = winograd_weights(@w) {tile = (4, 4)}      // folded: @w is a constant
                                      %y = winograd_conv(%x, %u, @b) {tile = (4, 4)}

The cost of every candidate is estimated from its products and copies, with the backend's prices: figures of one core of
a machine with AVX-512; ratios are what matters.  With a `tuner` in the context, candidates are timed on this machine
instead.  What was chosen, and why, is a note of the node, which the dump shows.

How a convolution that stays `conv` is computed (as one product, as patches, depthwise) follows from its shapes alone:
that is a table of the kernel.  Fourier transforms are no candidate: by a count of operations they lose to both for
usual kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..ir.attributes import Ints
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.ops.winograd import points
from ..ir.records import record
from ..ir.types import Tensor
from .manager import Context, register

CACHE = 1 << 20
TILES = 64  # of a block
CALLS = 4e-6  # seconds of the calls of transforms, where products make them
MOST_POINTS = 256  # of a tile, all axes together: the error grows with them

# What has to be gained at least: an algorithm that rounds more must not be chosen for nothing.
WORTH = 0.9


# Puts the nodes of a candidate before a node.
Emit = Callable[[Builder, Node], Var]
# Seconds of a node, or of what a candidate's `emit` makes of it, measured here; by the candidate's name.
Tuner = Callable[[Node, str, "Emit | None"], float]


@record
class Sizes:
    """A convolution of stride 1: the kernel, and numbers of samples, places, channels and filters."""

    samples: int
    places: tuple[int, ...]
    kernel: tuple[int, ...]
    channels: int
    filters: int


@record
class Candidate:
    """A way to compute: its name in notes, seconds by the model, and what emits it in the place of a node."""

    name: str
    seconds: float
    emit: Emit | None  # None: it stays as it is


# ---- costs ---------------------------------------------------------------------------------------------------


@record
class Prices:
    """What a backend's kernels cost, on one core.

    product: operations a second of a product of matrices; few_rows: one of m rows takes as long as one of m + few_rows
    at full speed; fetch: bytes a second read from what does not fit the cache; copy: bytes a second written by a copy
    of strided places within the cache; transform: operations a second of products with the matrices of transforms, axis
    by axis (short products are slower); element: seconds for each transformed number where no product makes it;
    least_channels: fewer channels or filters than these are not transformed.
    """

    product: float = 112e9
    few_rows: int = 4
    fetch: float = 20e9
    copy: float = 30e9
    transform: float = 55e9
    element: float = 0.0
    least_channels: int = 8

    def products(self, m: int, k: int, n: int, count: int = 1) -> float:
        """Seconds of `count` products (m, k) @ (k, n)."""
        fetched = k * n * 4 * count
        return 2 * (m + self.few_rows) * k * n * count / self.product + (fetched / self.fetch if fetched > CACHE else 0)

    def direct(self, s: Sizes) -> float:
        """As patches; a kernel of one element needs none."""
        rows, depth = s.samples * math.prod(s.places), math.prod(s.kernel) * s.channels
        patches = rows * depth * 4 / self.copy if depth > s.channels else 0
        return self.products(rows, depth, s.filters) + patches

    def winograd(self, s: Sizes, tile: Ints) -> float:
        """Gather, transform, multiply, transform, scatter."""
        if min(s.channels, s.filters) < self.least_channels:
            return math.inf
        inputs, outputs = math.prod(points(tile, s.kernel)), math.prod(tile)
        tiles = s.samples * math.prod(math.ceil(p / m) for p, m in zip(s.places, tile))
        blocks = math.ceil(tiles / TILES)
        transforms = inputs * tiles * (s.channels + s.filters) * self.element
        if not self.element:
            seen = points(tile, s.kernel)
            of_x, of_y = (_multiplied(seen, made) for made in (seen, tile))
            transforms = CALLS + 2 * tiles * (of_x * s.channels + of_y * s.filters) / self.transform
        copies = 4 * tiles * (inputs * s.channels + outputs * s.filters) / self.copy
        return transforms + copies + blocks * self.products(math.ceil(tiles / blocks), s.channels, s.filters, inputs)


def _multiplied(given: Ints, made: Ints) -> int:
    """Multiplications of a transform, axis by axis, of an array (*given) into one (*made)."""
    return sum(math.prod((*made[: i + 1], *given[i:])) for i in range(len(given)) if given[i] > 1)


NUMPY_PRICES = Prices()


# ---- candidates ----------------------------------------------------------------------------------------------


# Outputs of a tile along an axis that are worth a try, by the size of the kernel: most, and fewer.
TILES_OF: dict[int, Ints] = {1: (1, 1), 2: (4, 2), 3: (4, 2), 4: (4, 3), 5: (4, 2), 6: (3, 2), 7: (2, 2)}


def tiles_of(kernel: Ints) -> tuple[tuple[int, ...], ...]:
    """Sizes of tiles that are worth a try for a kernel, of no more than MOST_POINTS."""
    if set(kernel) <= {1} or not set(kernel) <= set(TILES_OF):
        return ()
    tiles = dict.fromkeys(tuple(TILES_OF[k][i] for k in kernel) for i in (0, 1))
    return tuple(tile for tile in tiles if math.prod(points(tile, kernel)) <= MOST_POINTS)


def _emit_winograd(tile: Ints, flip: bool) -> Emit:
    def emit(b: Builder, node: Node) -> Var:
        x, w, bias, residual = (*node.operands, None, None)[:4]
        assert x is not None and w is not None
        u = b.winograd_weights(w, tile=tile, flip=flip)
        kernel = w.shape[: len(tile)]
        padding = _turned_padding(node, kernel) if flip else node.attrs["padding"]
        return b.winograd_conv(  # type: ignore[no-any-return]
            x, u, bias, residual, kernel=kernel, tile=tile, padding=padding, activation=node.attrs["activation"]
        )

    return emit


def _turned_padding(node: Node, kernel: Any) -> tuple[tuple[int, int], ...]:
    """What the adjoint of a convolution of stride 1 is padded with, as a convolution with the kernel turned around."""
    given = node.attrs["padding"]
    pairs = ((0, 0),) * len(kernel) if given == "valid" else given
    extra = node.attrs["output_padding"]
    return tuple((k - 1 - before, k - 1 - after + more) for k, (before, after), more in zip(kernel, pairs, extra))


def _sizes(x: Var | None, w: Var | None, y: Var | None, attrs: dict[str, Any]) -> Sizes | None:
    """The sizes of a convolution y of x with w that candidates are made for; None for all others."""
    types = [v.type for v in (x, w, y) if v is not None]
    if not all(isinstance(t, Tensor) and t.is_static and t.dtype.name == "f32" for t in types):
        return None
    if attrs["groups"] != 1 or set(attrs["strides"]) | set(attrs["dilations"]) != {1}:
        return None
    of_x, of_w, of_y = (t.static for t in types)  # type: ignore[union-attr]
    return Sizes(of_x[0], of_y[1:-1], of_w[:-2], of_x[-1], of_y[-1]) if math.prod(of_y) else None


def _emit_weight_grad(tile: Ints) -> Emit:
    def emit(b: Builder, node: Node) -> Var:
        (x, g), a = node.operands, node.attrs
        return b.winograd_weight_grad(  # type: ignore[no-any-return]
            x, g, kernel=a["kernel"], tile=tile, padding=a["padding"]
        )

    return emit


def _candidates(sizes: Sizes | None, emit: Callable[[Ints], Emit], prices: Prices) -> Iterator[Candidate]:
    """The convolution as it is, and by tiles of every size that is worth a try."""
    if sizes is None:
        return
    yield Candidate("direct", prices.direct(sizes), None)
    for tile in tiles_of(sizes.kernel):
        name = f"winograd {'×'.join(map(str, tile))}"
        yield Candidate(name, prices.winograd(sizes, tile) / WORTH, emit(tile))


def _of_conv(node: Node, prices: Prices) -> Iterator[Candidate]:
    sizes = _sizes(node.operands[0], node.operands[1], node.output, node.attrs)
    return _candidates(sizes, partial(_emit_winograd, flip=False), prices)


def _of_adjoint(node: Node, prices: Prices) -> Iterator[Candidate]:
    sizes = _sizes(node.operands[0], node.operands[1], node.output, node.attrs)
    if sizes is not None and any(min(pair) < 0 for pair in _turned_padding(node, sizes.kernel)):
        sizes = None
    return _candidates(sizes, partial(_emit_winograd, flip=True), prices)


def _of_weight_grad(node: Node, prices: Prices) -> Iterator[Candidate]:
    return _candidates(_sizes(node.operands[0], node.output, node.operands[1], node.attrs), _emit_weight_grad, prices)


# op: its candidates
CHOICES: dict[str, Callable[[Node, Prices], Iterator[Candidate]]] = {
    "conv": _of_conv,
    "conv_transpose": _of_adjoint,
    "conv_weight_grad": _of_weight_grad,
}


@register
def algorithms(graph: Graph, context: Context) -> int:
    """Choose how convolutions are computed, by a model of costs or by measuring."""
    changes = 0
    for node in graph.nodes:
        for sub in node.graphs.values():
            changes += algorithms(sub, context)
        if node.op.name in CHOICES and not context.exact and not node.dynamic:
            changes += _choose(graph, node, list(CHOICES[node.op.name](node, _prices(node, context))), context)
    return changes


def _prices(node: Node, context: Context) -> Prices:
    """The backend's own prices hold for constant weights: it has no kernels for others, but those of NumPy."""
    constant = any(v is not None and v.data is not None for v in node.operands[1:2])
    return context.prices if context.prices is not None and constant else NUMPY_PRICES


def _choose(graph: Graph, node: Node, candidates: list[Candidate], context: Context) -> int:
    if len(candidates) < 2:
        return 0
    if context.tuner is not None:
        candidates = [Candidate(c.name, context.tuner(node, c.name, c.emit), c.emit) for c in candidates]
    best = min(candidates, key=lambda c: c.seconds)
    how = "measured" if context.tuner is not None else "estimated"
    tried = sorted((c for c in candidates if c.seconds < math.inf), key=lambda c: c.seconds)
    figures = ", ".join(f"{c.name} {c.seconds * 1e3:.3g} ms" for c in tried)
    chosen, made = node, node.output
    if best.emit is not None:
        made = best.emit(Builder(graph, before=node, source=node.source), node)
        assert made.producer is not None
        chosen, made.name = made.producer, node.output.name
        graph.replace(node.output, made)
        graph.erase(node)
    chosen.note = f"{how}: {figures}"
    return int(best.emit is not None)
