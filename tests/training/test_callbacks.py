"""Callbacks against Keras': both are driven by the same logs, and must do the same."""

from __future__ import annotations

import http.server
import importlib.util
import inspect
import io
import itertools
import json
import math
import re
import sys
import threading
import time
import types
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import ml_dtypes
import numpy as np
import pytest

from tenun.errors import LoadError, RunError, TenunError, UnsupportedError
from tenun.training import callbacks as ours
from tenun.training.callbacks import HOOKS, Callback, CallbackList, History
from tenun.training.data import batches


class Rate:
    """An optimiser's learning rate, kept in float32."""

    iterations = 0

    def __init__(self, rate: float = 0.1) -> None:
        self.learning_rate = rate

    @property
    def learning_rate(self) -> float:
        return float(self._rate)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._rate = np.float32(value)


class FakeModel:
    """What callbacks need of a model; files hold the value of the only weight."""

    stop_training = False
    history: Any = None

    def __init__(self) -> None:
        self.optimizer = Rate()
        self.w = [np.zeros(1, np.float32)]

    def get_weights(self) -> list[np.ndarray]:
        return [w.copy() for w in self.w]

    def set_weights(self, weights: list[np.ndarray]) -> None:
        self.w = [np.array(w) for w in weights]

    def save(self, path: str, overwrite: bool = False) -> None:
        assert overwrite
        Path(path).write_text(f"model {self.get_weights()[0].ravel()[0]}")

    def save_weights(self, path: str, overwrite: bool = False) -> None:
        assert overwrite
        Path(path).write_text(f"weights {self.get_weights()[0].ravel()[0]}")


