"""Passes that are wrong on purpose are blamed, with the node; right ones are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tenun
from tenun.backends.numpy.evaluate import evaluate
from tenun.ir import Builder, Graph
from tenun.passes.manager import PASSES, Context, PassInfo, PassManager, optimize

from . import faults, mutations


def wrong_option(graph: Graph, context: Context) -> int:
    node = next(n for n in graph.nodes if n.op.name == "batch_norm" and n.source == "norm_2")
    node.attrs["epsilon"] = 0.5
    return 1


def wrong_replacement(graph: Graph, context: Context) -> int:
    node = next(n for n in graph.nodes if n.op.name == "relu")
    made = Builder(graph, before=node, source=node.source).neg(node.inputs[0])
    graph.replace(node.output, made)
    graph.erase(node)
    return 1


def wrong_weights(graph: Graph, context: Context) -> int:
    node = next(n for n in graph.nodes if n.source == "head")
    assert node.inputs[1] is not None and node.inputs[1].data is not None
    graph.set_inputs(node, [node.inputs[0], graph.add_constant(node.inputs[1].data * 1.01, "w"), *node.inputs[2:]])
    return 1


def wrong_type(graph: Graph, context: Context) -> int:
    node = next(n for n in graph.nodes if n.op.name == "relu")
    node.output.type = node.output.tensor.with_(shape=(3,))
    return 1


WRONG: dict[str, tuple[Callable[[Graph, Context], int], str]] = {
    "wrong-option": (wrong_option, "norm_2"),
    "wrong-replacement": (wrong_replacement, "relu_1"),
    "wrong-weights": (wrong_weights, "head"),
}


@pytest.fixture(autouse=True)
def wrong_passes() -> Iterator[None]:
    made = {name: run for name, (run, _) in WRONG.items()} | {"wrong-type": wrong_type}
    PASSES.update({name: PassInfo(name, "Wrong on purpose.", run) for name, run in made.items()})
    yield
    for name in made:
        del PASSES[name]


@pytest.fixture(scope="module")
def graph() -> Graph:
    return mutations.build(faults.MODELS["cnn"]).graph()


@pytest.mark.parametrize("name", WRONG)
def test_the_pass_is_blamed_with_the_node(name: str, graph: Graph) -> None:
    with pytest.raises(
        tenun.GraphError, match=f"pass '{name}' failed .*passes before it: fold, dce.* changes output"
    ) as e:
        optimize(graph, ("fold", "dce", name, "fuse"), Context(evaluate), verify_each="numbers")
    assert e.value.node == WRONG[name][1]
    optimize(graph, ("fold", "dce", name, "fuse"), Context(evaluate), verify_each="structure")  # which sees nothing


@pytest.mark.broken_graphs
def test_structure_is_checked_too(graph: Graph) -> None:
    for verify in ("structure", "numbers", True):
        with pytest.raises(tenun.GraphError, match="pass 'wrong-type' failed.*does not verify"):
            optimize(graph, ("wrong-type",), Context(evaluate), verify_each=verify)


@pytest.mark.parametrize("model", faults.MODELS)
def test_no_pass_is_wrong(model: str) -> None:
    executable = tenun.compile(mutations.build(faults.MODELS[model]), verify="numbers")
    assert executable.records


def test_the_sample_may_be_given(graph: Graph) -> None:
    zeros = {"image": np.zeros((1, 10, 12, 3), np.float32)}
    manager = PassManager(("wrong-replacement",), Context(evaluate), "numbers", sample=zeros)
    with pytest.raises(tenun.GraphError, match="wrong-replacement"):
        manager.run(graph.copy())
    with pytest.raises(tenun.GraphError, match="verify is 'magic'"):
        tenun.compile(graph, verify="magic")  # type: ignore[arg-type]


def test_bisect_names_the_pass(tmp_path: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenun.cli import sides

    image = {"image": np.ones((1, 10, 12, 3), np.float32)}
    assert sides.bisect(graph, [image]) == ""
    monkeypatch.setattr(sides, "pipeline", lambda name: ("fold", "wrong-weights"))
    assert "wrong-weights" in sides.bisect(graph, [image])


def test_the_environment_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked, given, found in (
        ("numbers", False, "numbers"), ("numbers", True, "numbers"), ("structure", False, "structure"),
        ("structure", "numbers", "numbers"), ("", False, False),
    ):  # fmt: skip
        monkeypatch.setenv("TENUN_VERIFY", asked)
        assert PassManager((), verify_each=given).verify_each == found  # type: ignore[arg-type]
