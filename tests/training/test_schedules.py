"""Learning-rate schedules against Keras, step by step."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor
from tenun.ir.types import i64
from tenun.training.objects import config_of
from tenun.training.schedules import SCHEDULES, Schedule

STEPS = 201


def case(cls: str, /, **options: Any) -> tuple[str, dict[str, Any]]:
    return cls, options


CASES = [
    case("ExponentialDecay", initial_learning_rate=0.1, decay_steps=30, decay_rate=0.96),
    case("ExponentialDecay", initial_learning_rate=0.3, decay_steps=7.5, decay_rate=0.5, staircase=True),
    case("InverseTimeDecay", initial_learning_rate=0.1, decay_steps=1.0, decay_rate=0.01),
    case("InverseTimeDecay", initial_learning_rate=0.1, decay_steps=9, decay_rate=0.5, staircase=True),
    case("PiecewiseConstantDecay", boundaries=[10, 11, 150], values=[1.0, 0.5, 0.1, 0.01]),
    case("PiecewiseConstantDecay", boundaries=[20.5], values=[0.3, 0.7], name="two"),
    case("PolynomialDecay", initial_learning_rate=0.1, decay_steps=120),
    case("PolynomialDecay", initial_learning_rate=0.1, decay_steps=30, end_learning_rate=0.01, power=0.5, cycle=True),
    case("PolynomialDecay", initial_learning_rate=0.2, decay_steps=90.0, end_learning_rate=0.0, power=2.0),
    case("CosineDecay", initial_learning_rate=0.1, decay_steps=150),
    case("CosineDecay", initial_learning_rate=0.1, decay_steps=150, alpha=0.2),
    case("CosineDecay", initial_learning_rate=0.01, decay_steps=100, warmup_target=0.3, warmup_steps=40),
    case("CosineDecay", initial_learning_rate=0.0, decay_steps=100, alpha=0.1, warmup_target=0.3, warmup_steps=0),
    case("CosineDecay", initial_learning_rate=0.2, decay_steps=100, warmup_steps=40),
    case("CosineDecayRestarts", initial_learning_rate=0.1, first_decay_steps=10),
    case("CosineDecayRestarts", initial_learning_rate=0.1, first_decay_steps=13, t_mul=1.5, m_mul=0.8, alpha=0.1),
    case("CosineDecayRestarts", initial_learning_rate=0.1, first_decay_steps=40, t_mul=1.0, m_mul=0.9),
    case("CosineDecayRestarts", initial_learning_rate=1.0, first_decay_steps=7, t_mul=3.0),
]
IDS = [f"{name}-{i}" for i, (name, _) in enumerate(CASES)]


def as_graph(schedule: Schedule) -> Any:
    """The schedule as an executable of the counter."""
    b = Builder(Graph("rate"))
    return tenun.compile(b.outputs(schedule(b, b.input("step", Tensor(i64, ())))))


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_values(keras: Any, name: str, options: dict[str, Any]) -> None:
    theirs = getattr(keras.optimizers.schedules, name)(**options)
    expected = [float(theirs(keras.ops.convert_to_tensor(i, "int64"))) for i in range(STEPS)]
    ours = SCHEDULES.get({"class_name": name, "config": options})
    run = as_graph(ours)
    found = [run(np.array(i)) for i in range(STEPS)]
    assert all(v.dtype == np.float32 and v.shape == () for v in found)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose([ours.value(i) for i in range(STEPS)], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_config(keras: Any, name: str, options: dict[str, Any]) -> None:
    theirs = getattr(keras.optimizers.schedules, name)(**options)
    ours = SCHEDULES.get({"class_name": name, "config": options})
    assert config_of(ours) == theirs.get_config()
    assert SCHEDULES.serialize(ours) == keras.optimizers.schedules.serialize(theirs)
    assert config_of(SCHEDULES.get(keras.optimizers.schedules.serialize(theirs))) == theirs.get_config()


def test_all_are_there(keras: Any) -> None:
    """Each of Keras' schedules has its row, with its constructor's arguments and defaults."""
    base = keras.optimizers.schedules.LearningRateSchedule
    theirs = {n: c for n, c in vars(keras.optimizers.schedules).items() if inspect.isclass(c) and c is not base}
    assert set(theirs) == set(SCHEDULES.classes)
    for name, cls in theirs.items():
        arguments = [(p.name, p.default) for p in list(inspect.signature(cls).parameters.values())]
        ours = [(p.name, p.default) for p in inspect.signature(SCHEDULES.classes[name]).parameters.values()]
        assert ours == arguments, name


@pytest.mark.parametrize("name", ["ExponentialDecay", "CosineDecayRestarts"])
def test_steps_below_one_are_refused(name: str) -> None:
    keys = list(inspect.signature(SCHEDULES.classes[name]).parameters)[:3]
    with pytest.raises(UnsupportedError, match=f"{name}: {keys[1]} has to be above 0"):
        SCHEDULES.get({"class_name": name, "config": dict.fromkeys(keys, 0)})


@pytest.mark.parametrize("boundaries", [[], [3, 1], [1, 2, 3]])
def test_boundaries_that_do_not_fit_are_refused(boundaries: list[int]) -> None:
    with pytest.raises(UnsupportedError, match="have to rise"):
        SCHEDULES.classes["PiecewiseConstantDecay"](boundaries, [1, 2, 3])


def test_own_schedule() -> None:
    """A subclass with a formula is enough."""

    class Halves(Schedule):
        def formula(self, n: Any, step: Any) -> Any:
            return n.pow(0.5, step)

    assert Halves().value(3) == 0.125
    assert as_graph(Halves())(np.array(3)) == 0.125
    with pytest.raises(UnsupportedError, match="no formula"):
        Schedule().value(1)


def test_schedules_stand_where_keras_has_them() -> None:
    assert tenun.optimizers.schedules is tenun.schedules
    assert set(SCHEDULES.classes) <= set(vars(tenun.optimizers.schedules))