@pytest.fixture(scope="session")
def keras_model(keras: Any) -> Any:
    """A compiled model with metrics, whose methods for saving are FakeModel's."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    metrics = ["accuracy", "mae", keras.metrics.AUC(name="area"), keras.metrics.MeanSquaredError(name="far")]
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=metrics)
    model.train_on_batch(np.zeros((2, 1)), np.zeros((2, 1)))
    model.save = types.MethodType(FakeModel.save, model)
    model.save_weights = types.MethodType(FakeModel.save_weights, model)
    return model


def fresh(model: Any) -> Any:
    model.optimizer.learning_rate = 0.1
    model.set_weights([np.zeros((1, 1), np.float32)])
    model.stop_training = False
    return model


def drive(calls: Any, model: Any, script: list[dict[str, float]], steps: int = 3) -> list[Any]:
    """Train as `fit` does, with scripted figures; weights count the batches.  The learning rate after each epoch."""
    calls.on_train_begin()
    rates, done, logs = [], 0, {}
    for epoch, logs in enumerate(script):
        calls.on_epoch_begin(epoch)
        for batch in range(steps):
            calls.on_train_batch_begin(batch)
            done += 1
            model.set_weights([np.full((1, 1), done, np.float32)])
            calls.on_train_batch_end(batch, {**logs, "loss": logs.get("loss", 0) + 0.25 * batch})
            if model.stop_training:
                break
        calls.on_epoch_end(epoch, logs)
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            break
    calls.on_train_end(logs)
    return rates


KEPT = "wait best best_epoch stopped_epoch cooldown_counter best_weights".split()  # noqa: SIM905


def outcome(made: Any, lists: Any, model: Any, script: Any, folder: Path, capsys: Any) -> dict[str, Any]:
    """All that can be seen of a run."""
    capsys.readouterr()
    folder.mkdir()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        callback = made(folder)
        calls = lists([callback], add_history=True, model=fresh(model), epochs=len(script), steps=3, verbose=0)
        rates = drive(calls, model, script)
    history = model.history
    return {
        "rates": rates, "history": history.history, "epochs": history.epoch,
        "weight": float(model.get_weights()[0].ravel()[0]),
        "files": {p.name: p.read_bytes() for p in sorted(folder.iterdir())},
        "said": capsys.readouterr().out.replace(str(folder), ""),
        "warned": sorted(str(w.message) for w in seen if issubclass(w.category, UserWarning)),
        "kept": {k: np.array(getattr(callback, k)).tolist() for k in KEPT if hasattr(callback, k)},
    }  # fmt: skip


def scripts(seed: int, n: int = 9) -> list[dict[str, float]]:
    rng = np.random.default_rng(seed)
    names = ["loss", "val_loss", "accuracy", "val_mae"]
    script = [{k: round(float(v), 1) for k, v in zip(names, rng.uniform(0, 1, 4))} for _ in range(n)]
    if seed % 3 == 2:
        script[int(rng.integers(n))]["val_loss"] = math.nan
    return script


def both(keras: Any, model: Any, name: str, config: dict[str, Any], tmp: Path, capsys: Any, seeds: Any) -> None:
    """The class with a configuration does the same here and in Keras; "DIR" stands for an empty folder."""
    filled = lambda d: {k: v.replace("DIR", str(d)) if isinstance(v, str) else v for k, v in config.items()}  # noqa: E731
    for seed in seeds:
        results = [
            outcome(lambda d, m=module: getattr(m, name)(**filled(d)), lists, mine, scripts(seed), tmp / tag, capsys)
            for tag, module, lists, mine in (
                (f"keras{seed}", keras.callbacks, keras.callbacks.CallbackList, model),
                (f"ours{seed}", ours, CallbackList, FakeModel()),
            )
        ]
        want, got = results
        assert repr(got) == repr(want)  # NaN and all


def configs(**choices: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


# ---- the interface


def test_all_classes_with_keras_arguments(keras: Any) -> None:
    public = {n: c for n, c in vars(keras.callbacks).items() if inspect.isclass(c)}
    assert set(public) <= set(vars(ours))
    for name, cls in public.items():
        if name in ("Callback", "CallbackList", "OrbaxCheckpoint"):
            continue
        want = [(p.name, p.default, p.kind) for p in inspect.signature(cls).parameters.values()]
        got = [(p.name, p.default, p.kind) for p in inspect.signature(getattr(ours, name)).parameters.values()]
        assert got == want, name
    hooks = {n for n in vars(keras.callbacks.Callback) if n.startswith("on_")}
    assert hooks == set(HOOKS)
    for hook in HOOKS:
        want = inspect.signature(getattr(keras.callbacks.Callback, hook)).parameters
        assert list(inspect.signature(getattr(Callback, hook)).parameters) == list(want)


def test_hooks_reach_all_callbacks(keras: Any, keras_model: Any) -> None:
    def recorder(base: Any, seen: list[Any]) -> Any:
        def noting(hook: str) -> Any:
            return lambda self, *args, **kwargs: seen.append((hook, args, kwargs.get("logs")))

        return type("Recorder", (base,), {h: noting(h) for h in HOOKS})()

    seen: tuple[list[Any], list[Any]] = ([], [])
    for lists, base, notes, model in (
        (keras.callbacks.CallbackList, keras.callbacks.Callback, seen[0], keras_model),
        (CallbackList, Callback, seen[1], FakeModel()),
    ):
        calls = lists([recorder(base, notes)], model=model)
        drive(calls, fresh(model), [{"b": 1, "a": 2, "c": {"d": 3}}], steps=1)
        calls.on_test_begin()
        calls.on_test_batch_begin(0)
        calls.on_test_batch_end(0, {"x": np.float32(0.5)})
        calls.on_test_end({"y": np.ones(2)})
        for hook in ("on_predict_begin", "on_predict_end"):
            getattr(calls, hook)()
        calls.on_predict_batch_begin(4)
        calls.on_predict_batch_end(4, {"outputs": "text"})
    flat = [
        [
            (hook, *[v if not isinstance(v, dict) else list(v.items()) for v in (*args, logs or {})])
            for hook, args, logs in s
        ]
        for s in seen
    ]
    flat = [[(h, [x for x in rest if x != []]) for h, *rest in s] for s in flat]
    assert repr(flat[1]) == repr(flat[0]) and len(flat[0]) == 14


def test_old_names_of_batch_hooks() -> None:
    seen = []

    class Old(Callback):
        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(batch)

        on_batch_end = on_batch_begin

    calls = CallbackList(Old())
    calls.on_train_batch_begin(1)
    calls.on_train_batch_end(2)
    calls.on_batch_end(3)
    assert seen == [1, 2, 3]


def test_lists_of_callbacks() -> None:
    model, mine = FakeModel(), History()
    calls = CallbackList([[Callback()], (mine,)], add_history=True, add_progbar=True, model=model, verbose=0)
    assert [type(c).__name__ for c in calls.callbacks] == ["Callback", "History", "ProgbarLogger"]
    assert model.history is mine and mine.params == {"verbose": 0} and mine.model is model
    given = History()
    calls = CallbackList(calls, model=model, history=given, params={"verbose": "auto", "epochs": 1, "steps": None})
    assert model.history is given and given in calls.callbacks
    assert len(CallbackList(None, params={"verbose": 0}).callbacks) == 0
    late = [ours.BackupAndRestore("folder"), ours.LossCurve()]
    calls = CallbackList([*late, Callback()], add_history=True, add_progbar=True)
    assert calls.callbacks[-2:] == late[::-1] and all(c.peers is calls.callbacks for c in late)
    for wrong in (Callback, print, "early"):
        with pytest.raises(RunError, match="is no callback"):
            CallbackList([wrong])


def test_callbacks_share_the_logs() -> None:
    """What one callback adds, those after it see, and the history."""
    model = FakeModel()
    calls = CallbackList([ours.LearningRateScheduler(lambda e, r: r * 0.5)], add_history=True, model=model)
    logs = {"loss": 1}
    calls.on_train_begin()
    calls.on_epoch_begin(0)
    calls.on_epoch_end(0, logs)
    assert model.history.history == {"loss": [1.0], "learning_rate": [float(np.float32(0.05))]} and logs == {"loss": 1}


def test_lambda_callback() -> None:
    seen: list[Any] = []
    made = ours.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((epoch, logs)),
        on_test_begin=lambda logs: seen.append("test"),
        tag=3,
    )
    calls = CallbackList([made])
    calls.on_epoch_begin(1)
    calls.on_epoch_end(1, {"a": 1})
    calls.on_test_begin()
    assert seen == [(1, {"a": 1.0}), "test"] and made.tag == 3
    with pytest.raises(RunError, match="no hook on_bacth_end"):
        ours.LambdaCallback(on_bacth_end=print)


# ---- following a figure


@pytest.mark.parametrize(
    "config",
    [
        *configs(monitor=["val_loss", "val_mae"], patience=[0, 2], min_delta=[0, -0.15], verbose=[1]),
        *configs(monitor=["accuracy"], mode=["auto", "max", "odd"], patience=[1], min_delta=[0.05]),
        *configs(baseline=[0.3, 0.9], patience=[1, 3], restore_best_weights=[True], verbose=[1]),
        *configs(restore_best_weights=[True, False], start_from_epoch=[4], patience=[1], mode=["min"]),
        *configs(monitor=["val_nothing"], mode=["max"]),
    ],
    ids=str,
)
def test_early_stopping(keras: Any, keras_model: Any, config: Any, tmp_path: Path, capsys: Any) -> None:
    both(keras, keras_model, "EarlyStopping", config, tmp_path, capsys, range(5))


@pytest.mark.parametrize(
    "config",
    [
        *configs(patience=[1, 2], cooldown=[0, 1, 2], verbose=[1]),
        *configs(monitor=["accuracy"], factor=[0.5], patience=[0, 1], min_delta=[0, 0.2], min_lr=[0.03]),
        *configs(monitor=["val_gone"], mode=["min"], patience=[1]),
        *configs(monitor=["learning_rate"], mode=["max"], patience=[1], verbose=[1]),
    ],
    ids=str,
)
def test_reduce_on_plateau(keras: Any, keras_model: Any, config: Any, tmp_path: Path, capsys: Any) -> None:
    both(keras, keras_model, "ReduceLROnPlateau", config, tmp_path, capsys, range(6))


SCHEDULES: dict[str, Any] = {
    "decay": lambda epoch, rate: rate * 0.9,
    "steps": lambda epoch: 0.1 / (1 + epoch),
    "numpy": lambda epoch, rate: np.float32(rate) * np.float32(0.7),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_scheduler(keras: Any, keras_model: Any, name: str, tmp_path: Path, capsys: Any) -> None:
    config = {"schedule": SCHEDULES[name], "verbose": 1}
    both(keras, keras_model, "LearningRateScheduler", config, tmp_path, capsys, range(2))


@pytest.mark.parametrize(
    "config",
    [
        {"filepath": "DIR/m.keras", "verbose": 1},
        {"filepath": "DIR/{epoch:02d}-{val_loss:.2f}.keras", "save_freq": "epoch"},
        {"filepath": "DIR/{epoch}-{batch:03d}-{loss}.h5", "save_freq": 2, "verbose": 1},
        {"filepath": "DIR/{epoch}-{batch}.weights.h5", "save_freq": 4, "save_weights_only": True},
        {"filepath": "DIR/{epoch}.keras", "save_best_only": True, "verbose": 1},
        {"filepath": "DIR/{epoch}.keras", "save_best_only": True, "monitor": "accuracy"},
        {"filepath": "DIR/{epoch}.keras", "save_best_only": True, "initial_value_threshold": 0.4, "verbose": 1},
        {"filepath": "DIR/{epoch}.keras", "save_best_only": True, "monitor": "val_none", "mode": "max"},
        {"filepath": "DIR/{epoch}.keras", "mode": "most"},
    ],
    ids=str,
)
def test_model_checkpoint(keras: Any, keras_model: Any, config: Any, tmp_path: Path, capsys: Any) -> None:
    both(keras, keras_model, "ModelCheckpoint", config, tmp_path, capsys, range(4))


def test_checkpoint_makes_folders_and_falls_back(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "m.keras"
    made = ours.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    made.set_model(FakeModel())
    with pytest.warns(UserWarning, match="scalar value"):
        made.on_epoch_end(0, {"loss": np.ones(2)})
    assert path.read_text() == "model 0.0"
    made = ours.ModelCheckpoint(tmp_path / "{epoch}.keras", monitor="loss", save_best_only=True, save_freq=1)
    made.set_model(FakeModel())
    for batch, loss in enumerate([3, 2, 4]):  # Keras breaks off at the second batch
        made.on_train_batch_end(batch, {"loss": loss})
    assert made.best == 2


def test_direction_of_all_metrics(keras: Any) -> None:
    """The tables say what Keras' classes say."""
    needs = {"num_classes": 2, "target_class_ids": [1], "specificity": 0.5, "sensitivity": 0.5, "recall": 0.5}
    needs["precision"] = 0.5
    for name, cls in vars(keras.metrics).items():
        if not inspect.isclass(cls) or name in ("Metric", "MeanMetricWrapper"):
            continue
        wanted = [p.name for p in inspect.signature(cls).parameters.values() if p.default is p.empty]
        metric = cls(**{k: needs[k] for k in wanted if k in needs})
        ups = {"up": ours.HIGHER, "down": ours.LOWER}
        found = next((k for k, names in ups.items() if name in names), None)
        assert found == getattr(metric, "_direction", None), name


