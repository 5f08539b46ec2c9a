"""A compiled model as one HTML file: its graph after every pass, its weights, its memory plan, where its time goes.

The file needs no network and no other file: the page, its style and its script (the files beside this one; they do
the layout too, so that layers can be opened and closed) are put around the data of `view_data`.  The page's content
security policy allows exactly this script and style, and nothing from elsewhere; names from a model are only ever set
as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from importlib import resources
from string import Template
from typing import Any

from ...backends.base import backend
from ...backends.numpy.plan import Plan
from ...errors import TenunError
from ...executable import Executable, random_inputs
from ...ir.op import lookup
from ...passes.manager import Context, PassManager, find
from ...passes.memory import aligned
from ..profile import Profile
from ..weights import statistics
from .history import History

FORMAT = 1  # the version of the data in the page
ROUNDS = 5  # runs that are timed

TEMPLATE, STYLE = "template.html", "viewer.css"
SCRIPTS = ("data.js", "tree.js", "layout.js", "graph.js", "details.js", "charts.js", "page.js")  # one script, in order

LOADED, PLANNED = "as loaded", "planned"  # the stages before the first and after the last pass


def to_html(
    executable: Executable,
    inputs: Mapping[str, Any] | None = None,
    *,
    rounds: int = ROUNDS,
    found: Profile | None = None,
    first: str = "graph",
) -> str:
    """The page of a compiled model.

    inputs: arrays by name, for which the memory is planned and the run is timed (default: random ones for a batch of
    one).  rounds: the runs that are timed; 0 leaves the time out.  found: the profile of a run on these inputs, where
    there is one already.  first: the view that is shown first: "graph", "memory" or "profile".
    """
    return page({**view_data(executable, inputs, rounds, found), "first": first})


def page(data: Mapping[str, Any]) -> str:
    """The page around its data."""
    folder = resources.files(__package__)
    texts = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in (*SCRIPTS, TEMPLATE, STYLE)}
    script, style = "\n".join(texts[name] for name in SCRIPTS), texts[STYLE]
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Template(texts[TEMPLATE]).substitute(
        title=escape(f"{data['name']} - tenun").encode("ascii", "xmlcharrefreplace").decode(),
        script=script,
        script_hash=_hash(script),
        style=style,
        style_hash=_hash(style),
        data=text.replace("<", "\\u003c"),  # nothing in it can end the element that it is in
    )


def _hash(text: str) -> str:
    """A text as content security policies name it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def view_data(
    executable: Executable,
    inputs: Mapping[str, Any] | None = None,
    rounds: int = ROUNDS,
    found: Profile | None = None,
) -> dict[str, Any]:
    """What the page shows, as JSON values; arguments as `to_html`'s."""
    history, optimized = _history(executable)
    data: dict[str, Any] = {"format": FORMAT, "name": executable.graph.name, "backend": executable.backend_name}
    missing: list[str] = []
    try:
        given = random_inputs(executable.graph) if inputs is None else inputs
        plan = executable.plan(**given)
        history.identify(plan.graph, optimized)
        doc = "Shapes are numbers, algorithms chosen, memory planned."
        history.add(plan.graph, PLANNED, doc, weights=True, settles=True)
        data["shapes"] = {name: _shape_text(value) for name, value in given.items()}
        data["memory"] = _memory(plan, history)
        if found is None and rounds:
            found = executable.profile(rounds=rounds, **given)
        if found is not None:
            data["profile"] = _profile(found, plan, history)
    except TenunError as error:  # such as an input of unknown rank: the rest is still worth having
        missing.append(str(error))
    data["missing"] = missing
    data["stages"] = [stage.to_dict() for stage in history.stages]
    data["boxes"], data["values"] = history.boxes, history.values
    data["weights"] = _weights(history)
    names = {record["op"] for record in history.boxes if record["kind"] == "op"}
    ops = {name: lookup(name) for name in sorted(names)}
    data["ops"] = {name: {"doc": op.summary, "operands": [i.name for i in op.inputs]} for name, op in ops.items()}
    return data


def _history(executable: Executable) -> tuple[History, Any]:
    """The stages of a graph through the passes, and the graph after them."""
    history, graph = History(), executable.graph.copy()
    history.add(graph, LOADED, weights=True)
    chosen = backend(executable.backend_name)

    def observe(name: str, graph: Any) -> None:
        record = manager.records[-1]
        if record.changes:
            history.add(graph, name, find(name).doc, record.changes, record.seconds)

    manager = PassManager(executable.passes, Context(chosen.evaluate), observe=observe)
    manager.run(graph)
    return history, graph


def _weights(history: History) -> dict[int, Any]:
    """The statistics of the weights, by the number of the value."""
    seen: dict[int, Any] = {}
    found = {}
    for number, var in history.weights.items():
        assert var.constant is not None
        if id(var.constant) not in seen:
            numbers = statistics(var.data)
            seen[id(var.constant)] = {"sha256": var.constant.digest, **(numbers.to_dict() if numbers else {})}
        found[number] = seen[id(var.constant)]
    return found


def _shape_text(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if hasattr(value, "shape") else type(value).__name__


def _memory(plan: Plan, history: History) -> dict[str, Any]:
    """The buffers of a plan: where they lie, from which node to which they live, and what is in them; the scratch of
    each node; figures in bytes, `height` being that of all together."""
    nodes = list(plan.graph.nodes)
    buffers = []
    for root in plan.roots:
        producer = root.var.producer
        buffers.append(
            {
                "value": f"%{root.var.name}: {root.var.type}",
                "box": history.number_of(producer) if producer else None,
                "op": producer.op.name if producer else "input",
                "layer": producer.source if producer else "",
                "offset": plan.offsets[root],
                "size": aligned(root.var.tensor.nbytes),
                "first": max(root.first, -1),
                "last": min(root.last, len(nodes)),
                "shared": [f"%{v.name}: {v.type}" for group in root.groups for v in group if v is not root.var],
            }
        )
    return {
        "nodes": [history.number_of(node) for node in nodes],
        "names": [node.outputs[0].name if node.outputs else node.op.name for node in nodes],
        "total": plan.memory.total,
        "bound": plan.memory.bound,
        "naive": plan.memory.naive,
        "height": plan.arena.peak,
        "scratch": [plan.arena.needs.get(i, 0) for i in range(len(nodes))],
        "buffers": buffers,
    }


def _profile(found: Profile, plan: Plan, history: History) -> dict[str, Any]:
    """The rows of a profile, each with the box that it is of."""
    nodes = list(dict.fromkeys(plan.origin))
    numbers = [history.number_of(node) for node in nodes]
    if len(nodes) != len(found.nodes):  # a plan of other shapes, as where a batch is cut
        by_name = {f"%{v.name}": history.number_of(node) for node in nodes for v in node.outputs}
        numbers = [by_name.get(row.name) for row in found.nodes]
    whole = found.to_dict()
    whole["nodes"] = [{**row, "box": number} for row, number in zip(whole["nodes"], numbers)]
    whole["steps"] = [{"kernel": row.kernel, "seconds": row.seconds} for row in found.steps]
    return whole
