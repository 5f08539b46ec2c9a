"""Faults, each named at once: by `compare` the layer, by `diff` the change, within a format and across."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.backends.numpy.evaluate import evaluate
from tenun.debug.compare import Comparison, Subject, compare, difference
from tenun.debug.diff import Change
from tenun.debug.measure import measure
from tenun.ir.samples import random_inputs

from . import faults, held_out, mutations, third_set
from .mutations import Fault

FORMATS = ("keras", "onnx")
ONNX = {**held_out.ONNX, **third_set.ONNX}
MODELS = {**faults.MODELS, **held_out.MODELS, **third_set.MODELS, **ONNX}
QUICK = 6  # of so many faults of the later sets, one is looked for in the quick tests


def saved(model: Any, file: Path) -> Subject:
    if not isinstance(model, tenun.Model):
        file.write_bytes(model.SerializeToString())
    elif file.suffix == ".keras":
        model.save(file)
    else:
        tenun.save(model, file)
    return Subject(file.name, tenun.load(file))


def formats(model: str) -> tuple[str, ...]:
    """What a model is written as: one that is made of ONNX nodes has no other form."""
    return ("onnx",) if model in ONNX else FORMATS


class Good(dict[str, Subject]):
    """The models as they should be, each written when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, model: str) -> Subject:
        self[model] = saved(mutations.made(MODELS[model]), self.folder / f"{model}.{formats(model)[0]}")
        return self[model]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    return Good(tmp_path_factory.mktemp("good"))


def named(changes: list[Change]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(c.layer for c in changes))


def is_right(fault: Fault, layers: tuple[str, ...], changes: list[Change]) -> bool:
    """Both layers of an exchange; one of two that changed places."""
    kinds = {c.kind for c in changes}
    if fault.what.startswith("swapped with"):
        return len(layers) == 1 and layers[0] in ("second", "third") and kinds == {"moved"}
    return layers == fault.layers and bool(kinds) and kinds <= set(fault.kinds)


def cases() -> Iterator[Any]:
    """Every fault in every format; of the later sets most are slow."""
    for fault in faults.FAULTS:
        yield from (pytest.param(fault, suffix, id=f"{fault}-{suffix}") for suffix in FORMATS)
    for i, fault in enumerate([*held_out.FAULTS, *third_set.FAULTS]):
        for suffix in formats(fault.model):
            quick = i % QUICK == 0 and suffix == "onnx"
            yield pytest.param(fault, suffix, id=f"{fault}-{suffix}", marks=[] if quick else pytest.mark.slow)


def test_there_are_many_faults_of_all_kinds() -> None:
    for sets, models, count, number in (
        (faults.FAULTS, faults.MODELS, 40, 8),
        (held_out.FAULTS, {**held_out.MODELS, **held_out.ONNX}, 77, 8),
        (third_set.FAULTS, {**third_set.MODELS, **third_set.ONNX}, 39, 3),
    ):
        assert len(sets) == count == len({str(f) for f in sets})
        assert {f.model for f in sets} == set(models) and len(models) == number
        assert {kind for f in sets for kind in f.kinds} >= {"weights", "option", "removed", "added", "moved"}


@pytest.mark.parametrize(("fault", "suffix"), cases())
def test_a_fault_is_named(fault: Fault, suffix: str, good: Good, tmp_path: Path) -> None:
    a, b = good[fault.model], saved(fault.broken(MODELS), tmp_path / f"bad.{suffix}")
    found = compare(a, b, evaluate)
    assert not found.same and found.verdict().startswith("DIFFERENT")
    assert is_right(fault, tuple(found.culprits), found.changes), [str(c) for c in found.changes]
    _, changes = difference(a, b, evaluate)
    assert is_right(fault, named(changes), changes), [str(c) for c in changes]