def test_direction_from_the_models_metrics(keras: Any, keras_model: Any) -> None:
    names = {"AUC": "area", "MeanSquaredError": "far"}
    model = FakeModel()
    model.metrics = [type(cls, (), {"name": name})() for cls, name in names.items()]
    for name in (*names.values(), "accuracy", "val_loss"):
        pairs = []
        for module, mine in ((keras.callbacks, keras_model), (ours, model)):
            made = module.EarlyStopping(monitor=name)
            made.set_model(mine)
            made.on_epoch_end(0, {name: 0.5})
            pairs.append([bool(made.monitor_op(1.0, v)) for v in (0.5, 2.0)])
        assert pairs[0] == pairs[1]


def test_names_of_metrics() -> None:
    pytest.importorskip("tenun.training.metrics")
    for name, higher in {"mae": False, "val_binary_accuracy": True, "auc": True, "f1_score": True}.items():
        made = ours.EarlyStopping(monitor=name)
        made.set_model(FakeModel())
        made.on_epoch_end(0, {name: 0.5})
        assert (made.monitor_op is ours.greater) == higher
    with pytest.raises(RunError, match="maximized or minimized"):
        made = ours.EarlyStopping(monitor="val_odd")
        made.set_model(FakeModel())
        made.on_epoch_end(0, {"val_odd": 0.5})


