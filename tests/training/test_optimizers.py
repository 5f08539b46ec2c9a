"""Optimisers against Keras: the same gradients for many steps, then the same parameters and slots."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype
from tenun.ir.states import States
from tenun.training.objects import config_of
from tenun.training.optimizers import OPTIMIZERS, PREFIX, Adam, Optimizer, OptimizerMap, Trainable, path_of

STEPS = 50
SHAPES = {"a.scale": (), "b.bias": (3,), "c.kernel": (4, 3), "d.kernel": (2, 3, 4, 5), "embedding.embeddings": (3, 6)}
WRAPPERS = {"LossScaleOptimizer", "MultiOptimizer"}
NO_OPTIMIZERS = {"Optimizer", "OptimizerMap"}  # among the classes in keras.optimizers


def case(cls: str, /, **options: Any) -> tuple[str, dict[str, Any]]:
    return cls, options


def decaying(**more: Any) -> dict[str, Any]:
    """A schedule in Keras' form."""
    config = {"initial_learning_rate": 0.05, "decay_steps": 20, "decay_rate": 0.5, "staircase": True, **more}
    return {"module": "keras.optimizers.schedules", "class_name": "ExponentialDecay", "config": config}


OWN = [
    case("SGD"),
    case("SGD", learning_rate=0.1, momentum=0.9),
    case("SGD", learning_rate=0.1, momentum=0.8, nesterov=True),
    case("Lion"),
    case("Lion", learning_rate=0.01, beta_1=0.7, beta_2=0.95),
    case("RMSprop"),
    case("RMSprop", learning_rate=0.01, rho=0.8, momentum=0.7),
    case("RMSprop", learning_rate=0.01, centered=True, epsilon=1e-3),
    case("RMSprop", learning_rate=0.01, momentum=0.5, centered=True),
    case("Adagrad"),
    case("Adagrad", learning_rate=0.1, initial_accumulator_value=0.0, epsilon=1e-3),
    case("Adadelta"),
    case("Adadelta", learning_rate=1.0, rho=0.9, epsilon=1e-5),
    case("Adafactor"),
    case("Adafactor", learning_rate=0.05, beta_2_decay=-0.5, epsilon_2=1e-2, clip_threshold=0.5),
    case("Adafactor", learning_rate=0.5, relative_step=False),
    case("Ftrl"),
    case("Ftrl", learning_rate=0.1, learning_rate_power=-0.7, beta=0.3, l1_regularization_strength=0.05),
    case("Ftrl", learning_rate=0.1, l2_regularization_strength=0.1, l2_shrinkage_regularization_strength=0.02),
    case("Adam"),
    case("Adam", learning_rate=0.01, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    case("Adam", learning_rate=0.01, amsgrad=True),
    case("AdamW"),
    case("AdamW", learning_rate=0.01, weight_decay=0.1, amsgrad=True),
    case("Adamax"),
    case("Adamax", learning_rate=0.01, beta_1=0.7, beta_2=0.9),
    case("Nadam"),
    case("Nadam", learning_rate=0.01, beta_1=0.8, beta_2=0.99),
    case("Lamb"),
    case("Lamb", learning_rate=0.01, beta_1=0.8, epsilon=1e-4),
    case("ScheduleFreeAdamW"),
    case("ScheduleFreeAdamW", learning_rate=0.01, beta_1=0.8, warmup_steps=10),
    case("Muon"),
    case("Muon", learning_rate=0.01, nesterov=False, rms_rate=None, weight_decay=None, ns_steps=3),
    case("Muon", learning_rate=0.01, exclude_layers=["^c/"], exclude_embeddings=False, adam_lr_ratio=0.1),
    case("Muon", learning_rate=0.01, adam_weight_decay=None, weight_decay=0.1),
]
SHARED: list[dict[str, Any]] = [
    {"weight_decay": 0.05},
    {"clipnorm": 0.5},
    {"clipvalue": 0.3},
    {"global_clipnorm": 1.5},
    {"use_ema": True, "ema_momentum": 0.9},
    {"use_ema": True, "ema_momentum": 0.7, "ema_overwrite_frequency": 4},
    {"loss_scale_factor": 8.0},
    {"gradient_accumulation_steps": 3},
    {"gradient_accumulation_steps": 2, "use_ema": True, "ema_overwrite_frequency": 5, "clipnorm": 1.0},
    {"learning_rate": decaying()},
    {"learning_rate": decaying(staircase=False), "gradient_accumulation_steps": 4, "weight_decay": 0.1},
]
ALL = sorted(set(OPTIMIZERS.classes) - WRAPPERS)
# every option with an optimiser of each kind, and the accumulating ones, which touch all states, with all of them
CASES = [
    *OWN,
    *[(cls, o) for cls in ("SGD", "Adam", "Adafactor", "Muon", "Nadam") for o in SHARED],
    *[(cls, SHARED[-3]) for cls in ALL],
]

LOSS_SCALED = {"class_name": "LossScaleOptimizer", "config": {"inner_optimizer": {"class_name": "SGD", "config": {}}}}


@dataclass
class Run:
    """Parameters and slots after a run."""

    parameters: list[Any]
    slots: list[Any]


def recorded(seed: int) -> tuple[list[Any], list[list[Any]]]:
    """First values of parameters, and gradients for all steps, which are not around 0 so that parameters move."""
    rng = np.random.default_rng(seed)
    values = [np.asarray(rng.normal(size=shape), np.float32) for shape in SHAPES.values()]
    return values, [
        [np.asarray(rng.normal(0.3, 1, size=shape), np.float32) for shape in SHAPES.values()] for _ in range(STEPS)
    ]


def graph_function(function: Any) -> Any:
    """The function as a graph of TensorFlow's: what Keras' fit runs, and several times as fast."""
    return pytest.importorskip("tensorflow").function(function)


def keras_run(keras: Any, optimizer: Any, values: list[Any], steps: list[list[Any]], constraint: Any = None) -> Run:
    variables = []
    for name, value in zip(SHAPES, values):
        with keras.name_scope(path_of(name).rpartition("/")[0]):
            own = name.rpartition(".")[2]
            variables.append(keras.Variable(value, name=own, dtype=value.dtype.name))
        if constraint is not None:
            variables[-1].constraint = constraint
        assert variables[-1].path == path_of(name)
    optimizer.build(variables)
    apply = graph_function(lambda gradients: optimizer.apply(gradients, variables))
    for gradients in steps:
        apply([keras.ops.convert_to_tensor(g) for g in gradients])
    return Run([v.numpy() for v in variables], [v.numpy() for v in optimizer.variables])


def build(optimizer: Optimizer, values: list[Any], constraint: Any = None, without: str = "") -> Any:
    """The executable of one step, the gradients being its inputs; and the parameters."""
    b = Builder(Graph("step"))
    states = States(b)
    parameters = []
    for name, value in zip(SHAPES, values):
        kind = dtype(value.dtype)
        gradient = None if name == without else b.input(f"gradient of {name}", Tensor(kind, value.shape))
        parameters.append(Trainable(name, states.read(name, value), gradient, value.shape, kind, constraint))
    for p, new in zip(parameters, optimizer.apply(b, states, parameters)):
        assert new.type == p.var.type
        states.write(p.name, new)
    return tenun.compile(states.finish([], []), verify=True), parameters


def our_run(optimizer: Optimizer, values: list[Any], steps: list[list[Any]], constraint: Any = None) -> Run:
    exe, parameters = build(optimizer, values, constraint)
    names = optimizer.variables(parameters)
    assert set(exe.state) == {*names, *SHAPES}
    for gradients in steps:
        exe(*gradients)
    return Run([exe.state[n] for n in SHAPES], [exe.state[n] for n in names])


def both(keras: Any, theirs: Any, constraint: Any = None) -> tuple[Run, Run]:
    """A run of Keras' optimiser, and one of ours from its config."""
    ours = OPTIMIZERS.get(keras.optimizers.serialize(theirs))
    values, steps = recorded(0)
    our_constraint = None if constraint is None else lambda b, x: b.maximum(x, 0)
    return keras_run(keras, theirs, values, steps, constraint), our_run(ours, values, steps, our_constraint)


def assert_same(expected: Run, found: Run, tolerance: float = 1e-5) -> None:
    for e, f in zip(expected.parameters, found.parameters):
        np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance)
    assert [(v.shape, v.dtype) for v in found.slots] == [(v.shape, v.dtype) for v in expected.slots]
    for e, f in zip(expected.slots, found.slots):
        largest = max(1.0, np.abs(e).max())  # Ftrl's sums grow to thousands, with small differences
        np.testing.assert_allclose(f, e, rtol=tolerance, atol=tolerance * largest)