@pytest.mark.parametrize(("model", "suffix"), [(model, suffix) for model in MODELS for suffix in formats(model)])
def test_a_good_model_is_the_same_in_every_format(model: str, suffix: str, good: Good, tmp_path: Path) -> None:
    b = saved(mutations.made(MODELS[model]), tmp_path / f"same.{suffix}")
    found = compare(good[model], b, evaluate, seeds=(0, 1))
    assert found.same and not found.culprits and found.verdict().startswith("SAME")
    assert len(found.runs) == 2 and found.points and all(p.found is not None for p in found.points)
    assert difference(good[model], b, evaluate)[1] == []


def test_what_changed_is_said(good: Good, tmp_path: Path) -> None:
    def details(which: str) -> str:
        fault = next(f for f in faults.FAULTS if str(f) == which)
        b = saved(fault.broken(MODELS), tmp_path / "bad.keras")
        return " ".join(c.detail for c in difference(good[fault.model], b, evaluate)[1])

    assert details("mlp-second-kernel_transposed") == "kernel: transposed by (1, 0)"
    assert "gates in another order: (0, 1, 3, 2)" in details("text-memory-kernel_gates_swapped")
    assert "1 of 4 elements" in details("mlp-last-bias_one_element")
    assert "it holds what third.kernel held" in details("mlp-second-second.kernel_with_third.kernel")
    assert details("cnn-norm_1-epsilon=0.01") == "epsilon: 0.001 → 0.01"
    assert details("mlp-first-activation=linear") == "relu → none"
    assert "flipped along axis 0" in details("mobile-deep-kernel_flipped")


def test_a_renamed_layer_and_other_shapes(good: Good, tmp_path: Path) -> None:
    table = [mutations.Spec(r.name, r.kind, dict(r.options), r.reads) for r in faults.MODELS["mlp"]]
    table[1].name, table[4].options["units"] = "renamed", 5
    model = mutations.build(table)
    for parameter in model.weights:
        if parameter.path == "renamed":
            parameter.assign(mutations.seeded(parameter.name.replace("renamed", "first"), parameter.shape))
    _, changes = difference(good["mlp"], saved(model, tmp_path / "b.keras"), evaluate)
    assert ("renamed", "first", "renamed") in {(c.kind, c.layer, c.other) for c in changes}
    assert {c.kind for c in changes if c.layer == "last"} == {"shape"}


def test_the_first_layer_that_differs_comes_first_and_the_worst_input_counts(good: Good, tmp_path: Path) -> None:
    fault = next(f for f in faults.FAULTS if str(f) == "text-words-embeddings_one_element")
    b = saved(fault.broken(MODELS), tmp_path / "b.keras")
    a = good["text"]
    unlucky = {"tokens": np.zeros((2, 11), np.int32)}  # never meets the word that was changed
    assert compare(a, b, evaluate, inputs=[unlucky]).same
    found = compare(a, b, evaluate, inputs=[unlucky, random_inputs(a.graph, 2, 3)])
    assert found.first is not None and found.first.layer == "words" and found.first.run == 1
    assert list(dict.fromkeys(p.layer for p in found.parted)) == ["words", "memory", "more", "scores"]


@pytest.mark.parametrize(
    ("a", "b", "differs"),
    [
        (np.float32([1, np.nan]), np.float32([1, np.nan]), False),
        (np.float32([1, np.nan]), np.float32([1, 2]), True),
        (np.float32([np.inf, -np.inf]), np.float32([np.inf, -np.inf]), False),
        (np.float32([np.inf]), np.float32([-np.inf]), True),
        (np.float32([1000, 1]), np.float32([1000.01, 1]), False),
        (np.float32([1000, 1]), np.float32([1001, 1]), True),
        (np.int32([1, 2]), np.int32([1, 3]), True),
        (np.array(["a"], object), np.array(["b"], object), True),
        (np.ones((2, 3), np.float32), np.ones((3, 3), np.float32), True),
        ([np.float32([1])], [np.float32([1]), np.float32([1])], True),
    ],
)
def test_measures(a: object, b: object, differs: bool) -> None:
    assert measure(a, b).differs is differs


def test_channels_first_and_last_are_one() -> None:
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 3)).astype(np.float32)
    assert not measure(x, x.transpose(0, 3, 1, 2)).differs
    assert measure(x, x.transpose(0, 3, 1, 2) + 1).differs
    square = x[:, :3, :3]
    assert measure(square, square.transpose(0, 3, 1, 2)).differs
    assert not measure(square, square.transpose(0, 3, 1, 2), any_layout=True).differs