# ---- files


@pytest.mark.parametrize(
    "config", configs(filename=["DIR/log.csv"], separator=[",", ";"], append=[False, True]), ids=str
)
def test_csv_logger(keras: Any, keras_model: Any, config: Any, tmp_path: Path, capsys: Any) -> None:
    both(keras, keras_model, "CSVLogger", config, tmp_path, capsys, range(2))


def test_csv_of_odd_figures_and_appended(keras: Any, keras_model: Any, tmp_path: Path) -> None:
    files = []
    for module, model in ((keras.callbacks, keras_model), (ours, FakeModel())):
        path = tmp_path / f"{module.__name__}.csv"
        made = module.CSVLogger(str(path), append=True)
        made.set_model(model)
        for _ in range(2):
            made.on_train_begin()
            made.on_epoch_end(0, {"loss": 1.5, "f1": np.array([0.5, 0.25]), "zero": np.array(2.0), "text": "a,b"})
            made.on_epoch_end(1, {"loss": 1.25, "val_loss": 3.0})
            made.on_train_end()
        files.append(path.read_bytes())
    assert files[0] == files[1] and files[0].count(b"epoch") == 1


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("raise_error", [False, True])
def test_terminate(keras: Any, keras_model: Any, value: float, raise_error: bool, capsys: Any) -> None:
    results = []
    for module, model in ((keras.callbacks, keras_model), (ours, FakeModel())):
        made = module.TerminateOnNaN(raise_error)
        made.set_model(fresh(model))
        try:
            made.on_train_batch_end(7, {"loss": value})
            raised = ""
        except (RuntimeError, TenunError) as error:
            raised = str(error).split("\n")[0]
        results.append((raised, model.stop_training, capsys.readouterr().out))
    assert results[0] == results[1]


# ---- backups


