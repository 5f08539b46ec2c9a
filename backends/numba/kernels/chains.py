"""Chains as one loop: every value stays in a register from its node to the last one that reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ....ir.graph import Graph
from ...numpy.kernels.chains import Key, Link, links_of
from ...numpy.registry import Array, Scratch, Step, is_constant
from ..expressions import DTYPES, POWERS, knows, spelled
from ..loops import Body, loop_over
from ..registry import row

MOST = 24  # operands and results of a loop


@row
def chain(*args: Array, body: Graph, out: Sequence[Array | None], scratch: Scratch) -> list[Step] | None:
    """If all nodes are rows of `expressions`, for their dtypes."""
    links, targets = links_of(body, out)
    if not links:
        return []
    read = {key for link in links for key in link.operands}
    given = {v: a for v, a in zip(body.inputs, args) if v in read}
    given |= {v: v.data for v in body.constants if v in read and v.data is not None}
    if len(given) + len(targets) > MOST:
        return None
    found = _body(links, targets, given)
    return None if found is None else loop_over(found, list(given.values()), list(targets.values()))


def _body(links: Sequence[Link], targets: Mapping[Key, Array], given: Mapping[Key, Array]) -> Body | None:
    names: dict[Key, str] = {key: f"u{i}" for i, key in enumerate(given)}
    dtypes: dict[Key, str] = {key: a.dtype.name for key, a in given.items()}
    lines = []
    for i, link in enumerate(links):
        dtypes[link.result] = np.dtype(link.dtype).name
        text = line_of(link, [names[key] for key in link.operands], dtypes, given)
        if text is None:
            return None
        names[link.result] = f"v{i}"
        lines.append(f"v{i} = {text}")
    return Body(
        tuple(lines), tuple(names[key] for key in targets), tuple(dtypes[key] for key in given),
        tuple(a.dtype.name for a in targets.values()),
    )  # fmt: skip


def line_of(link: Link, operands: Sequence[str], dtypes: Mapping[Key, str], given: Mapping[Key, Array]) -> str | None:
    """The text of a node; None where it has none."""
    name, here = link.row.name, [dtypes[key] for key in (*link.operands, link.result)]
    if not set(here) <= set(DTYPES):
        return None
    if name == "copy":
        return operands[0]
    if name == "cast":
        kept = not here[0].startswith("float") or here[1].startswith("float") or here[1] == "bool"
        return f"to_{here[1]}({operands[0]})" if kept else None
    if name == "pow":
        exponent = given.get(link.operands[1])
        if exponent is None or not is_constant(exponent) or exponent.size != 1 or not here[0].startswith("float"):
            return None
        text = POWERS.get(float(exponent.reshape(())))
        return None if text is None else text.format(operands[0])
    return spelled(name, link.attrs, operands) if knows(name, here) else None