def test_nothing_is_held_longer_than_it_takes(good: Good, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no time does a comparison keep more than a few of the values that it has compared."""
    import gc
    import weakref

    alive: list[weakref.ref[object]] = []
    most = 0

    def watched(*args: object, **kwargs: object) -> tuple[object, ...]:
        nonlocal most
        results = evaluate(*args, **kwargs)  # type: ignore[arg-type]
        alive.extend(weakref.ref(r) for r in results if isinstance(r, np.ndarray) and r.base is None)
        most = max(most, sum(ref() is not None for ref in alive))
        return results

    gc.collect()
    a = good["cnn"]
    found = compare(a, Subject("twin", a.graph.copy()), watched)
    assert found.same and len(found.points) == 9 and most <= 8, most


ENGINES = [("tenun", "ort"), ("keras", "tenun"), ("keras", "ort")]


@pytest.mark.parametrize(("first", "second"), ENGINES)
@pytest.mark.parametrize("fault", [None, "cnn-conv_2-kernel_transposed"])
def test_other_engines(first: str, second: str, fault: str | None, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    if first == "keras":
        pytest.importorskip("keras")
    good, bad = tmp_path / "good.keras", tmp_path / "b.onnx"
    mutations.build(faults.MODELS["cnn"]).save(good)
    broken = next((f.broken(MODELS) for f in faults.FAULTS if str(f) == fault), mutations.build(faults.MODELS["cnn"]))
    tenun.save(broken, bad)
    found: Comparison = compare(
        Subject(str(good), tenun.load(good), first), Subject(str(bad), tenun.load(bad), second), evaluate
    )
    assert found.same is (fault is None) and len(found.points) >= 7
    if fault:
        assert found.first is not None and "conv_2" in found.first.layer and found.culprits == ["conv_2"]


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize("model", ["cnn", "unet", "resnet", "text"])
def test_compiled_plans(backend: str, model: str, good: Good) -> None:
    """What survives fusing is compared, in the form that it has there."""
    if backend == "numba":
        pytest.importorskip("numba")
    a = good[model]
    found = compare(a, Subject(a.name, a.graph, backend), evaluate)
    assert found.same and len(found.points) >= 3 and f"compiled with {backend}" in found.verdict()


def test_a_wrong_step_of_a_plan_is_named(good: Good, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenun.debug import engines

    a = good["cnn"]

    def doubled(executable: tenun.Executable, inputs: Any, on_node: Any) -> None:
        def see(node: Any, arrays: list[Any]) -> None:
            on_node(node, [2 * x if "conv_2" in node.source else x for x in arrays])

        whole(executable, inputs, on_node=see)

    whole = tenun.Executable.run
    monkeypatch.setattr(engines.Executable, "run", doubled)
    found = compare(a, Subject(a.name, a.graph, "numpy"), evaluate)
    assert found.first is not None and found.first.layer in ("conv_2", "norm_2", "relu_2") and len(found.parted) == 1


def test_keras_runs_a_sequential_file() -> None:
    pytest.importorskip("keras")
    file = str(Path(tenun.__file__).parent / "demo" / "digits_cnn.keras")
    graph = tenun.load(file)
    found: Comparison = compare(Subject(file, graph, "keras"), Subject("tenun", graph), evaluate)
    assert found.same and len(found.points) >= 10


def test_an_engine_refuses_what_it_does_not_run(good: Good) -> None:
    a = good["mlp"]
    for engine, hint in (("ort", "does not run .keras"), ("magic", "there is no engine")):
        with pytest.raises(tenun.UnsupportedError, match=hint):
            compare(a, Subject("b.keras", a.graph, engine), evaluate)


def test_other_numbers_of_inputs_are_refused(good: Good) -> None:
    with pytest.raises(tenun.RunError, match="takes 1 inputs"):
        compare(good["pair"], good["mlp"], evaluate)