class Trainer(FakeModel):
    """Least squares by momentum and a learning rate that callbacks change, with noise from a generator."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.w = [self.rng.normal(size=(3,)).astype(np.float32)]
        self.speed = np.zeros(3, np.float32)
        self.seed = seed
        self.sums = np.zeros(2)

    def training_state(self) -> dict[str, np.ndarray]:
        noise = np.frombuffer(json.dumps(self.rng.bit_generator.state).encode(), np.uint8)
        rate = np.float32(self.optimizer.learning_rate)
        half = self.speed.astype(ml_dtypes.bfloat16)
        state = {"w/0": self.w[0], "speed": self.speed, "noise": noise, "rate": rate, "half": half}
        return {k: np.array(v) for k, v in {**state, "seed": self.seed, "sums": self.sums}.items()}

    def set_training_state(self, state: dict[str, np.ndarray]) -> None:
        assert state["half"].dtype == ml_dtypes.bfloat16 and state["rate"].shape == ()
        self.w, self.speed, self.seed = [state["w/0"]], state["speed"], int(state["seed"])
        self.optimizer.learning_rate = float(state["rate"])
        self.rng.bit_generator.state = json.loads(state["noise"].tobytes())
        self.sums = state["sums"]

    def step(self, batch: Any) -> float:
        error = batch.x @ self.w[0] - batch.y
        gradient = batch.x.T @ error / batch.size + self.rng.normal(size=3).astype(np.float32) * 0.3
        self.speed = np.float32(0.9) * self.speed - np.float32(self.optimizer.learning_rate) * gradient
        self.w = [self.w[0] + self.speed]
        return float((error**2).mean())

    def fit(self, extra: Any, epochs: int = 7, steps: int | None = None) -> History:
        x = np.random.default_rng(0).normal(size=(50, 3))
        data = batches(x, x @ [1.0, 2.0, 3.0], batch_size=16, shuffle=True, seed=self.seed, steps=steps)
        calls = CallbackList(extra, model=self, history=History(), params={"verbose": 0, "epochs": epochs})
        self.stop_training, self.resume_at = False, None
        calls.on_train_begin()
        data.seed = self.seed
        first, skipped = self.resume_at or (0, 0)
        for epoch in range(first, epochs):
            calls.on_epoch_begin(epoch)
            self.sums = self.sums if skipped else np.zeros(2)
            for number, batch in enumerate(data.epoch(epoch, skipped), skipped):
                calls.on_train_batch_begin(number)
                self.sums = self.sums + [self.step(batch), 1]
                calls.on_train_batch_end(number, {"loss": self.sums[0] / self.sums[1]})
            skipped = 0
            calls.on_epoch_end(epoch, {"loss": self.sums[0] / self.sums[1]})
            if self.stop_training:
                break
        calls.on_train_end()
        return self.history


class Kill(Callback):
    def __init__(self, at: int) -> None:
        self.left = at

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def companions(folder: Path) -> list[Any]:
    return [
        ours.EarlyStopping("loss", patience=3, restore_best_weights=True),
        ours.ReduceLROnPlateau("loss", patience=1, factor=0.5, cooldown=1),
        ours.ModelCheckpoint(folder / "{epoch}.keras", "loss", save_best_only=True),
        ours.LearningRateScheduler(lambda epoch, rate: rate * 0.97),
    ]


@pytest.mark.parametrize("save_freq", ["epoch", 1, 3])
@pytest.mark.parametrize("killed", [1, 4, 5, 13, 22])
def test_killed_training_goes_on_with_the_same_bits(save_freq: Any, killed: int, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    want = Trainer(1)
    want_history = want.fit([ours.BackupAndRestore(tmp_path / "other"), *companions(tmp_path / "one")])
    got = Trainer(1)
    with pytest.raises(KeyboardInterrupt):
        made = ours.BackupAndRestore(tmp_path / "backup", save_freq)
        got.fit([made, *companions(tmp_path / "two"), Kill(killed)])
    # another process; where nothing was saved yet, it starts like the first one
    got = Trainer(2) if (tmp_path / "backup").exists() else Trainer(1)
    again = ours.BackupAndRestore(tmp_path / "backup", save_freq)
    history = got.fit([again, *companions(tmp_path / "two")])
    assert got.w[0].tobytes() == want.w[0].tobytes() and got.speed.tobytes() == want.speed.tobytes()
    assert history.history == want_history.history and history.epoch == want_history.epoch
    files = [{p.name: p.read_text() for p in (tmp_path / f).iterdir()} for f in ("one", "two")]
    assert files[0] == files[1]
    assert not (tmp_path / "backup").exists()


def test_backups_kept(tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    keep = lambda: ours.BackupAndRestore(folder, double_checkpoint=True, delete_checkpoint=False)  # noqa: E731
    Trainer(1).fit([keep()], epochs=3)
    assert sorted(p.name for p in folder.iterdir()) == ["latest.npz", "latest.npz.bkp"]
    done = Trainer(2)
    assert done.fit([keep()], epochs=3).epoch == [0, 1, 2]  # restored, nothing left to do
    (folder / "latest.npz").write_bytes(b"PK broken")
    further, want = Trainer(2), Trainer(1)
    assert further.fit([keep()], epochs=5).epoch == [0, 1, 2, 3, 4]
    want.fit([ours.BackupAndRestore(tmp_path / "none")], epochs=5)
    assert further.w[0].tobytes() == want.w[0].tobytes()
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(LoadError, match=r"(?s)the backup cannot be read.*latest.npz.bkp"):
        Trainer(2).fit([keep()])
    (folder / "mine.txt").touch()
    made = ours.BackupAndRestore(folder)
    made.set_model(Trainer(1))
    made.on_train_end()
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]  # what is not ours stays


def test_backups_hold_no_pickles() -> None:
    with pytest.raises(RunError, match="odd holds Python objects"):
        ours.packed({"odd": np.array([None])}, {})
    arrays = {"a/b.c": np.arange(3), "half": np.ones((2, 1), ml_dtypes.bfloat16), "none": np.zeros((0, 2), bool)}
    named, facts = ours.unpacked(ours.packed(arrays, {"best": math.inf, "f": np.float32(0.1), "v": np.ones(2)}))
    assert facts == {"best": math.inf, "f": float(np.float32(0.1)), "v": [1, 1]}
    for name, array in arrays.items():
        assert named[name].dtype == array.dtype and named[name].shape == array.shape
        assert named[name].tobytes() == array.tobytes()


# ---- averages of weights


class Averaging(FakeModel):
    def __init__(self, weight: np.ndarray, average: np.ndarray) -> None:
        super().__init__()
        self.w = [weight, np.full(2, 7.0, np.float32)]
        self.weights = [types.SimpleNamespace(name=n) for n in ("dense.kernel", "norm.mean")]
        self.trainable_weights = self.weights[:1]
        self.states = {"optimizer/dense.kernel/average": average}
        self.optimizer.averages = lambda ps: {p.name: f"optimizer/{p.name}/average" for p in ps}  # type: ignore[attr-defined]


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_swapped_averages(keras: Any, swap_on_epoch: bool) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), "mse")
    rng = np.random.default_rng(0)
    for _ in range(3):
        model.train_on_batch(rng.normal(size=(4, 2)), rng.normal(size=(4, 3)))
    average = model.optimizer._model_variables_moving_average[0]
    mine = Averaging(model.get_weights()[0], np.array(average))
    pair = [(keras.callbacks.SwapEMAWeights(swap_on_epoch), model), (ours.SwapEMAWeights(swap_on_epoch), mine)]
    for callback, each in pair:
        callback.set_model(each)
        callback.set_params({"epochs": 2})
    test, predict = ("on_test_begin", "on_test_end"), ("on_predict_begin",)
    for epoch in range(2):
        for hook in ("on_epoch_begin", *test, "on_epoch_end", *test, *predict):
            for callback, _ in pair:
                getattr(callback, hook)(*([epoch] if "epoch" in hook else []))
            got, held = mine.w[0], mine.states["optimizer/dense.kernel/average"]
            np.testing.assert_allclose(got, model.get_weights()[0], rtol=1e-5, atol=1e-6, err_msg=hook)
            np.testing.assert_allclose(held, np.array(average), rtol=1e-5, atol=1e-6, err_msg=hook)
            assert (mine.w[1] == 7).all()
        for callback, _ in pair:  # Keras forgets to put the weights back after predict
            callback._swap_variables() if callback is pair[0][0] else callback.on_predict_end()
            callback._ema_weights_in_model = False


def test_no_averages_to_swap() -> None:
    model = Averaging(np.zeros(2), np.zeros(2))
    made = ours.SwapEMAWeights()
    made.set_model(model)
    model.states.clear()
    with pytest.raises(RunError, match="has not made a step"):
        made.on_test_begin()
    model.optimizer.averages = lambda ps: {}  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="use_ema=False"):
        made.on_test_begin()


# ---- what is printed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    monkeypatch.setattr(time, "perf_counter", made)
    return made


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def watch(logger: Any, lists: Any, model: Any, clock: Clock, verbose: Any, target: int | None, unit: float) -> None:
    """Two epochs with validation, an evaluation of its own, a prediction."""
    figures = {"loss": 0.123456, "mae": 0.0004, "f1": 12.0}
    calls = lists([logger()], model=model, verbose=verbose, epochs=2, steps=target)
    calls.on_train_begin()
    for epoch in range(2):
        calls.on_epoch_begin(epoch)
        for batch in range(12):
            clock.now += unit * (5 if batch == 0 else 1)
            calls.on_train_batch_end(batch, figures)
        calls.on_test_begin()
        calls.on_test_batch_end(0, figures)
        calls.on_test_end(figures)
        calls.on_epoch_end(epoch, {**figures, "val_loss": 2.5})
    calls.on_train_end()
    calls = lists([logger()], model=model, verbose=verbose, epochs=1, steps=1)
    for what in ("test", "predict"):
        getattr(calls, f"on_{what}_begin")()
        clock.now += unit
        getattr(calls, f"on_{what}_batch_end")(0, figures)
        getattr(calls, f"on_{what}_end")(*([figures] if what == "test" else []))


def last_drawings(text: str) -> list[str]:
    """The lines that stay: colours, and what is drawn over, left out."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    lines = [re.split(r"[\r\x08]+", line)[-1].rstrip() for line in text.split("\n")]
    return [line.replace("━", " ") for line in lines if line]


