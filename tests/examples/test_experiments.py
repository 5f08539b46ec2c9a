"""The experiments: rows as data, one runner, own = Keras; the whole of them quickly as a slow test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun

pytest.importorskip("sklearn")

from tenun.examples.experiments import data, machine, page, runner
from tenun.examples.experiments.__main__ import main
from tenun.examples.experiments.checks import GradientCheck, LossCheck
from tenun.examples.experiments.grids import EXPERIMENTS
from tenun.examples.experiments.grids.report import LINES
from tenun.examples.experiments.job import Context, Experiment, Record, Row, at
from tenun.examples.experiments.loops import plain
from tenun.examples.experiments.spec import L, cnn, mlp, sequential
from tenun.examples.experiments.timing import fitting, in_turns
from tenun.examples.experiments.training import Training, compared
from tenun.examples.experiments.values import ValueCheck

ROOT = Path(tenun.__file__).parent


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(None, tmp_path, tmp_path, quick=True)


# ---- rows as data


def test_every_row_of_the_report_is_there(capsys: Any) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    reported = [row for e in EXPERIMENTS.values() for row in e.rows if row.report]
    assert len(reported) == 13 + 2 + 12 + 9  # CNN, final CNN, sentiment, dense
    for experiment in EXPERIMENTS.values():
        assert all(f"    {row.name}\n" in listed for row in experiment.rows)
        assert len({row.name for row in experiment.rows}) == len(experiment.rows)


def test_every_line_of_the_report_has_a_counterpart_or_says_why_not() -> None:
    lines = [line for part in LINES.values() for line in part]
    assert all(line.rows or line.note for line in lines)
    assert len({line.what for line in lines}) == len(lines)
    for line in lines:
        for name, patterns in line.rows.items():
            found = page.counterparts(line, EXPERIMENTS[name])
            for pattern in patterns:
                assert any(fnmatchcase(row.name, pattern) for row in found), (line.what, pattern)
    figures = " ".join(line.what for line in lines)
    for row in (row for e in EXPERIMENTS.values() for row in e.rows if row.report):
        first = row.report.replace("(", " ").split()[0]
        assert first in figures, (row.name, first)


def test_a_model_as_data_is_the_same_in_both_libraries() -> None:
    keras = pytest.importorskip("keras")
    layers = (L("Embedding", 20, 4), L("Bidirectional", L("LSTM", 3)), L("Dense", 2, activation="softmax"))
    ours, theirs = (sequential(library, (5,), "int32", layers) for library in (tenun, keras))
    assert [w.shape for w in ours.get_weights()] == [w.shape for w in theirs.get_weights()]
    assert repr(layers[1:]) == "(Bidirectional(LSTM(3)), Dense(2, activation='softmax'))"


# ---- data


def test_where_the_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(data.ENVIRONMENT, str(tmp_path))
    assert data.find(Path("given")) == Path("given") and data.find(None) == tmp_path
    monkeypatch.delenv(data.ENVIRONMENT)
    monkeypatch.setattr(data, "BESIDE", tmp_path / "none")
    assert data.find(None) is None


@pytest.mark.parametrize("name", data.SETS)
def test_stand_ins_have_the_form_of_the_data(name: str) -> None:
    made = data.STAND_INS[name]()
    folder = data.find(None)
    try:
        real = data.load(name, folder, quick=False)
    except data.MissingError as error:
        pytest.skip(str(error))
    for part in ("train", "valid", "test"):
        a, b = getattr(made, part), getattr(real, part)
        assert a.x.dtype == b.x.dtype and a.x.ndim == b.x.ndim and a.y.dtype == b.y.dtype and a.y.ndim == b.y.ndim
        assert (a.mask is None) == (b.mask is None) and len(a.x) == len(a.y) and len(b.x) == len(b.y)
        assert set(np.unique(a.y)) <= set(np.unique(b.y))


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(data.MissingError, match=r"cifar10: no cifar10.npz or cifar10_subset.npz in .* --quick"):
        data.load("cifar10", tmp_path, quick=False)
    assert "stand-in" in data.load("cifar10", tmp_path, quick=True).text


def test_files_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "smsa").mkdir()
    (tmp_path / "nusax").mkdir()
    (tmp_path / "JapaneseVowels").mkdir()
    for part in ("train", "valid", "test"):
        (tmp_path / "smsa" / f"{part}.tsv").write_text("bagus\tpositive\nbiasa saja\tneutral\n")
        (tmp_path / "nusax" / f"{part}.csv").write_text('id,text,label\n1,"buruk, sekali",negative\n')
    for part in ("TRAIN", "TEST"):
        path = tmp_path / "JapaneseVowels" / f"JapaneseVowels_{part}.ts"
        path.write_text("#c\n@data\n1,2,3:4,5,6:2\n7,8:9,10:1\n")
    assert data.smsa(tmp_path).test.y.tolist() == [2, 1] and data.smsa(tmp_path).test.x[1, 0] == "biasa saja"
    assert data.nusax(tmp_path).train.x.tolist() == [["buruk, sekali"]]
    test = data.vowels(tmp_path).test
    np.testing.assert_array_equal(test.x[1], [[7, 9], [8, 10], [0, 0]])
    assert test.mask is not None and test.mask.tolist() == [[True] * 3, [True, True, False]]
    assert test.y.tolist() == [[1, 1, 1], [0, 0, 0]]


# ---- jobs


def test_loops_over_the_kernel_compute_the_model() -> None:
    for layers in (cnn((4,), (5,), kernel=4), cnn((3, 3), pooling="AveragePooling2D")):
        model = sequential(tenun, (8, 8, 3), "float32", layers)
        x = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
        np.testing.assert_allclose(plain(layers, model.get_weights())(x), model.predict(x, verbose=0), atol=1e-6)


TEXTS = L("TextVectorization", max_tokens=60, output_sequence_length=12)
JOBS = {
    "dense": Training("mnist", mlp(8), 2, sklearn={"hidden_layer_sizes": (8,)}),
    "texts": Training("nusax", (L("Embedding", 60, 4), L("SimpleRNN", 4), L("Dense", 3, activation="softmax")), 1,
                      vectorizer=TEXTS),
    "masks": Training("vowels", (L("Masking"), L("LSTM", 4, return_sequences=True), L("Dense", 9, "softmax")), 1),
    "gradients": GradientCheck((L("LSTM", 3), L("Dense", 2)), (4, 3)),
    "loss": LossCheck((L("Dense", 3, activation="softmax"),), (5,), loss="sparse_categorical_crossentropy"),
    "value": ValueCheck("v / w"),
}  # fmt: skip


@pytest.mark.parametrize("name", JOBS)
def test_own_is_keras(name: str, context: Context) -> None:
    pytest.importorskip("tensorflow")
    job: Any = JOBS[name]
    record = json.loads(json.dumps(job.run(context)))
    assert job.agrees(record) is True, record
    if name == "dense":
        assert record["curve"] < 1e-4 and record["own"]["accuracy"] == record["keras"]["accuracy"]
        wrong = {**record, "run": {**record["run"], "f1": record["run"]["f1"] + 1e-3}}
        assert not job.agrees(wrong) and not job.agrees({**record, "first_steps": 1.0})
    if name == "texts":
        assert record["tokens"] is True and job.agrees({**record, "tokens": False}) is False
    if name == "value":
        assert record["gradients"] == 2 and not job.agrees({**record, "keras": {"value": 0.0, "gradient": 1e-3}})


def test_without_keras_it_trains_alone(context: Context) -> None:
    record = JOBS["dense"].run(replace(context, peers=frozenset()))
    assert set(record) == {"data", "epochs", "batch", "parameters", "own"} and JOBS["dense"].agrees(record) is None
    assert len(record["own"]["loss"]) == 2 and record["own"]["loss"][1] < record["own"]["loss"][0]


def test_curves_are_compared() -> None:
    own = {"loss": [2.0, 1.1], "val_loss": [2.0, 1.0], "steps": [3.0]}
    theirs = {"loss": [2.0, 1.0], "val_loss": [2.0, 1.0], "steps": [3.0]}
    found = compared(own, theirs)
    assert found["curve"] == pytest.approx(0.1) and found["first_steps"] == 0


def test_steps_are_timed_in_turns(context: Context) -> None:
    order: list[str] = []

    def engine(name: str, seconds: float) -> Any:
        def turn(part: data.Split) -> list[float]:
            assert len(part) % 4 == 0
            order.append(name)
            return [seconds] * 3

        return turn

    samples = data.Split(np.zeros((6, 2), np.float32), np.zeros(6, np.int32))
    turns = {"own": engine("own", 0.02), "keras": engine("keras", 0.03), "numba": engine("numba", 0.01)}
    found = in_turns(turns, samples, 4, context)
    assert found["timing"]["ratio"] == pytest.approx(1.5) and found["timing"]["ratios"]["numba"] == pytest.approx(3)
    assert found["timing"]["own"] == pytest.approx(20) and order == ["own", "keras", "numba"] * 4


def test_a_turn_leaves_out_its_start() -> None:
    model = sequential(tenun, (3,), "float32", mlp(4))
    model.compile("adam", "sparse_categorical_crossentropy")
    seconds = fitting(tenun, model, 4)(data.Split(np.zeros((24, 3), np.float32), np.zeros(24, np.int32)))
    assert len(seconds) == 6 - 3 and all(0 < each < 10 for each in seconds)


def test_times_take_the_place_of_those_before(context: Context, tmp_path: Path) -> None:
    rows = [Row("a", Clocked("a", 0)), Row("b", Clocked("none yet", 0)), Row("c", Counted("c", 0))]
    experiment, store = small(*rows), runner.Store(tmp_path, True)
    runner.run([experiment], store, context)
    store.path(experiment, rows[1]).unlink()
    CLOCKS.clear()
    assert runner.measure([experiment], store, context) == {} and CLOCKS == ["a"]
    record: Any = store.get(experiment, rows[0])
    assert record["timing"]["ratio"] == 4.0 and record["own"]["f1"] == 0.5 and "others" not in record["timing"]
    assert record["timed"]["others"] == 0.0 and not runner.busy(record)
    assert store.get(experiment, rows[1]) is None
    runner.measure([experiment], store, context)
    assert CLOCKS == ["a"]
    runner.measure([experiment], store, replace(context, peers=context.peers | {"numba"}))
    runner.measure([experiment], store, context, again=True)
    assert CLOCKS == ["a"] * 3
    store.put(experiment, rows[0], {**record, "timed": {**record["timed"], "others": 1.0}})
    runner.measure([experiment], store, context)
    assert CLOCKS == ["a"] * 4


# ---- the runner and the page


@dataclass(frozen=True)
class Counted:
    """A job that fails as often as it is told, and counts."""

    name: str
    fails: int
    equal: bool | None = True

    def run(self, context: Context) -> Record:
        CALLS.append(self.name)
        if CALLS.count(self.name) <= self.fails:
            raise ValueError("not yet")
        own = {"f1": 0.5, "loss": [2.0, 1.0], "val_loss": [2.0, 1.5]}
        return {
            "data": "none",
            "own": own,
            "keras": {**own, "f1": 0.75},
            "timing": {"ratio": 2.0, "ratios": {"own": 2.0}},
        }

    def agrees(self, record: Record) -> bool | None:
        return self.equal


@dataclass(frozen=True)
class Clocked(Counted):
    """One that has times, too."""

    def time(self, context: Context) -> Record:
        CLOCKS.append(self.name)
        return {"timing": {"ratio": 4.0}, "others": 0.0}


CALLS: list[str] = []
CLOCKS: list[str] = []


def small(*rows: Row) -> Experiment:
    columns = ("F1", "own.f1", ".2f"), ("ratio", "timing.ratio", ".1f")
    return Experiment(
        "small", "A small one", "About.", rows, columns, (("F1", "own.f1"),), True, against=("keras.f1", 1.0)
    )


def test_results_are_kept_and_failures_tried_again(context: Context, tmp_path: Path) -> None:
    CALLS.clear()
    rows = [Row("a", Counted("a", 0), ".7000"), Row("again a", Counted("a", 0)), Row("b", Counted("b", 1, False))]
    experiment, store = small(*rows), runner.Store(tmp_path, True)
    assert runner.run([experiment], store, context) == {"small: b": "ValueError: not yet"}
    assert CALLS == ["a", "b"]
    assert runner.run([experiment], store, context) == {} and CALLS == ["a", "b", "b"]
    assert runner.run([experiment], store, context) == {} and CALLS == ["a", "b", "b"]
    runner.run([experiment], store, context, again=True)
    assert CALLS == ["a", "b", "b", "a", "b"]
    runner.run([experiment], store, replace(context, backend="numba"))
    assert CALLS[5:] == ["a", "b"]
    record = store.get(experiment, rows[0])
    assert record is not None and record["agrees"] is True and record["machine"]["cores"] >= 1


def test_the_page(context: Context, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    experiment = small(Row("a", Counted("a", 0), ".7000"), Row("b", Counted("c", 0, False)), Row("c", Counted("d", 99)))
    quick = runner.Store(tmp_path, True)
    runner.run([experiment], quick, context)
    record: Any = quick.get(experiment, experiment.rows[0])
    quick.put(experiment, experiment.rows[0], {**record, "others": 0.0})
    quick.put(experiment, experiment.rows[1], {**quick.get(experiment, experiment.rows[1]), "others": 2.0})
    runner.Store(tmp_path, False).put(experiment, experiment.rows[0], {**record, "others": 0.0, "quick": False})
    text = page.write([experiment], runner.Store(tmp_path, False), tmp_path).read_text()
    assert "| a | 0.50 | 2.0 | .7000 | +0.05 | yes |" in text
    assert "| b (quick) | 0.50 | (2.0) |  |  | **no** |" in text
    assert "from 2.00 to 2.00, 2.00 in the geometric mean; below 1 in 0." in text
    assert "| six activations: 89.55 97.29 96.16 96.57 96.27 97.18 |" in text and "| a GPU |  |  |  | not here" in text
    assert "- not run: A small one: c\n" in text
    assert "2 of 3 rows have been run" in text and "**not equal**: A small one: b" in text
    slow = {**record, "others": 0.0, "quick": False, "timing": {"ratio": 0.5, "ratios": {"own": 0.5, "numba": 1.25}}}
    runner.Store(tmp_path, False).put(experiment, experiment.rows[0], slow)
    again = page.write([experiment], runner.Store(tmp_path, False), tmp_path).read_text()
    assert "below 1 in 1.\n\n- slower here: A small one: a, 0.50; 1.25 by the backend numba\n" in again
    for name in ("small-bars.svg", "small-curves.svg"):
        assert f"(experiments/{name})" in text and (tmp_path / "experiments" / name).read_bytes().startswith(b"<?xml")


def test_what_others_do_is_measured() -> None:
    if machine.busy_seconds() is None:
        pytest.skip("the system does not say")
    alone, others = machine.Others(), machine.Others()
    burn = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.6: pass"]
    subprocess.run(burn, check=True)
    spent = others()
    assert spent is not None and spent > 0.1
    busy = machine.busy_seconds()
    assert busy is not None and busy > 0 and alone() is not None


def test_paths_into_records() -> None:
    record = {"keras": {"loss": [1.0, 2.0]}}
    assert at(record, "keras.loss.-1") == 2.0
    assert at(record, "keras.f1") is at(record, "keras.loss.7") is at(record, "keras.loss.0.x") is None


# ---- all of it


@pytest.mark.slow
def test_own_is_keras_in_every_row(tmp_path: Path) -> None:
    """`run all --quick`, as a person would; on a quiet machine with two cores in less than ten minutes."""
    pytest.importorskip("tensorflow")
    pytest.importorskip("matplotlib")
    start = time.perf_counter()
    command = [sys.executable, "-m", "examples.experiments", "run", "all", "--quick", "--out", str(tmp_path)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})
    seconds = time.perf_counter() - start
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-4000:]
    store = runner.Store(tmp_path, True)
    records = {f"{e.name}: {row.name}": store.get(e, row) for e in EXPERIMENTS.values() for row in e.rows}
    assert not [name for name, record in records.items() if record is None]
    compared = {name: r["agrees"] for name, r in records.items() if r is not None and r["agrees"] is not None}
    assert all(compared.values()), [name for name, ok in compared.items() if not ok]
    assert len(compared) == len(records) - len(EXPERIMENTS["pictures"].rows) - len(EXPERIMENTS["memory"].rows)
    if not any(runner.busy(r) for r in records.values() if r is not None):
        assert seconds < 600