def made(keras: Any, cls: str, options: dict[str, Any]) -> Any:
    return getattr(keras.optimizers, cls).from_config(dict(options))


@pytest.mark.parametrize(("cls", "options"), CASES, ids=[f"{c}-{i}" for i, (c, _) in enumerate(CASES)])
def test_like_keras(keras: Any, cls: str, options: dict[str, Any]) -> None:
    assert_same(*both(keras, made(keras, cls, options)))


@pytest.mark.parametrize("cls", ["SGD", "AdamW", "Lamb"])
def test_constraint(keras: Any, cls: str) -> None:
    theirs = made(keras, cls, {"learning_rate": 0.05, "use_ema": True})
    assert_same(*both(keras, theirs, keras.constraints.NonNeg()))


def test_other_dtypes(keras: Any) -> None:
    """Scalars are computed in each parameter's dtype, one beside the other."""
    values, steps = recorded(6)
    kinds = [np.float64, np.float32, np.float64, np.float32, np.float32]
    values, *steps = ([np.asarray(x, k) for x, k in zip(arrays, kinds)] for arrays in (values, *steps))
    for cls in ("Adam", "Nadam", "Adafactor"):
        theirs = made(keras, cls, {"learning_rate": 0.01, "use_ema": True, "weight_decay": 0.1})
        ours = OPTIMIZERS.get(keras.optimizers.serialize(theirs))
        assert_same(keras_run(keras, theirs, values, steps), our_run(ours, values, steps))


