"""What `compare` and `diff` found, for people and for programs: tables, text, JSON, HTML."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from .align import Alignment, label
from .blame import Point
from .compare import Comparison
from .diff import MARKS, Change
from .summary import type_text

FORMAT = 1  # of the JSON, raised when it changes

# ---- compare


def layers_of(found: Comparison) -> list[Point]:
    """A point for each layer: the first that differs, else the last."""
    rows: dict[str, Point] = {}
    for point in found.points:
        kept = rows.get(point.layer)
        if kept is None or not kept.differs:
            rows[point.layer] = point
    return list(rows.values())


def comparison_table(found: Comparison, by_layer: bool = True, only_differing: bool = False) -> Any:
    """A table of rich: a layer (or a value) a row, the first that differs in bold."""
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", title=f"{found.a.title} | {found.b.title}", title_justify="left")
    for heading in ("layer", "there", "shape", "max abs", "max rel", "cosine", "first differing element"):
        table.add_column(heading, justify="right" if heading in ("max abs", "max rel", "cosine") else "left")
    first = found.first
    for point in layers_of(found) if by_layer else found.points:
        measure = point.found
        if measure is None or (only_differing and not point.differs):
            continue
        parted = point in found.parted
        style = "bold red" if point is first else "red" if parted else ""
        table.add_row(*map(Text, _cells(point)), style=style)
    return table


def _cells(point: Point) -> tuple[str, ...]:
    m = point.found
    assert m is not None
    there = label(point.pair.b)
    shape = str(list(m.shape)) if m.shape == m.other else f"{list(m.shape)} | {list(m.other)}"
    first = ""
    if m.first is not None:
        place, ours, theirs = m.first
        first = f"[{', '.join(map(str, place))}] {ours:.6g} | {theirs:.6g}" if _is_number(ours) else f"{place}"
    name = "" if there == point.layer else there
    return (point.layer, name, shape, _number(m.absolute), _number(m.relative), f"{m.cosine:.6f}", first)


def _is_number(value: Any) -> bool:
    return getattr(getattr(value, "dtype", None), "kind", "O") in "biufc"


def _number(value: float) -> str:
    return f"{value:.2e}" if value else "0"


def comparison_lines(found: Comparison) -> Iterator[str]:
    """The verdict, and what is to blame."""
    yield found.verdict()
    if found.same:
        return
    for change in found.changes:
        yield f"  {change}"
    if not found.changes:
        yield f"  the layers at fault: {', '.join(found.culprits) or 'not known'}"


def comparison_record(found: Comparison) -> dict[str, Any]:
    """All of it as JSON values."""
    return {
        "format": FORMAT,
        "a": found.a.title,
        "b": found.b.title,
        "same": found.same,
        "level": found.alignment.level,
        "inputs": found.runs,
        "first": found.first.layer if found.first is not None else None,
        "culprits": found.culprits,
        "changes": [c.to_dict() for c in found.changes],
        "values": [_point_record(p) for p in found.points],
        "only_a": [label(n) for n in found.alignment.only_a],
        "only_b": [label(n) for n in found.alignment.only_b],
    }


def _point_record(point: Point) -> dict[str, Any]:
    m = point.found
    assert m is not None
    first = None if m.first is None else {"place": list(m.first[0]), "a": str(m.first[1]), "b": str(m.first[2])}
    return {
        "layer": point.layer,
        "there": label(point.pair.b),
        "aligned_by": point.pair.how,
        "shape": list(m.shape),
        "other_shape": list(m.other),
        "max_abs": _finite(m.absolute),
        "max_rel": _finite(m.relative),
        "cosine": m.cosine,
        "wrong": m.wrong,
        "differs": m.differs,
        "first": first,
    }


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


# ---- diff


def diff_lines(a: str, b: str, changes: Sequence[Change]) -> Iterator[str]:
    """Like a source diff: the two names, a line a change, and how many there are."""
    yield f"--- {a}"
    yield f"+++ {b}"
    width = max((len(c.layer) for c in changes), default=0)
    for c in changes:
        other = f"   (there {c.other})" if c.other and c.kind != "renamed" else ""
        yield f"{MARKS[c.kind]} {c.layer:<{width}}  {c.kind:<9}  {c.detail}{other}"
    layers = len({c.layer for c in changes})
    yield f"{_count(len(changes), 'change')} in {_count(layers, 'layer')}" if changes else "no changes"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def diff_record(a: str, b: str, changes: Sequence[Change]) -> dict[str, Any]:
    """The changes as JSON values."""
    return {"format": FORMAT, "a": a, "b": b, "same": not changes, "changes": [c.to_dict() for c in changes]}


STYLE = """
:root { color-scheme: light dark; font: 14px/1.5 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 90rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .2rem .6rem; border-bottom: 1px solid #8884; }
th { position: sticky; top: 0; background: Canvas; }
code { font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
.added td { background: #2ea04326; } .removed td { background: #f8514926; }
.changed td { background: #d2992226; } .note { font-size: 12px; }
"""


def diff_html(a: str, b: str, alignment: Alignment, changes: Sequence[Change]) -> str:
    """Both models side by side, layer by layer, in one page that needs no network."""
    rows = "\n".join(_html_row(*row) for row in _side_by_side(alignment, changes))
    head = f"{_count(len(changes), 'change')}" if changes else "no changes"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_e(a)} | {_e(b)}</title>'
        f"<style>{STYLE}</style></head><body>\n<h1>{_e(a)} | {_e(b)}</h1>\n<p>{head}</p>\n"
        f"<table><thead><tr><th>{_e(a)}</th><th>{_e(b)}</th><th>what changed</th></tr></thead><tbody>\n{rows}\n"
        "</tbody></table></body></html>\n"
    )


Row = tuple[str, str, str, list[str]]  # the class, the left, the right, the changes


def _side_by_side(alignment: Alignment, changes: Sequence[Change]) -> Iterator[Row]:
    by_layer: dict[str, list[Change]] = {}
    for change in changes:
        by_layer.setdefault(change.layer, []).append(change)
    partner = {p.a: p.b for p in alignment.pairs}
    waiting = list(alignment.b.nodes)
    alone = set(alignment.only_b)
    left, right = _groups(alignment.a), _groups(alignment.b)
    shown: set[str] = set()
    for interface in (c for c in changes if c.kind == "interface"):
        yield "changed", "", "", [str(interface)]
    for layer, nodes in left.items():
        mates = list(dict.fromkeys(label(partner[n]) for n in nodes if n in partner))
        while waiting and (waiting[0] in alone or label(waiting[0]) in shown):
            other = label(waiting.pop(0))
            if other not in shown and other not in left:
                shown.add(other)
                yield "added", "", _described(other, right[other]), [c.detail for c in by_layer.get(other, [])]
        mine = by_layer.get(layer, [])
        kind = "removed" if not mates else "changed" if mine else ""
        theirs = "\n".join(_described(m, right[m]) for m in mates)
        shown |= set(mates)
        yield kind, _described(layer, nodes), theirs, [f"{c.kind}: {c.detail}" for c in mine]
    for other, nodes in right.items():
        if other not in shown and any(n in alone for n in nodes):
            yield "added", "", _described(other, nodes), [c.detail for c in by_layer.get(other, [])]


def _groups(graph: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for node in graph.nodes:
        found.setdefault(label(node), []).append(node)
    return found


def _described(name: str, nodes: Sequence[Any]) -> str:
    ops = ", ".join(dict.fromkeys(n.op.name for n in nodes))
    return f"{name}: {ops} {type_text(nodes[-1].outputs[0].type)}"


def _html_row(kind: str, left: str, right: str, notes: Sequence[str]) -> str:
    cells = "".join(f"<td><code>{_e(side)}</code></td>" for side in (left, right))
    listed = "<br>".join(map(_e, notes))
    return f'<tr class="{kind}">{cells}<td class="note">{listed}</td></tr>'


def _e(text: str) -> str:
    return html.escape(text, quote=True)


def as_json(record: dict[str, Any]) -> str:
    """A record as text."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"
