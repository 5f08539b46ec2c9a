"""Values by name while a model runs, and the story of a layer."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import tenun
from tenun.ir import Node

from . import faults, mutations

X = {"image": np.random.default_rng(0).standard_normal((3, 10, 12, 3)).astype(np.float32)}


@pytest.fixture(scope="module")
def executable() -> tenun.Executable:
    return tenun.compile(mutations.build(faults.MODELS["cnn"]))


def test_fetch_by_path_pattern_and_number(executable: tenun.Executable) -> None:
    unfused = tenun.compile(executable.graph, pipeline="none")
    everything = executable.run(X, fetch="*")
    assert list(everything) == [r.name for r in faults.MODELS["cnn"][1:]]
    for name, value in unfused.run(X, fetch="*").items():
        np.testing.assert_allclose(everything[name], value, rtol=1e-4, atol=1e-5)
    assert list(executable.run(X, fetch=["conv_*", "head"])) == ["conv_1", "conv_2", "head"]
    first = executable.run(X, fetch=["norm_1:0"])["norm_1:0"]
    np.testing.assert_allclose(first, everything["norm_1"], rtol=1e-4, atol=1e-5)


def test_a_fetched_value_is_kept_apart_and_that_is_said(
    executable: tenun.Executable, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = tenun.compile(executable.graph)
    with caplog.at_level(logging.INFO, "tenun"):
        fresh.run(X, fetch=["norm_1", "pool"])
    (message,) = (r.getMessage() for r in caplog.records)
    assert message.startswith("norm_1 is kept apart") and "conv_1 + norm_1 + relu_1" in message
    assert "kept apart" in executable.explain("norm_1").fetched and executable.explain("pool").fetched == "as it is"


def test_what_is_not_there_is_refused_with_what_is_near(executable: tenun.Executable) -> None:
    for name in ("conv_3", "conv_1:7", "x*"):
        with pytest.raises(tenun.RunError, match="no value or layer called") as e:
            executable.run(X, fetch=[name])
        assert "conv_1" in str(e.value.hint)


def test_an_observer_sees_every_node(executable: tenun.Executable) -> None:
    seen: dict[str, tuple[int, ...]] = {}
    last: dict[str, np.ndarray] = {}

    def on_node(node: Node, arrays: list[np.ndarray]) -> None:
        seen[node.source] = arrays[0].shape
        last[node.source] = arrays[0].copy()

    result = executable.run(X, on_node=on_node)
    assert seen["conv_1 + norm_1 + relu_1"] == (3, 10, 12, 6) and len(seen) >= 5
    np.testing.assert_array_equal(last["head"], result["head"])
    np.testing.assert_array_equal(executable.run(X)["head"], result["head"])
    with pytest.raises(tenun.RunError, match="stop"):
        executable.run(X, on_node=_stop)
    np.testing.assert_array_equal(executable.run(X)["head"], result["head"])


def _stop(node: Node, arrays: list[np.ndarray]) -> None:
    raise tenun.RunError("stop")


def test_explain(executable: tenun.Executable) -> None:
    story = executable.explain("norm_1", X["image"])
    assert [t.name for t in story.touches] == ["batchnorm", "fuse", "fold"]
    (node,) = story.running
    assert "conv_1 + norm_1 + relu_1" in node.text and node.algorithm.startswith("estimated: ")
    assert node.seconds is not None and "of the arena" in node.buffers[0]
    text = str(story)
    assert "batch_norm(" in text and "after batchnorm: Fold normalisations" in text and " ms" in text
    with pytest.raises(tenun.RunError, match="no value or layer"):
        executable.explain("nobody")


def test_values_are_called_as_the_dump_calls_them(executable: tenun.Executable) -> None:
    """`%name` is the value of that line of the dump, whatever the builder called it; without `%` layers come first."""
    graph = executable.graph
    lines = {line.split(":")[0].strip(): line for line in str(graph).splitlines() if line.lstrip().startswith("%")}
    assert {"%conv", "%conv_1"} <= set(lines) and lines["%conv_1"].endswith("// conv_2")
    found = executable.run(X, fetch=["%conv_1", "conv_1", "conv_2", "%conv*"])
    np.testing.assert_array_equal(found["%conv_1"], found["conv_2"])
    np.testing.assert_array_equal(found["%conv"], found["conv_1"])
    with pytest.raises(tenun.RunError) as e:
        executable.run(X, fetch=["conv_1.kernel"])
    assert e.value.hint == "it is a weight: graph.weights['conv_1.kernel'] has it"
