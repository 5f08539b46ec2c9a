"""Profiles: what is counted, not what is timed."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.backends.base import BACKENDS
from tenun.backends.numpy.workers import Parallel
from tenun.debug import profile as module
from tenun.debug import roofline
from tenun.debug.profile import GROUPS, NO_LAYER, Profile, duration, headings
from tenun.debug.roofline import LEVELS, Machine
from tenun.debug.steps import call_name, step_text, step_work
from tenun.debug.trace import Span, chrome_trace
from tenun.errors import RunError
from tenun.ir import Builder, Graph, Tensor
from tenun.ir.graph import State
from tenun.ir.types import f32, i64
from tenun.tests.debug.network import N, images, trunk, weight

# an operation a second per thread, and a byte a second: so least seconds are counts
MACHINE = Machine("test", 2, {"float32": (1.0, 2.0), "float64": (0.5, 1.0)}, dict.fromkeys(LEVELS, (1.0, 2.0)))


@pytest.fixture(autouse=True)
def known_machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is measured in these tests, and nothing kept in the user's folder."""
    monkeypatch.setenv("TENUN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "machine", lambda: MACHINE)


def network() -> Graph:
    """conv, relu | pool | flatten | dense twice with the same weights | a node without a layer."""
    b = Builder(Graph("net"))
    return b.outputs(b.softmax(trunk(b), axis=-1), names=["p"])


def profiled(n: int = 3, **options: Any) -> Profile:
    return tenun.compile(network(), **options).profile(images(n), rounds=2)


# ---- sums and counts


@pytest.mark.parametrize("batch", [1, 3, 4000])
def test_every_grouping_is_the_whole_run(batch: int) -> None:
    """Also for a batch that is cut into shards; calls before and after are not disturbed."""
    executable = tenun.compile(network(), threads=2)
    x = images(batch)
    before = executable(x)
    found = executable.profile(x, rounds=3)
    assert found.seconds == pytest.approx(sum(row.seconds for row in found.nodes)) and found.run_seconds > 0
    for by in GROUPS:
        rows = found.rows(by)
        assert sum(row.share for row in rows) == pytest.approx(1), by
        assert sum(row.seconds for row in rows) == pytest.approx(found.seconds), by
        assert [row.seconds for row in rows] == sorted((row.seconds for row in rows), reverse=True), by
        assert sum(row.count for row in rows) == len(found.steps), by
    np.testing.assert_array_equal(executable(x), before)


@pytest.mark.parametrize("name", BACKENDS)
def test_every_backend(name: str) -> None:
    if name != "numpy":
        pytest.importorskip(name)
    found = profiled(3, backend=name)
    assert found.backend == name and f"backend {name}" in found.notes()[0]
    assert [row.op for row in found.nodes][:2] == ["conv", "max_pool"] and found.nodes[0].flops == 2 * 3 * 64 * 4 * 27


def test_nodes_are_in_the_order_of_running_and_views_are_left_out() -> None:
    found = profiled()
    assert [row.op for row in found.nodes] == ["conv", "max_pool", "matmul", "matmul", "softmax"]
    assert [row.layer for row in found.nodes] == ["conv", "pool", "dense", "again", ""]
    assert found.nodes[0].shapes == "f32[3, 8, 8, 3], f32[3, 3, 3, 4], f32[4], - -> f32[3, 8, 8, 4]"
    assert [found.nodes[i].op for i in found.node_of] == [row.op for row in found.steps]
    assert found.node_of == sorted(found.node_of)


def test_groups() -> None:
    found = profiled()
    assert {row.name: row.op for row in found.by_layer()} == {
        "conv": "conv", "pool": "max_pool", "dense": "matmul", "again": "matmul", NO_LAYER: "softmax",
    }  # fmt: skip
    products = {row.name: row for row in found.by_op()}["matmul"]
    assert products.layer == "dense, again" and products.flops == 2 * (2 * 3 * 64 * 64)
    with pytest.raises(RunError, match="no rows by 'magic'"):
        found.rows("magic")


def test_operations_and_bytes_of_layers_that_are_known() -> None:
    """By hand: a product of (3, 64) and (64, 64), a convolution of 27 taps, what they read and write in float32."""
    conv, pool, dense, *_ = profiled(3).nodes
    assert dense.flops == 2 * 3 * 64 * 64 and dense.bytes == 4 * (3 * 64 + 64 * 64 + 3 * 64)
    assert conv.flops == 2 * 3 * 8 * 8 * 4 * 27 and conv.bytes == 4 * (3 * 64 * 3 + 27 * 4 + 4 + 3 * 64 * 4)
    assert pool.bytes == 4 * (3 * 64 * 4 + 3 * 16 * 4)
    assert dense.intensity == pytest.approx(24576 / 17920)
    assert dense.flop_rate == pytest.approx(24576 / dense.seconds)
    assert dense.byte_rate == pytest.approx(17920 / dense.seconds)


def test_a_look_up_reads_the_rows_that_it_gives() -> None:
    b = Builder(Graph("lookup"))
    tokens = b.input("tokens", Tensor(i64, (N,)))
    b.outputs(b.gather(b.constant(weight(1000, 8), "table"), tokens, axis=0))
    (row,) = tenun.compile(b.graph).profile(np.zeros(5, np.int64), rounds=1).nodes
    assert row.bytes == 5 * 8 + 2 * (5 * 8 * 4)


def test_roofline() -> None:
    """With a machine of an operation and a byte a second, a product is bound by its operations, a pool by its bytes."""
    found = profiled(3, threads=1)
    conv, pool, dense, *_ = found.nodes
    assert dense.flops and dense.least == dense.flops and dense.roofline == pytest.approx(dense.flops / dense.seconds)
    assert pool.flops and pool.bytes and pool.least == pool.bytes > pool.flops
    whole = found._total("node")
    assert whole[headings("node").index("share")] == "100.0%"


def test_what_depends_on_data_is_not_counted() -> None:
    b = Builder(Graph("loose"))
    x = b.input("x", Tensor(f32, (N,)))
    with b.at("where"):
        y = b.nonzero(x)
    b.outputs(b.relu(x), y)
    found = tenun.compile(b.graph).profile(np.array([0, 1, 2], np.float32), rounds=1)
    rows = {row.op: row for row in found.nodes}
    nonzero = rows["nonzero"]
    assert (nonzero.flops, nonzero.bytes, nonzero.least, nonzero.roofline) == (None, None, None, None)
    assert rows["relu"].flops == 3
    assert "nonzero" in str(found)


# ---- shards, states, errors


def test_a_batch_that_is_cut() -> None:
    whole = tenun.compile(network(), threads=2)
    x = images(4000)
    size = whole.plan(x).graph.inputs[0].tensor.static[0]
    found = whole.profile(x, rounds=1)
    assert 1 < found.shards == -(-4000 // size)
    assert found.nodes[0].shapes.startswith(f"f32[{size}, 8, 8, 3]")
    assert f"of the first of {found.shards} shards" in found.notes()[0]
    assert profiled(1).shards == 1


def counting() -> Graph:
    """y = x + count, and count grows by 1."""
    b = Builder(Graph("counter"))
    x, count = b.input("x", Tensor(f32, (2,))), b.input("count", Tensor(f32, (2,)))
    following = b.add(count, b.constant(np.ones(2, np.float32), "one"))
    graph = b.outputs(b.add(x, count), following, names=["y", "following"])
    graph.state.append(State(count, 1, b.constant(np.zeros(2, np.float32), "zero")))
    return graph


def test_states_stay_as_they_are() -> None:
    executable = tenun.compile(counting())
    x = np.zeros(2, np.float32)
    executable(x)
    executable.profile(x, rounds=3)
    np.testing.assert_array_equal(executable.state["count"], [1, 1])


def test_resident_states_are_put_back() -> None:
    from tenun.backends.numpy.shards import ShardedProgram

    count = np.full(2, 5, np.float32)
    program = ShardedProgram(tenun.compile(counting()).optimized, resident={"count": count})
    found = module.profile(program, [np.zeros(2, np.float32)], rounds=3)
    np.testing.assert_array_equal(count, [5, 5])
    assert found.nodes and sum(row.share for row in found.nodes) == pytest.approx(1)


def test_refusals() -> None:
    executable = tenun.compile(network())
    with pytest.raises(RunError, match="rounds is 0"):
        executable.profile(images(1), rounds=0)
    with pytest.raises(RunError, match="expected inputs x"):
        executable.profile()


# ---- allocations


def final_cnn() -> Any:
    """The report's final CNN, of a quarter of the channels."""
    parts: list[Any] = [tenun.Input((32, 32, 3))]
    for filters in (16, 32, 64):
        parts += [tenun.layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(2)]
        parts.append(tenun.layers.MaxPooling2D())
    parts += [tenun.layers.Flatten(), tenun.layers.Dense(128, activation="relu")]
    return tenun.Sequential([*parts, tenun.layers.Dense(10, activation="softmax")])


@pytest.mark.parametrize("batch", [1, 8])
def test_the_steps_of_a_cnn_allocate_nothing(batch: int) -> None:
    x = np.random.default_rng(0).random((batch, 32, 32, 3), np.float32)
    found = tenun.compile(final_cnn()).profile(x, rounds=1)
    assert not found.allocations, found.notes()[1]
    assert found.notes()[1].startswith("allocations: none")


def test_a_step_that_allocates_is_named() -> None:
    b = Builder(Graph("sorts"))
    x = b.input("x", Tensor(f32, (N, 4096)))
    with b.at("found"):
        y = b.nonzero(x)
    b.outputs(y)
    found = tenun.compile(b.graph).profile(np.ones((4, 4096), np.float32), rounds=1)
    (row,) = found.allocations
    assert row.op == "nonzero" and row.layer == "found" and row.allocated >= 2 * 8 * 4 * 4096
    assert "%nonzero" in found.notes()[1] and not tracemalloc.is_tracing()


def test_tracing_that_was_on_stays_on() -> None:
    tracemalloc.start()
    try:
        profiled(1)
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


# ---- text, JSON, trace


@pytest.mark.parametrize("by", GROUPS)
def test_text(by: str) -> None:
    found = profiled()
    text = found.text(by, top=2)
    heading, *lines = text.splitlines()
    figures = ["time", "share", "FLOP", "FLOP/s", "bytes", "bytes/s", "FLOP/B", "roofline", "allocates"]
    assert heading.split()[-9:] == figures
    assert lines[2].startswith("total") and "100.0%" in lines[2]
    assert f"{len(found.rows(by)) - 2} more rows" in lines[3]
    assert "net: 5 nodes" in text and "machine: test" in text and "allocations: " in text
    assert "more rows" not in found.text(by, top=None)


def test_tables_of_rich_fit_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    found = profiled()
    for width, has_all in ((200, True), (140, True), (80, False)):
        Console(width=width).print(found)
        found.show("layer", console=Console(width=width))
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= width
        assert ("FLOP/B" in shown) is has_all and "roofline  allocates" in shown and "100.0%" in shown


def test_json() -> None:
    found = profiled()
    again = json.loads(found.to_json())
    assert again == json.loads(json.dumps(found.to_dict()))
    assert again["format"] == 1 and again["name"] == "net" and again["shards"] == 1
    assert [row["op"] for row in again["nodes"]] == [row.op for row in found.nodes]
    assert again["nodes"][2]["flops"] == 2 * 3 * 64 * 64 and again["nodes"][2]["roofline"] > 0
    assert again["machine"]["bandwidths"]["L2"] == [1.0, 2.0]


def test_trace(tmp_path: Path) -> None:
    """Chrome's format: complete events of a process, inner ones inside of outer ones."""
    found = profiled()
    found.trace(tmp_path / "trace.json")
    trace = json.loads((tmp_path / "trace.json").read_text())
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert {e["ph"] for e in trace["traceEvents"]} == {"M", "X"} and trace["otherData"]["model"] == "net"
    for event in events:
        assert {"name", "cat", "pid", "tid", "ts", "dur", "args"} <= set(event)
        assert event["ts"] >= 0 and event["dur"] >= 0
    by_name = {e["name"]: e for e in events}
    assert all(row.name in by_name for row in found.nodes)
    conv = next(e for e in events if e["cat"] == "conv")
    assert conv["args"]["shapes"] == found.nodes[0].shapes and conv["args"]["flops"] == found.nodes[0].flops
    inner = [e for e in events if e["cat"] == "conv" and e is not conv and e["tid"] == 0]
    end = conv["ts"] + conv["dur"]
    assert all(conv["ts"] <= e["ts"] and e["ts"] + e["dur"] <= end + 1e-6 for e in inner)


def test_the_trace_has_a_span_for_each_branch() -> None:
    """Of a product that is cut into branches, on the threads that there are; which of them runs what is open."""
    b = Builder(Graph("wide"))
    x = b.input("x", Tensor(f32, (1, 64, 64, 32)))
    kernel = b.constant(weight(3, 3, 32, 64), "kernel")
    with b.at("conv"):
        b.outputs(b.conv(x, kernel, strides=(1, 1), dilations=(1, 1), padding="same"))
    executable = tenun.compile(b.graph, threads=2)
    image = np.ones((1, 64, 64, 32), np.float32)
    steps = executable.plan(image).steps
    branches = sum(len(step.branches) for step in steps if isinstance(step, Parallel))
    found = executable.profile(image, rounds=2)
    events = [e for e in chrome_trace(found)["traceEvents"] if e["ph"] == "X"]
    assert sum(" branch " in e["name"] for e in events) == branches
    assert sum(span.branch is not None for span in found.spans) == branches


def test_lanes_are_threads() -> None:
    found = profiled()
    spans = [Span(0, None, 0, 0.0, 2.0), Span(0, 0, 0, 0.0, 1.0), Span(0, 1, 1, 0.5, 1.0)]
    trace = chrome_trace(replace(found, spans=spans))
    names = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert names == {0: "main", 1: "worker 1"}
    lanes = [(e["name"], e["tid"], e["ts"], e["dur"]) for e in trace["traceEvents"] if e["ph"] == "X"]
    name = found.nodes[0].name
    assert lanes == [(name, 0, 0, 2e6), (f"{name} branch 0", 0, 0, 1e6), (f"{name} branch 1", 1, 5e5, 1e6)]


# ---- steps


def test_what_a_step_does() -> None:
    x, y, out = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32), np.empty((2, 4), np.float32)
    product, total = partial(np.matmul, x, y, out=out), partial(np.add, out, out, out=out)
    assert step_work(product) == (2 * 2 * 3 * 4, 4 * (6 + 12 + 8)) and step_work(total) == (8, 4 * 24)
    assert step_work(partial(np.copyto, out, out)) == (0, 4 * 16)
    assert step_work(lambda: None) is None and step_work(partial(np.sort, x)) is None
    both = Parallel([[product, total], [product]])
    assert step_work(both) == (2 * 48 + 8, 2 * 104 + 96)
    assert step_work(Parallel([[product], [lambda: None]])) is None
    assert step_text(both) == "2 branches: matmul ×2, add"
    assert call_name(partial(partial(np.add, x), x)) == "add"
    assert call_name(partial(test_groups, partial(np.exp, x))) == "exp"


def test_durations() -> None:
    assert duration(0.9996) == "1000 ms"
    assert [duration(s) for s in (2.5, 1e-3, 1.234e-2, 5.67e-5, 5e-8)] == [
        "2.5 s",
        "1 ms",
        "12.3 ms",
        "56.7 µs",
        "50 ns",
    ]


# ---- the machine


def test_figures_of_a_machine() -> None:
    machine = Machine("m", 4, {"float32": (10.0, 35.0), "float64": (5.0, 5.0)}, dict.fromkeys(LEVELS, (2.0, 3.0)))
    assert [machine.peak("float32", n) for n in (1, 2, 4)] == [10, 20, 35]
    assert machine.peak("float64") == 5 and machine.peak("int8") == 10
    assert machine.least_seconds(100, 1) == 10 and machine.least_seconds(100, 1, "float32", 1, 4) == 100 / 35
    assert machine.least_seconds(1, 100) == 50 and machine.least_seconds(1, 90, "float32", 2) == 30
    levels = Machine("m", 1, machine.peaks, {name: (float(i), float(i)) for i, name in enumerate(LEVELS, 1)})
    assert [levels.bandwidth(size) for size in (1, LEVELS["L2"] + 1, LEVELS["L3"] + 1, 1 << 40)] == [1, 2, 3, 3]


def test_the_machine_is_measured_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = roofline.machine()
    assert min(f for pair in (*first.peaks.values(), *first.bandwidths.values()) for f in pair) > 0
    monkeypatch.setattr(roofline, "measure", lambda: pytest.fail("measured again"))
    assert roofline.machine() == first
    assert roofline.processor() in str(first) and "FLOP/s" in str(first)
    (key,) = json.loads((tmp_path / "cache" / roofline.FILE).read_text())
    assert f"NumPy {np.__version__}" in key


@pytest.mark.parametrize(
    "content", ["", "[]", '{"a": 1', "{KEY: {}}", '{KEY: {"name": 1, "peaks": {"float32": [0, 0]}}}']
)
def test_a_cache_that_is_broken_is_measured_again(
    content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "cache" / roofline.FILE
    file.parent.mkdir()
    file.write_text(content.replace("KEY", json.dumps(roofline._key())))
    monkeypatch.setattr(roofline, "measure", lambda: MACHINE)
    assert roofline.machine() == MACHINE
    monkeypatch.setattr(roofline, "measure", lambda: pytest.fail("measured again"))
    assert roofline.machine() == MACHINE


def test_a_cache_that_cannot_be_written_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TENUN_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr(roofline, "measure", lambda: MACHINE)
    assert roofline.machine() == MACHINE
