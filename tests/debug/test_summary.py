"""Summaries and memory pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

import tenun
from tenun.debug.html import graph_html
from tenun.debug.memory import memory_of, memory_picture
from tenun.debug.summary import (
    HEADINGS,
    NARROW,
    memory_rows,
    plain_rows,
    quantity,
    shown_columns,
    summarize,
    table,
    totals,
)
from tenun.ir import Builder, Graph, Tensor
from tenun.ir.types import f32
from tenun.tests.debug.models import HOSTILE, hostile, nested
from tenun.tests.debug.network import N, images, trunk

DEMO = Path(tenun.__file__).parent / "demo"


def network() -> Graph:
    """conv, relu | pool | flatten | dense twice with the same weights."""
    b = Builder(Graph("net"))
    return b.outputs(b.mul(trunk(b), 2.0), names=["p"])


def test_rows_are_layers() -> None:
    rows = plain_rows(summarize(network()))
    assert rows == [
        ("x", "input", "f32[N, 8, 8, 3]", "", "", "", "", ""),
        ("conv", "conv, relu", "f32[N, 8, 8, 4]", "112", "", "448 B", "14.1 k", "x"),
        ("pool", "max_pool", "f32[N, 4, 4, 4]", "", "", "", "256", "conv"),
        ("flatten", "reshape", "f32[N, 64]", "", "", "", "", "pool"),
        ("dense", "matmul", "f32[N, 64]", "4,096", "", "16.4 kB", "8.19 k", "flatten"),
        ("again", "matmul", "f32[N, 64]", "", "", "", "8.19 k", "dense"),
        ("mul", "mul", "f32[N, 64]", "", "", "", "64", "again"),
    ]


def test_what_is_trained_is_told_where_it_is_known() -> None:
    found = summarize(network(), {"conv.kernel": True, "conv.bias": False, "dense.kernel": True})
    assert {row.layer: row.trained for row in found.rows if row.parameters} == {"conv": 108, "dense": 4096}
    assert dict(totals(found))["trained"] == "4,204" and dict(totals(found))["not trained"] == "4"
    assert summarize(network()).trained is None and "trained" not in dict(totals(summarize(network())))


def test_nested_models_are_rows_that_open() -> None:
    figures = summarize(nested())
    shown = {depth: [row[0] for row in plain_rows(figures, depth)] for depth in (0, 1, None)}
    assert shown[0] == ["x", "c", "outer", "head", "branch"]
    assert shown[1] == ["x", "c", "outer", "  inner", "  last", "head", "branch"]
    inner = ["  inner", "    dense", "    again", "  last"]
    assert shown[None] == ["x", "c", "outer", *inner, "head", "branch"]
    outer = figures.tree[2]
    assert outer.parameters == 48 and outer.reads == ["x"] and len(outer.inside) == 2
    assert sum(row.parameters for row in figures.tree) == figures.parameters == 64
    assert sum(row.flops for row in figures.tree) == figures.flops


def test_narrow_tables_have_fewer_columns() -> None:
    figures = summarize(network())
    assert [HEADINGS[i] for i in shown_columns(figures, 100)] == list(NARROW)
    assert len(table(figures, width=100).columns) == len(NARROW)
    assert len(table(figures).columns) == len(HEADINGS) - 1  # nothing is known of what is trained


def test_keras_counts_are_met() -> None:
    """Keras measured these on the same file: 31,994 parameters, 192 of them moving averages."""
    model = tenun.load_model(DEMO / "digits_cnn.keras")
    figures = summarize(model.graph(), model.trained)
    assert (figures.parameters, figures.trained) == (31994, 31802)
    assert figures.trained == sum(p.data.size for p in model.trainable_weights)


def test_notebooks_get_tables() -> None:
    model = tenun.load_model(DEMO / "digits_cnn.keras")
    graph = model.graph()
    for shown, more in ((graph, "31,994"), (model, "31,802"), (tenun.compile(graph), " passes")):
        text = shown._repr_html_()
        assert more in text
        names = [e.text for e in parsed(text).iter("span") if e.get("class") == "name"]
        assert names[0] == "layer" and "image" in names and any("conv_1" in str(name) for name in names)
    assert "arena" in tenun.compile(graph)._repr_html_()


def test_notebook_tables_open_nested_models() -> None:
    root = parsed(nested_html := graph_html(nested()))
    assert len(list(root.iter("details"))) == 2 and nested_html.count("<summary") == 2
    outer = next(root.iter("details"))
    names = [e.text for e in outer.iter("span") if e.get("class") == "name"]
    assert names == ["outer", "inner", "dense", "again", "last"]


def test_hostile_names_are_text_in_notebooks() -> None:
    root = parsed(graph_html(hostile()))
    assert {e.tag for e in root.iter()} <= {"div", "style", "b", "span", "dl", "dt", "dd", "details", "summary"}
    texts = "".join(root.itertext())
    assert HOSTILE[0] in texts and HOSTILE[1] in texts


def parsed(html: str) -> ET.Element:
    return ET.fromstring(html)


def test_shared_and_scalar_constants_count_as_they_should() -> None:
    figures = summarize(network())
    assert figures.parameters == 3 * 3 * 3 * 4 + 4 + 64 * 64
    assert figures.weight_bytes == 4 * figures.parameters
    assert figures.flops == 2 * 8 * 8 * 4 * 27 + 8 * 8 * 4 + 4 * 4 * 4 * 4 + 2 * 2 * 64 * 64 + 64


def test_totals_tell_the_memory() -> None:
    memory = memory_of(tenun.compile(network()).plan(images(1)))
    assert memory.bound <= memory.arena <= memory.naive and memory.over_bound <= 1.02
    text = dict(totals(summarize(network()), memory))
    assert text["parameters"] == "4,208 (16.8 kB)" and "arena" in text["memory"]


def test_the_figures_of_the_memory_one_by_one() -> None:
    b = Builder(Graph("joined"))
    x = b.input("x", Tensor(f32, (N, 32)))
    y = b.relu(b.concat(b.neg(x), b.exp(x), axis=1))
    plan = tenun.compile(b.outputs(b.reshape(y, shape=(N, 2, 32)))).plan(np.ones((4, 32), np.float32))
    memory = memory_of(plan)
    assert (memory.parts, memory.in_place, memory.views) == (2, 1, 1)
    assert memory.peak == memory.arena + memory.scratch == memory.peak_bound
    text = dict(memory_rows(memory))
    assert text["parts"].startswith("2 values") and text["arena"].startswith(f"{memory.arena:,} bytes, ×1.000")


def test_the_picture_has_a_line_for_each_buffer() -> None:
    plan = tenun.compile(network()).plan(images(1))
    heading, *lines = memory_picture(plan, width=20)
    assert "offset" in heading and len(lines) == len(plan.roots)
    assert all("━" in line for line in lines)
    offsets = [int(line.split()[0]) for line in lines]
    assert offsets == sorted(offsets) and max(offsets) < plan.memory.total


def test_quantities() -> None:
    assert [quantity(n, "B") for n in (0, 999, 1500, 2.5e6, 3e9)] == ["0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB"]
    assert quantity(12) == "12" and quantity(1234) == "1.23 k"
