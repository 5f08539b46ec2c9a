"""The benchmark suite's own parts: what it refuses to time, how it counts, and that its models are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.benchmarks.files import Files
from tenun.benchmarks.light import onnx_light
from tenun.benchmarks.measure import Effort, Timing, UnfitError, measure, timed
from tenun.benchmarks.models import CASES, FAMILIES, QUICK, TRAINED, Case, Images, Tokens, mlp
from tenun.benchmarks.peers import PEERS
from tenun.benchmarks.records import Record, Results
from tenun.benchmarks.suite import ENGINES, NodeCase, failing
from tenun.benchmarks.suite import measure as measure_suite
from tenun.benchmarks.tables import text
from tenun.benchmarks.targets import Target, outcomes

X = np.linspace(0, 1, 8, dtype=np.float32)


def fails(x: Any) -> Any:
    raise ValueError("cannot do this\nnor that")


# ---- the node suite


def test_engines_of_the_node_suite_run_a_case_and_failures_are_named() -> None:
    from onnx import helper

    given, result = (helper.make_tensor_value_info(name, 1, [8]) for name in "xy")
    relu = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [given], [result])
    case = NodeCase("relu", helper.make_model(relu, opset_imports=[helper.make_opsetid("", 20)]), [X - 0.5])
    for run in ENGINES.values():
        np.testing.assert_array_equal(run(case)[0], np.maximum(X - 0.5, 0))
    assert failing(case) is None and (failing(NodeCase("relu", case.model, [])) or "").startswith("tenun: ")
    assert [(t.rounds, t.low > 0) for t in measure_suite([case], 2).values()] == [(2, True)] * 2


# ---- measuring


def test_only_right_answers_are_timed() -> None:
    runs = {"right": lambda x: 2 * x, "wrong": lambda x: 2.01 * x, "fails": fails, "shape": lambda x: x[:3]}
    found = measure(runs, X, 2 * X, Effort(3))
    right = found["right"]
    assert isinstance(right, Timing) and right.rounds == 3 and right.low <= right.median <= right.high
    assert found["wrong"] == "wrong by 0.005"
    assert found["fails"] == "ValueError: cannot do this"
    assert found["shape"] == "wrong: shape (3,), not (8,)"


def test_not_a_number_is_a_wrong_answer() -> None:
    found = measure({"nan": lambda x: x * np.float32("nan")}, X, X, Effort(2))
    assert found["nan"] == "wrong by nan"


def test_a_slow_peer_runs_once_to_be_checked_and_three_times_to_be_timed() -> None:
    calls = []
    found = measure({"slow": lambda x: calls.append(1) or x, "other": lambda x: x}, X, X, Effort(6), {"slow"})
    assert [found[name].rounds for name in ("slow", "other")] == [3, 6]  # type: ignore[union-attr]
    assert len(calls) == 4


def test_time_is_up_after_the_least_number_of_rounds() -> None:
    assert len(timed({"a": int}, Effort(rounds=20, seconds=0, least=2))["a"]) == 2


# ---- records, targets, tables


def some_results() -> Results:
    results = Results()
    times = {("tenun", 1): 1.0, ("onnxruntime", 1): 0.5, ("tenun", 64): 2.0, ("onnxruntime", 64): 16.0}
    results.add(Record("latency", "mlp", batch, 0, peer, value) for (peer, batch), value in times.items())
    results.add([Record("latency", "mlp", 1, 0, "tf.function", note="wrong by 3")])
    return results


def test_records_survive_the_file(tmp_path: Path) -> None:
    results = some_results()
    results.write(tmp_path / "figures.json")
    assert Results.read(tmp_path / "figures.json").records == results.records
    assert Results.read(tmp_path / "none.json").records == {}


def test_a_new_measurement_takes_the_place_of_the_old_one_with_all_its_peers() -> None:
    results = some_results()
    results.replace([Record("latency", "mlp", 1, 0, "tenun", 4.0, 3.0, 5.0, 7, 1e-6)])
    assert [(r.peer, r.value) for r in results.select(batch=1)] == [("tenun", 4.0)]
    assert len(list(results.select(batch=64))) == 2


@pytest.mark.parametrize(
    "target, got",
    [
        (Target("latency", ["dense"], "onnxruntime", "tenun", 1.0), 2.0),  # the root of 1/2 × 8
        (Target("latency", ["dense"], "onnxruntime", "tenun", 1.0, each=True), 0.5),
        (Target("latency", ["dense"], "onnxruntime", "tenun", 1.0, batches=(64, 64)), 8.0),
    ],
)
def test_targets(target: Target, got: float) -> None:
    (outcome,) = outcomes(some_results(), [target])
    assert outcome.got == pytest.approx(got) and outcome.held == (got >= 1)


def test_targets_are_for_their_families_and_where_there_are_figures() -> None:
    others = [
        Target("latency", ["cnn"], "onnxruntime", "tenun", 1.0),
        Target("latency", ["dense"], "keras", "tenun", 1.0),
    ]
    assert not list(outcomes(some_results(), others))


def test_tables_show_ratios_losses_and_reasons() -> None:
    shown = text(some_results())
    assert "| mlp   | 1     | 1.00  | 0.50 (**0.50**) |" in shown
    assert "16.00 (8.00)" in shown
    assert "- tf.function: wrong by 3 (mlp)" in shown


def test_plots_are_the_same_for_the_same_figures(tmp_path: Path) -> None:
    from tenun.benchmarks.plots import plots

    (first,), (second,) = (plots(some_results(), tmp_path / name) for name in "ab")
    assert first.name == "latency-dense.svg" and first.read_bytes() == second.read_bytes()


# ---- models and peers


def test_the_table_of_models_holds_together() -> None:
    assert {case.family for case in CASES.values()} == set(FAMILIES)
    assert {*QUICK, *TRAINED} <= set(CASES)


@pytest.mark.parametrize("inputs", [Images(20, 3.0), Images(20, first=True), Tokens(7)], ids=str)
def test_inputs_are_always_the_same_and_differ_from_sample_to_sample(inputs: Any) -> None:
    x = inputs(3)
    np.testing.assert_array_equal(x, inputs(3))
    assert len(x) == 3 and not np.array_equal(x[0], x[1])


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet"])
def test_models_of_onnx_take_any_batch_and_look_at_their_inputs(name: str) -> None:
    import onnxruntime as ort

    model, x = onnx_light(name, 1), CASES[name].inputs(3)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {session.get_inputs()[0].name: x})
    got = tenun.compile(model)(x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * float(np.ptp(want)))
    assert float(np.abs(want[0] - want[1]).max()) > 0.01 * float(np.ptp(want))


def test_a_chain_that_is_written_here_computes_what_keras_computes() -> None:
    import keras
    import onnxruntime as ort
    from keras import layers

    from tenun.benchmarks.export import chain_model

    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((9, 8, 3)),
            layers.Conv2D(4, 3, padding="same", activation="relu", bias_initializer="normal"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(6, activation="softmax", bias_initializer="normal"),
        ]
    )
    functional = keras.Model(model.inputs, model.outputs)
    x = np.random.default_rng(0).standard_normal((2, 9, 8, 3), np.float32)
    session = ort.InferenceSession(chain_model(functional).SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], model(x), rtol=1e-5, atol=1e-6)


def test_inputs_that_nothing_reads_are_taken_out() -> None:
    from onnx import TensorProto, helper

    from tenun.benchmarks.export import without_idle_inputs

    x, idle, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", "idle", "y"))
    model = helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x, idle], [y]))
    assert without_idle_inputs(model) == ["idle"] and [v.name for v in model.graph.input] == ["x"]
    assert without_idle_inputs(model) == []


def test_scikit_learn_takes_part_in_mlps_only(tmp_path: Path) -> None:
    import keras

    case = Case("small", "dense", mlp, lambda batch: np.random.default_rng(0).random((batch, 784), np.float32))
    model = case.make()
    model.save(tmp_path / "model.keras")
    x = case.inputs(3)
    run = PEERS["scikit-learn"].make(Files({"keras": tmp_path / "model.keras"}, {}))
    np.testing.assert_allclose(run(x), model(x), rtol=1e-5)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(UnfitError, match="no MLP"):
        PEERS["scikit-learn"].make(Files({"keras": tmp_path / "other.keras"}, {}))


def test_a_format_that_is_not_there_is_named_with_its_reason() -> None:
    with pytest.raises(UnfitError, match="an ONNX model"):
        Files({"onnx": Path("x.onnx")}, {"keras": "an ONNX model"}).path("keras")
    assert Files({"onnx": Path("x.onnx")}, {"keras": "no"}).path("keras", "onnx") == Path("x.onnx")