CLIPPING = ({}, {"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 0.5})


@pytest.mark.parametrize("options", CLIPPING, ids=lambda o: next(iter(o), "plain"))
@pytest.mark.parametrize("cls", ["SGD", "Adam", "RMSprop", "Adagrad", "Ftrl", "Adamax", "Nadam", "Adadelta"])
def test_rows_looked_up_twice(keras: Any, cls: str, options: dict[str, float]) -> None:
    """TensorFlow's gradient of an embedding, rows of which some come twice: squared and clipped row by row."""
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(7)
    table = rng.normal(size=(6, 3)).astype(np.float32)
    theirs = made(keras, cls, {"learning_rate": 0.1, **options})
    variable = keras.Variable(table)
    b = Builder(Graph("step"))
    states = States(b)
    own = states.read("table", table)
    rows, slices = b.input("rows", Tensor(dtype("i64"), (5,))), b.input("slices", Tensor(dtype("f32"), (5, 3)))
    gradient = b.scatter_rows(slices, rows, size=6)
    optimizer = OPTIMIZERS.get(keras.optimizers.serialize(theirs))
    (new,) = optimizer.apply(b, states, [Trainable("table", own, gradient, (6, 3), "float32")])
    states.write("table", new)
    exe = tenun.compile(states.finish([new], ["new"]))
    for _ in range(10):
        places, values = rng.integers(0, 6, 5), rng.normal(size=(5, 3)).astype(np.float32)
        theirs.apply([tf.IndexedSlices(values, places, tf.constant([6, 3]))], [variable])
        exe.run({"rows": places, "slices": values})
    np.testing.assert_allclose(exe.state["table"], variable.numpy(), rtol=1e-5, atol=1e-5)


def test_loss_scale(keras: Any) -> None:
    """Steps with infinite or undefined gradients are left out, and move the scale."""
    inner = keras.optimizers.Adam(0.01, use_ema=True, gradient_accumulation_steps=2)
    theirs = keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0, dynamic_growth_steps=7)
    ours = OPTIMIZERS.get(keras.optimizers.serialize(theirs))
    values, steps = recorded(3)
    steps[5][2][1, 1], steps[6][0], steps[30][1][0] = np.inf, np.float32(np.nan), -np.inf
    expected, found = keras_run(keras, theirs, values, steps), our_run(ours, values, steps)
    assert_same(expected, found)
    assert found.slots[3] > 64
    assert ours.rate_state() == "optimizer/learning_rate"


def test_scaled_loss() -> None:
    """What the loss is multiplied by, the gradients are divided by."""
    scalers = [(Adam(loss_scale_factor=4.0), 4.0), (Adam(), 1.0), (OPTIMIZERS.get(LOSS_SCALED), 2.0**15)]
    for optimizer, factor in scalers:
        b = Builder(Graph("loss"))
        states = States(b)
        scaled = optimizer.scale_loss(b, states, b.input("loss", Tensor(dtype("f32"), ())))
        assert tenun.compile(states.finish([scaled], ["scaled"]))(np.float32(3)) == 3 * factor


def test_multi_optimizer(keras: Any) -> None:
    """By path, by pattern, by default; one optimiser has no parameters at all."""
    o = keras.optimizers
    patterns = {"b/bias": o.Adam(0.01), r"c/.*": o.SGD(0.1, momentum=0.9), "x/.*": o.Adagrad()}
    theirs = o.MultiOptimizer(o.OptimizerMap(o.RMSprop(0.01, use_ema=True), patterns), loss_scale_factor=2.0)
    expected, found = both(keras, theirs)
    assert_same(expected, found)
    ours = OPTIMIZERS.get(o.serialize(theirs))
    parameters = build(ours, recorded(0)[0])[1]
    assert ours.averages(parameters)["a.scale"] == "optimizer/3/a.scale/average"


def test_multi_optimizer_refuses() -> None:
    with pytest.raises(UnsupportedError, match="LossScaleOptimizer: cannot be part"):
        OptimizerMap("sgd", {"a": LOSS_SCALED})
    both_fit = OptimizerMap("sgd", {"a.*": "adam", ".*b": "sgd"})
    with pytest.raises(UnsupportedError, match="several patterns fit 'a/b'"):
        both_fit["a/b"]
    with pytest.raises(UnsupportedError, match="already"):
        both_fit["a.*"] = "adam"
    multi = OPTIMIZERS.classes["MultiOptimizer"]
    with pytest.raises(UnsupportedError, match="an OptimizerMap is needed"):
        multi(lambda variable: None)
    with pytest.raises(UnsupportedError, match="no one learning rate"):
        multi(both_fit).rate({})


@pytest.mark.parametrize("by", ["list", "names"])
def test_excluded_from_weight_decay(keras: Any, by: str) -> None:
    theirs = made(keras, "AdamW", {"weight_decay": 0.5, "learning_rate": 0.1})
    ours = OPTIMIZERS.get(keras.optimizers.serialize(theirs))
    values, steps = recorded(1)
    with keras.name_scope("b"):
        bias = keras.Variable(values[1], name="bias")
    if by == "names":
        theirs.exclude_from_weight_decay(var_names=["bias", "c/k"])
        ours.exclude_from_weight_decay(var_names=["bias", "c/k"])
        assert_same(keras_run(keras, theirs, values, steps), our_run(ours, values, steps))
        return
    ours.exclude_from_weight_decay(var_list=["b.bias"])
    theirs.exclude_from_weight_decay(var_list=[bias])
    for step in steps:
        theirs.apply([keras.ops.convert_to_tensor(step[1])], [bias])
    found = our_run(ours, values, steps).parameters
    np.testing.assert_allclose(found[1], bias.numpy(), rtol=1e-5, atol=1e-5)
    assert abs(found[2]).max() < abs(our_run(Adam(0.1), values, steps).parameters[2]).max()


def test_without_gradient(keras: Any) -> None:
    """A parameter that the loss does not depend on stays, its slots too; averages follow it."""
    theirs = made(keras, "Adam", {"use_ema": True, "gradient_accumulation_steps": 2, "weight_decay": 0.1})
    ours = OPTIMIZERS.get(keras.optimizers.serialize(theirs))
    values, steps = recorded(2)
    exe, parameters = build(ours, values, without="c.kernel")
    for gradients in steps:
        exe(*[g for n, g in zip(SHAPES, gradients) if n != "c.kernel"])
    variables = [keras.Variable(v, name=path_of(n).replace("/", "_")) for n, v in zip(SHAPES, values)]
    for gradients in steps:
        given = [None if n == "c.kernel" else keras.ops.convert_to_tensor(g) for n, g in zip(SHAPES, gradients)]
        theirs.apply(given, variables)
    found = Run([exe.state[n] for n in SHAPES], [exe.state[n] for n in ours.variables(parameters)])
    assert_same(Run([v.numpy() for v in variables], [v.numpy() for v in theirs.variables]), found)
    np.testing.assert_array_equal(exe.state["c.kernel"], values[2])


def test_no_gradient_at_all() -> None:
    b = Builder(Graph("step"))
    states = States(b)
    lonely = Trainable("p", states.read("p", np.zeros(3, np.float32)), None, (3,), "float32")
    with pytest.raises(UnsupportedError, match="none of the parameters"):
        Adam().apply(b, states, [lonely])


def test_averages_when_training_ends(keras: Any) -> None:
    """`averages` names what Keras puts into the model at the end."""
    theirs = made(keras, "SGD", {"use_ema": True, "learning_rate": 0.1})
    ours = OPTIMIZERS.get(keras.optimizers.serialize(theirs))
    values, steps = recorded(4)
    variables = [keras.Variable(v) for v in values]
    exe, parameters = build(ours, values)
    for gradients in steps:
        exe(*gradients)
        theirs.apply([keras.ops.convert_to_tensor(g) for g in gradients], variables)
    theirs.finalize_variable_values(variables)
    for p, v in zip(parameters, variables):
        np.testing.assert_allclose(exe.state[ours.averages(parameters)[p.name]], v.numpy(), rtol=1e-5, atol=1e-5)
    assert Adam().averages(parameters) == {}


def test_learning_rate_is_a_state(keras: Any) -> None:
    """It can be set between steps, and read; a schedule's is computed from the counter."""
    values, steps = recorded(5)
    ours = OPTIMIZERS.get({"class_name": "Adam", "config": {"learning_rate": decaying()}})
    exe, _ = build(ours, values)
    theirs = made(keras, "Adam", {"learning_rate": decaying()})
    for i in range(45):
        exe(*steps[i])
    assert ours.rate_state() is None and ours.rate(exe.state) == float(theirs.learning_rate.numpy()) / 4
    exe, _ = build(Adam(0.0), values)
    name = Adam(0.0).rate_state()
    assert name == "optimizer/learning_rate"
    exe(*steps[0])
    np.testing.assert_array_equal(exe.state["c.kernel"], values[2])
    exe(*steps[1], **{name: np.float32(0.5)})
    assert abs(exe.state["c.kernel"] - values[2]).max() > 0.1
    assert Adam(0.0).rate({name: np.float32(0.5)}) == 0.5


def test_scalars_are_made_once() -> None:
    """Each further parameter costs Adam its twelve elementwise ops; clipping a norm takes five, three on scalars."""

    def nodes(optimizer: Optimizer, count: int) -> int:
        b = Builder(Graph("step"))
        states = States(b)
        kind = Tensor(dtype("f32"), (3,))
        made = [
            Trainable(f"p{i}", states.read(f"p{i}", np.zeros(3, np.float32)), b.input(f"g{i}", kind), (3,), "float32")
            for i in range(count)
        ]
        optimizer.apply(b, states, made)
        return len(list(b.graph.nodes))

    assert nodes(Adam(), 9) - nodes(Adam(), 8) == 12
    assert nodes(Adam(clipnorm=1.0), 9) - nodes(Adam(clipnorm=1.0), 8) == 17


# ---- configs -------------------------------------------------------------------------------------------------


def named(config: dict[str, Any]) -> dict[str, Any]:
    """The config without the number that Keras appends to names."""
    return {**config, "name": config["name"].rstrip("_0123456789")}


@pytest.mark.parametrize(("cls", "options"), [*OWN, *[("Adam", o) for o in SHARED], *[(c, {}) for c in ALL]])
def test_config(keras: Any, cls: str, options: dict[str, Any]) -> None:
    theirs = made(keras, cls, options)
    ours = OPTIMIZERS.get({"class_name": cls, "config": options})
    assert config_of(ours) == named(theirs.get_config())
    written = keras.saving.deserialize_keras_object(OPTIMIZERS.serialize(ours))
    assert type(written) is type(theirs) and named(written.get_config()) == named(theirs.get_config())
    assert config_of(OPTIMIZERS.get(keras.optimizers.serialize(theirs))) == theirs.get_config()


def test_config_of_wrappers(keras: Any) -> None:
    o = keras.optimizers
    inner = {"a/.*": o.Adam(0.01), "b": o.SGD(o.schedules.CosineDecay(0.1, 9))}
    multi = o.MultiOptimizer(o.OptimizerMap(o.Lion(), inner), loss_scale_factor=3.0)
    for theirs in (o.LossScaleOptimizer(o.Nadam(name="n"), initial_scale=8.0, name="scaled"), multi):
        ours = OPTIMIZERS.get(o.serialize(theirs))
        assert config_of(ours) == theirs.get_config()
        assert o.deserialize(OPTIMIZERS.serialize(ours)).get_config() == theirs.get_config()


def test_all_are_there(keras: Any) -> None:
    """Each of Keras' optimisers has its class, with the constructor's arguments in order, and their defaults."""
    theirs = {n: c for n, c in vars(keras.optimizers).items() if inspect.isclass(c)}
    assert set(theirs) - NO_OPTIMIZERS == set(OPTIMIZERS.classes)
    for name in set(theirs) - NO_OPTIMIZERS:
        given = [p for p in inspect.signature(theirs[name]).parameters.values() if p.kind is not p.VAR_KEYWORD]
        ours = inspect.signature(OPTIMIZERS.classes[name]).parameters.values()
        assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in given], name


