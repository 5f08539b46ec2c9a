"""Summaries and memory pictures."""

from __future__ import annotations

import numpy as np

import tenun
from tenun.debug.memory import memory_of, memory_picture
from tenun.debug.summary import memory_rows, plain_rows, quantity, summarize, totals
from tenun.ir import Builder, Graph, Tensor
from tenun.ir.types import f32
from tenun.tests.debug.network import N, images, trunk


def network() -> Graph:
    """conv, relu | pool | flatten | dense twice with the same weights."""
    b = Builder(Graph("net"))
    return b.outputs(b.mul(trunk(b), 2.0), names=["p"])


def test_rows_are_layers() -> None:
    rows = plain_rows(summarize(network()))
    assert rows == [
        ("x", "input", "f32[N, 8, 8, 3]", "", "", ""),
        ("conv", "conv, relu", "f32[N, 8, 8, 4]", "112", "14.1 k", "x"),
        ("pool", "max_pool", "f32[N, 4, 4, 4]", "", "256", "conv"),
        ("flatten", "reshape", "f32[N, 64]", "", "", "pool"),
        ("dense", "matmul", "f32[N, 64]", "4,096", "8.19 k", "flatten"),
        ("again", "matmul", "f32[N, 64]", "", "8.19 k", "dense"),
        ("mul", "mul", "f32[N, 64]", "", "64", "again"),
    ]


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
