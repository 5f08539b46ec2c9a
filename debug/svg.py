"""A small drawer of layered graphs, for where Graphviz is not at hand.

The classical steps (Sugiyama, Tagawa & Toda 1981): layers by the longest path from the inputs; edges over several
layers get a bend in each; the order within layers follows the mean place of the neighbours, downwards and upwards in
turn; then places are pulled to the neighbours' mean as far as the boxes beside allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from .picture import Box, Picture

CHARACTER, LINE = 6.3, 14  # pixels: a letter's width, a line's height
GAP_X, GAP_Y, MARGIN = 24, 30, 16
BEND = 6  # width kept free for an edge that passes a layer
LONGEST = 40  # layers that an edge may span and still get bends
SWEEPS = 6
COLOURS = {"op": "#f4f6f8", "input": "#dbeafe", "output": "#dcfce7"}


@dataclass
class Spot:
    """A box, or the bend of an edge, on its layer; `x` and `y` are its centre."""

    layer: int
    width: float
    height: float
    box: Box | None = None
    above: list[Spot] = field(default_factory=list)
    below: list[Spot] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0


Path = tuple[Sequence[Spot], bool]


def to_svg(drawn: Picture) -> str:
    """The picture as an SVG document."""
    spots, paths = _spots(drawn)
    layers: list[list[Spot]] = [[] for _ in range(1 + max((s.layer for s in spots), default=0))]
    for spot in spots:
        layers[spot.layer].append(spot)
    _place(layers)
    left = min((s.x - s.width / 2 for s in spots), default=0) - MARGIN
    for spot in spots:
        spot.x -= left
    width = max((s.x + s.width / 2 for s in spots), default=0) + MARGIN
    height = max((s.y + s.height / 2 for s in spots), default=0) + MARGIN
    return "\n".join(_document(drawn.title, width, height, spots, paths)) + "\n"


def _spots(drawn: Picture) -> tuple[list[Spot], list[Path]]:
    """Boxes on layers, bends between them, and the way of each edge."""
    layer: dict[str, int] = {box.name: 0 for box in drawn.boxes}
    readers: dict[str, list[str]] = {box.name: [] for box in drawn.boxes}
    for edge in drawn.edges:
        readers[edge.start].append(edge.end)
    for box in drawn.boxes:  # in topological order
        for reader in readers[box.name]:
            layer[reader] = max(layer[reader], layer[box.name] + 1)
    at = {box.name: _box_spot(box, layer[box.name]) for box in drawn.boxes}
    spots, paths = list(at.values()), list[Path]()
    for edge in drawn.edges:
        start, end = at[edge.start], at[edge.end]
        between = range(start.layer + 1, end.layer) if end.layer - start.layer <= LONGEST else ()
        path = [start, *(Spot(i, BEND, 0) for i in between), end]
        spots += path[1:-1]
        for upper, lower in pairwise(path):
            upper.below.append(lower)
            lower.above.append(upper)
        paths.append((path, edge.inner))
    return spots, paths


def _box_spot(box: Box, layer: int) -> Spot:
    longest = max(map(len, (*box.lines, _caption(box))))
    return Spot(layer, longest * CHARACTER + 16, (len(box.lines) + bool(box.group)) * LINE + 10, box)


def _caption(box: Box) -> str:
    return "/".join(box.group)


def _place(layers: list[list[Spot]]) -> None:
    """Order within the layers, then coordinates."""
    for layer in layers:
        _pack(layer, [0.0] * len(layer))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            layer.sort(key=lambda spot: _mean(spot.above if down else spot.below, spot.x))
            _pack(layer, [_mean(spot.above if down else spot.below, spot.x) for spot in layer])
    for layer in layers:
        _pack(layer, [_mean(spot.above + spot.below, spot.x) for spot in layer])
    top: float = MARGIN
    for layer in layers:
        height = max((spot.height for spot in layer), default=0)
        for spot in layer:
            spot.y = top + height / 2
            spot.height = spot.height if spot.box else height
        top += height + GAP_Y


def _mean(neighbours: Sequence[Spot], otherwise: float) -> float:
    return sum(spot.x for spot in neighbours) / len(neighbours) if neighbours else otherwise


def _pack(layer: list[Spot], wanted: Sequence[float]) -> None:
    """Put the spots where they are wanted, in their order, without overlap."""
    edge = float("-inf")
    for spot, x in zip(layer, wanted):
        spot.x = max(x, edge + spot.width / 2)
        edge = spot.x + spot.width / 2 + GAP_X
    shift = sum(x - spot.x for spot, x in zip(layer, wanted)) / max(len(layer), 1)
    for spot in layer:
        spot.x += shift


# ---- writing


def _document(title: str, width: float, height: float, spots: Sequence[Spot], paths: Sequence[Path]) -> Iterator[str]:
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="10">'
    )
    yield f"<title>{_text(title)}</title>"
    yield (
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#64748b"/></marker></defs>'
    )
    yield '<rect width="100%" height="100%" fill="white"/>'
    for path, inner in paths:
        dashed = ' stroke-dasharray="4 3"' if inner else ""
        yield f'<path d="{_curve(path)}" fill="none" stroke="#64748b" marker-end="url(#arrow)"{dashed}/>'
    for spot in spots:
        if spot.box is not None:
            yield from _box(spot, spot.box)
    yield "</svg>"


def _curve(path: Sequence[Spot]) -> str:
    """From the lower side of the first box, straight past the layers between, to the upper side of the last."""
    text = ""
    for upper, lower in pairwise(path):
        start, end = upper.y + upper.height / 2, lower.y - lower.height / 2
        middle = (start + end) / 2
        text += f"{'L' if text else 'M'}{upper.x:.1f} {start:.1f} "
        text += f"C{upper.x:.1f} {middle:.1f} {lower.x:.1f} {middle:.1f} {lower.x:.1f} {end:.1f} "
    return text.rstrip()


def _box(spot: Spot, box: Box) -> Iterator[str]:
    left, top = spot.x - spot.width / 2, spot.y - spot.height / 2
    yield (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{spot.width:.1f}" height="{spot.height:.1f}" rx="5" '
        f'fill="{COLOURS[box.kind]}" stroke="#9aa5b1"/>'
    )
    lines = [(_caption(box), ' fill="#64748b"')] if box.group else []
    lines += [(line, "") for line in box.lines]
    for i, (line, style) in enumerate(lines):
        bold = ' font-weight="bold"' if i == len(lines) - len(box.lines) else ""
        y = top + 5 + (i + 0.75) * LINE
        yield f'<text x="{spot.x:.1f}" y="{y:.1f}" text-anchor="middle"{style}{bold}>{_text(line)}</text>'


def _text(line: str) -> str:
    """Escaped, without the characters that XML forbids."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in line))