def test_found_by_any_name() -> None:
    for name in ("AdamW", "adamw", "adam_w", "Custom>AdamW"):
        assert type(OPTIMIZERS.get(name)).__name__ == "AdamW"
    assert OPTIMIZERS.get("rmsprop").name == "rm_sprop"
    with pytest.raises(UnsupportedError, match="no optimizer is called 'adams'"):
        OPTIMIZERS.get("adams")


@pytest.mark.parametrize("cls", ["SGD", "Adam", "RMSprop", "Adagrad", "Ftrl", "Nadam"])
@pytest.mark.parametrize("legacy", [False, True])
def test_configs_of_keras_2(cls: str, legacy: bool) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    source = tf_keras.optimizers.legacy if legacy else tf_keras.optimizers
    old = getattr(source, cls)(learning_rate=0.25)
    if legacy and cls == "Nadam":
        with pytest.raises(UnsupportedError, match=r"Nadam: decay=0.004 is not supported"):
            OPTIMIZERS.get(tf_keras.optimizers.serialize(old))
        return
    ours = OPTIMIZERS.get(tf_keras.optimizers.serialize(old))
    config = old.get_config()
    assert ours.learning_rate == 0.25
    kept = {k: v for k, v in config.items() if k in config_of(ours) and k not in ("weight_decay", "use_ema")}
    assert {k: v for k, v in config_of(ours).items() if k in kept} == pytest.approx(kept)