@pytest.mark.parametrize("unit", [0.00002, 0.02, 3.0])
@pytest.mark.parametrize("target", [12, None])
@pytest.mark.parametrize("verbose", [0, 1, 2, "auto"])
@pytest.mark.parametrize("terminal", [False, True])
def test_progress(
    keras: Any, keras_model: Any, clock: Clock, monkeypatch: Any, unit: float, target: Any, verbose: Any, terminal: bool
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    found = []
    for module, model in ((keras.callbacks, keras_model), (ours, FakeModel())):
        clock.now = 100.0
        out = Terminal() if terminal and module is ours else io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        watch(module.ProgbarLogger, module.CallbackList, model, clock, verbose, target, unit)
        found.append(out.getvalue())
    monkeypatch.undo()
    want, got = (last_drawings(text) for text in found)
    if verbose == 2:  # Keras puts numbers below 0.001 in another way here only
        want = [line.replace("0.0004", "4.0000e-04") for line in want]
    assert got == want
    if not terminal:
        assert "\x1b" not in found[1] and "\r" not in found[1]


def test_long_lines_are_drawn_over(monkeypatch: Any, clock: Clock) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    bar = ours.Progbar(3)
    for i in range(1, 4):
        clock.now += 1
        bar.update(i, {"a_long_name": 1.0, "another_one": 2.0}, finalize=i == 3)
    turns = (out.getvalue().count("\n") - 1) // 3  # in each of three drawings
    assert turns > 1 and out.getvalue().count("\x1b[1A") == 2 * turns


def test_drawings_are_rare(monkeypatch: Any, clock: Clock) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    bar = ours.Progbar(1000)
    for i in range(1000):
        clock.now += 0.001
        bar.update(i, {})
    assert 15 < out.getvalue().count("/1000") < 25


def test_progress_in_a_notebook(monkeypatch: Any, clock: Clock, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    bar = ours.Progbar(2)
    bar.update(1, {"loss": 1.0})
    clock.now += 1
    bar.update(2, {"loss": 0.5}, finalize=True)
    drawn = capsys.readouterr().out
    assert drawn.count("\r") == 2 and drawn.endswith("loss: 0.5000\n") and "\x1b" not in drawn


def test_progress_in_ascii(monkeypatch: Any) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    ours.Progbar(4).update(4, {"loss": 1.0}, finalize=True)
    out.flush()
    assert b"4/4 ==================== 0s" in out.buffer.getvalue()


# ---- pictures


def curve(made: Any, losses: list[Any]) -> Any:
    made.set_model(FakeModel())
    made.on_train_begin()
    for epoch, logs in enumerate(losses):
        made.on_epoch_end(epoch, logs)
    return made


LOSSES = [{"loss": 1.0 / (i + 1), **({"val_loss": 1.2 / (i + 1)} if i % 2 else {})} for i in range(8)]


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_loss_curve_writes_a_picture(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"loss.{ending}"
    curve(ours.LossCurve(path=path, log_scale=ending == "svg"), LOSSES)
    first = path.read_bytes()
    assert first.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending])
    curve(ours.LossCurve(path=path, log_scale=ending == "svg"), LOSSES)
    assert path.read_bytes() == first and [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(UnsupportedError, match="cannot write loss.gif"):
        ours.LossCurve(path="loss.gif")


def test_loss_curve_as_a_figure() -> None:
    pytest.importorskip("matplotlib")
    made = curve(ours.LossCurve(), LOSSES)
    lines = made.figure().axes[0].lines
    assert [line.get_label() for line in lines] == ["loss", "val_loss"]
    np.testing.assert_array_equal(lines[0].get_ydata(), [x["loss"] for x in LOSSES])
    np.testing.assert_array_equal(lines[0].get_xdata(), range(1, 9))
    assert not curve(ours.LossCurve(["nothing"]), LOSSES).figure().axes[0].lines


def test_loss_curve_as_text(monkeypatch: Any) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "100")
    made = curve(ours.LossCurve(), LOSSES)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert text.splitlines()[-2:] == [
        "    loss █▄▃▂▂▁▁▁ 0.125 (lowest 0.125, highest 1)",
        "val_loss  ▅ ▂ ▂ ▁ 0.15 (lowest 0.15, highest 0.6)",
    ]
    assert all(len(line) <= 60 for line in curve(ours.LossCurve(), LOSSES * 50).lines(60))
    assert curve(ours.LossCurve(["a"]), [{"a": 2.0}]).lines() == ["a ▁ 2 (lowest 2, highest 2)"]
    assert made.lines() and curve(ours.LossCurve(), [{}]).lines() == []


def test_loss_curve_in_a_notebook(monkeypatch: Any) -> None:
    pytest.importorskip("matplotlib")
    shown: list[Any] = []
    display = types.ModuleType("IPython.display")
    display.clear_output = lambda wait: shown.append("clear")  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    curve(ours.LossCurve(), LOSSES[:2])
    assert shown[::2] == ["clear"] * 2 and type(shown[1]).__name__ == "Figure"


def test_loss_curve_without_matplotlib(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UnsupportedError, match="pip install matplotlib"):
        ours.LossCurve().figure()


# ---- other programs


def events(folder: Path) -> list[tuple[str, str, int, float]]:
    """The figures in all files of events: folder, name, step, value."""
    tf = pytest.importorskip("tensorflow")
    found = []
    for path in folder.rglob("*tfevents*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = value.simple_value if value.HasField("simple_value") else None
                if number is None and value.metadata.plugin_data.plugin_name == "scalars":
                    number = float(tf.make_ndarray(value.tensor))
                if number is not None:
                    found.append((path.parent.name, value.tag, event.step, number))
    return sorted(found)


@pytest.mark.parametrize("package", ["tensorboard", "tensorboardX"])
@pytest.mark.parametrize("update_freq", ["epoch", "batch", 3])
def test_tensorboard(
    keras: Any, keras_model: Any, package: str, update_freq: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    pytest.importorskip(package)
    for other in set(ours.EVENT_WRITERS) - {package}:
        monkeypatch.delitem(ours.EVENT_WRITERS, other)
    made = [(ours.TensorBoard, CallbackList, FakeModel(), "ours")]
    if importlib.util.find_spec("tensorboard"):
        made.append((keras.callbacks.TensorBoard, keras.callbacks.CallbackList, keras_model, "keras"))
    for cls, lists, model, name in made:
        callback = cls(str(tmp_path / name), write_graph=False, update_freq=update_freq)
        model.optimizer.iterations = 0 if model.optimizer.__class__ is Rate else model.optimizer.iterations
        drive(lists([callback], model=fresh(model)), model, scripts(1, 3))
    got = events(tmp_path / "ours")
    assert ("validation", "epoch_mae", 2) in [e[:3] for e in got]
    if len(made) == 2:
        np.testing.assert_allclose([e[3] for e in got], [e[3] for e in events(tmp_path / "keras")], rtol=1e-6)
        assert [e[:3] for e in got] == [e[:3] for e in events(tmp_path / "keras")]


def test_tensorboard_more(tmp_path: Path) -> None:
    if not any(map(importlib.util.find_spec, ours.EVENT_WRITERS)):
        pytest.skip("neither tensorboard nor tensorboardX is installed")
    made = ours.TensorBoard(tmp_path, write_steps_per_second=True, update_freq=1)
    model = FakeModel()
    drive(CallbackList([made], model=model), model, scripts(1, 1))
    model.optimizer.iterations = 5
    made.on_test_end({"loss": 0.5, "f1": np.ones(2)})
    made.on_train_end()
    found = events(tmp_path)
    assert ("validation", "evaluation_loss_vs_iterations", 5, 0.5) in found
    speeds = [e[:3] for e in found if "per_second" in e[1]]
    assert speeds == [
        *(("train", "batch_steps_per_second", i) for i in (1, 2, 3)),
        ("train", "epoch_steps_per_second", 0),
    ]


def test_tensorboard_says_what_is_missing(monkeypatch: Any) -> None:
    for option in ({"histogram_freq": 1}, {"profile_batch": (1, 2)}, {"write_images": True}, {"embeddings_freq": 1}):
        with pytest.raises(UnsupportedError, match=f"{next(iter(option))}="):
            ours.TensorBoard(**option)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="pip install tensorboard"):
        ours.TensorBoard()


@pytest.mark.parametrize("send_as_json", [False, True])
def test_remote_monitor(keras: Any, send_as_json: bool) -> None:
    seen: list[Any] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            content = json.loads(body) if send_as_json else json.loads(parse_qs(body)["field"][0])
            seen.append((self.path, self.headers["Content-Type"], self.headers["X-Mine"], content))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        root = f"http://127.0.0.1:{server.server_port}"
        for module in (keras.callbacks, ours):
            made = module.RemoteMonitor(root, "/here/", "field", {"X-Mine": "yes"}, send_as_json)
            made.on_epoch_end(3, {"loss": 0.5, "acc": np.float32(0.25)})
        server.shutdown()
        thread.join()
    assert seen[0] == seen[1] and len(seen) == 2
    with pytest.warns(UserWarning, match="Could not reach RemoteMonitor root server"):
        made.on_epoch_end(3, {})


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    cases: list[tuple[type[TenunError], str, Any]] = [
        (UnsupportedError, "OrbaxCheckpoint is not supported", lambda: ours.OrbaxCheckpoint("dir")),
        (RunError, "must end in .keras or .h5", lambda: ours.ModelCheckpoint("m.bin")),
        (RunError, "must end in .weights.h5", lambda: ours.ModelCheckpoint("m.h5", save_weights_only=True)),
        (RunError, "save_freq='day' is unknown", lambda: ours.ModelCheckpoint("m.h5", save_freq="day")),
        (RunError, "save_freq=False is unknown", lambda: ours.BackupAndRestore("d", save_freq=False)),
        (RunError, "save_freq=0 is unknown", lambda: ours.BackupAndRestore("d", save_freq=0)),
        (RunError, "Empty `backup_dir`", lambda: ours.BackupAndRestore("")),
        (RunError, "a factor >= 1.0", lambda: ours.ReduceLROnPlateau(factor=1.0)),
        (UnsupportedError, "epsilon not supported", lambda: ours.ReduceLROnPlateau(epsilon=1)),
    ]
    for kind, message, make in cases:
        with pytest.raises(kind, match=message):
            make()
    for schedule in (lambda e, r: 1, lambda e, r: None):
        made = ours.LearningRateScheduler(schedule)
        made.set_model(FakeModel())
        with pytest.raises(RunError, match="should be a float"):
            made.on_epoch_begin(0)
    saver = ours.ModelCheckpoint(tmp_path / "{epoch}-{acc}.keras")
    saver.set_model(FakeModel())
    with pytest.raises(RunError, match="(?s)Failed to format this callback filepath.*'acc'.*epoch, loss"):
        saver.on_epoch_end(0, {"loss": 1})
    (tmp_path / "x.keras").mkdir()
    saver = ours.ModelCheckpoint(tmp_path / "x.keras")
    saver.set_model(FakeModel())
    with pytest.raises(RunError, match="existing directory"):
        saver.on_epoch_end(0, {})