def test_decay_of_keras_2() -> None:
    """The rate of every step as Keras 2 computes it."""
    tf_keras = pytest.importorskip("tf_keras")
    old = tf_keras.optimizers.legacy.SGD(learning_rate=0.5, decay=0.1)
    ours = OPTIMIZERS.get(tf_keras.optimizers.serialize(old))
    for step in range(10):
        old.iterations.assign(step)
        assert ours.rate({"optimizer/iterations": np.array(step)}) == pytest.approx(
            float(old._decayed_lr("float32")), rel=1e-6
        )
    assert OPTIMIZERS.get({"class_name": "SGD", "config": {"lr": 0.125, "decay": 0.0}}).learning_rate == 0.125
    with pytest.raises(UnsupportedError, match="with a schedule"):
        OPTIMIZERS.get({"class_name": "SGD", "config": {"learning_rate": decaying(), "decay": 0.1}})


def test_loss_scale_config_of_keras_2() -> None:
    old = {**LOSS_SCALED["config"], "dynamic": True, "use_ema": False, "clipnorm": None, "is_legacy_optimizer": False}
    assert OPTIMIZERS.get({"class_name": "LossScaleOptimizer", "config": old}).initial_scale == 2**15
    for wrong in ({"dynamic": False}, {"use_ema": True}):
        with pytest.raises(UnsupportedError, match=f"{next(iter(wrong))} not supported"):
            OPTIMIZERS.get({"class_name": "LossScaleOptimizer", "config": {**old, **wrong}})


WRONG = [
    case("SGD", clipnorm=1.0, clipvalue=1.0),
    case("Adam", clipvalue=1.0, global_clipnorm=0.0),
    case("Adam", gradient_accumulation_steps=1),
    case("Adam", use_ema=True, ema_momentum=1.5),
    case("Adam", use_ema=True, ema_overwrite_frequency=0.5),
    case("Adam", learning_rate="fast"),
    case("SGD", momentum=1.5),
    case("AdamW", weight_decay=None),
    case("Lion", beta_1=0.0),
    case("Ftrl", learning_rate_power=0.5),
    case("Ftrl", initial_accumulator_value=-1.0),
    case("Ftrl", l1_regularization_strength=-1.0),
    case("Ftrl", l2_shrinkage_regularization_strength=-1.0),
]


@pytest.mark.parametrize(("cls", "options"), WRONG)
def test_wrong_options(keras: Any, cls: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        getattr(keras.optimizers, cls)(**options)
    with pytest.raises(UnsupportedError, match=cls):
        OPTIMIZERS.classes[cls](**options)


def test_learning_rate_as_a_function_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="(?s)learning_rate=.*LearningRateScheduler"):
        Adam(lambda: 0.1)


def test_states_have_their_prefix() -> None:
    exe, parameters = build(Adam(), recorded(0)[0])
    names = Adam().variables(parameters)
    assert names[:4] == [PREFIX + n for n in ("iterations", "learning_rate", "a.scale/momentum", "a.scale/velocity")]
    assert Adam().variables(parameters, "o/")[0] == "o/iterations"
