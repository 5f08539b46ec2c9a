"""Plans and programs: caching by shape, threads, pickling, state, data-dependent shapes, memory."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tenun
from tenun.backends.base import Options
from tenun.backends.numpy.shards import ShardedProgram
from tenun.ir import Builder, Graph, State, Tensor, symbol
from tenun.ir.types import boolean, f32, i64
from tenun.passes.batch import batch_symbol
from tenun.passes.manager import PIPELINES

N = symbol("N")


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.3).astype(np.float32)


def network() -> Graph:
    """A small convolutional network."""
    b = Builder(Graph("net"))
    x = b.input("x", Tensor(f32, (N, 16, 16, 3)))
    y = b.conv(x, weight(3, 3, 3, 8), weight(8), strides=(1, 1), dilations=(1, 1), padding="same")
    y = b.relu(y)
    y = b.max_pool(y, window=(2, 2), strides=(2, 2), dilations=(1, 1))
    y = b.reshape(y, shape=(N, -1))
    return b.outputs(b.softmax(b.matmul(y, weight(512, 10), weight(10))), names=["p"])


def images(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 16, 16, 3)).astype(np.float32)


def test_changing_batch_sizes_use_bounded_plans() -> None:
    exe = tenun.compile(network(), threads=1)
    x = images(40)
    whole = exe(x)
    for n in [1, 2, 3, 5, 7, 40, 1, 39, 0]:
        np.testing.assert_allclose(exe(x[:n]), whole[:n], rtol=1e-5, atol=1e-6)
    program = exe._program.whole
    for n in range(1, 30):
        exe(x[:n])
    assert len(program._idle) <= program.cache


def test_eight_threads_call_one_executable() -> None:
    exe = tenun.compile(network())
    inputs = [images(n % 5 + 1, seed=n) for n in range(64)]
    expected = [exe(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(exe, inputs), expected):
            np.testing.assert_array_equal(got, want)


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    x = images(64)
    results = [tenun.compile(network(), threads=t)(x) for t in (1, 2, 3)]
    sharded = ShardedProgram(network(), Options(2))
    assert batch_symbol(network()) == "N" and sharded._cut([x]) > 0
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_what_shapes_make_superfluous_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that are known with the shapes are an attribute then; nobody reads the node that gave them."""
    monkeypatch.setitem(PIPELINES, "specialize", ())
    b = Builder(Graph("parts"))
    x = b.input("x", Tensor(f32, (N, 3)))
    sizes = b.fill(np.int64(1), shape=b.slice(b.shape(x), starts=(0,), ends=(1,)))
    exe = tenun.compile(b.outputs(b.split_to_sequence(x, axis=0, sizes=sizes), names=["parts"]), pipeline="none")
    for _ in range(2):
        assert [part.tolist() for part in exe(np.eye(3, dtype="f"))] == [[row] for row in np.eye(3).tolist()]


def test_pickled_executables_run() -> None:
    exe = tenun.compile(network())
    again = pickle.loads(pickle.dumps(exe))
    np.testing.assert_array_equal(again(images(3)), exe(images(3)))


def test_results_are_the_callers_own() -> None:
    exe = tenun.compile(network())
    first = exe(images(2, seed=1))
    kept = first.copy()
    exe(images(2, seed=2))
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    assert exe(images(2, seed=2)).any()


def test_predict_in_batches() -> None:
    exe = tenun.compile(network())
    x = images(23)
    np.testing.assert_allclose(exe.predict(x, batch_size=5), exe(x), rtol=1e-5, atol=1e-6)


def test_fetch_any_value_by_name_or_layer() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 4)))
    with b.at("first"):
        y = b.add(b.matmul(x, weight(4, 4)), 1.0)
    with b.at("second"):
        z = b.relu(y)
    exe = tenun.compile(b.outputs(z, names=["out"]))
    values = exe.run({"x": weight(3, 4)}, fetch=["first", "out", "x"])
    np.testing.assert_allclose(values["first"], weight(3, 4) @ weight(4, 4) + 1, rtol=1e-5)
    np.testing.assert_allclose(values["out"], np.maximum(values["first"], 0), rtol=1e-5)
    with pytest.raises(tenun.RunError, match="no value or layer called 'third'.*\n.*hint: layers: first, second"):
        exe.run({"x": weight(3, 4)}, fetch=["third"])


def test_state_goes_from_call_to_call() -> None:
    b = Builder(Graph("counter"))
    x = b.input("x", Tensor(f32, (2,)))
    total = b.input("total", Tensor(f32, (2,)))
    new = b.add(total, x)
    graph = b.outputs(b.mul(new, 2.0), new, names=["y", "total_out"])
    graph.state.append(State(total, 1, b.constant(np.zeros(2, np.float32), "total.first")))
    exe = tenun.compile(graph)
    one = np.ones(2, np.float32)
    assert [exe(one)[0] for _ in range(3)] == [2, 4, 6]
    assert exe.state["total"].tolist() == [3, 3]
    assert pickle.loads(pickle.dumps(exe))(one)[0] == 8
    exe.reset_state()
    assert exe(one)[0] == 2
    assert exe(one, total=np.full(2, 10, np.float32))[0] == 22  # a state that is given takes the place of the kept one


def test_shapes_that_depend_on_data() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (symbol("T"),)))
    places = b.reshape(b.nonzero(b.greater(x, 0.0)), shape=(-1,))
    picked = b.gather(b.exp(x), places, axis=0)
    exe = tenun.compile(b.outputs(b.mul(picked, 2.0), b.reduce_sum(picked), names=["picked", "sum"]))
    for n in (5, 9):
        x = np.random.default_rng(n).standard_normal(n).astype(np.float32)
        got = exe.run({"x": x})
        np.testing.assert_allclose(got["picked"], 2 * np.exp(x[x > 0]), rtol=1e-6)
        np.testing.assert_allclose(got["sum"], np.exp(x[x > 0]).sum(), rtol=1e-5)


def test_attributes_known_at_run_time() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N, 6)))
    s = b.input("s", Tensor(i64, (2,)))
    y = b.relu(b.reshape(b.neg(x), shape=s))
    exe = tenun.compile(b.outputs(y, names=["y"]))
    x = weight(4, 6)
    for shape in ((8, 3), (24, 1), (-1, 4)):
        np.testing.assert_array_equal(exe(x, np.array(shape)), np.maximum(-x, 0).reshape(shape))
    with pytest.raises(tenun.TenunError):
        exe(x, np.array((5, 5)))


def test_control_flow() -> None:
    from tenun.ir.ops.control import control_node, trace

    b = Builder(Graph("power"))
    x = b.input("x", Tensor(f32, (N,)))
    times = b.input("times", Tensor(i64, ()))
    args = [("i", Tensor(i64, ())), ("c", Tensor(boolean, ())), ("v", x.tensor), ("x", x.tensor)]
    body = trace("body", lambda b, i, c, v, x: [c, b.mul(v, x), v], args)
    node = control_node(b, "loop", [times, None, x, x], {"carried": 1}, {"body": body})
    exe = tenun.compile(b.outputs(*node.outputs, names=["last", "all"]))
    got = exe.run({"x": np.array([1, 2, 3], np.float32), "times": np.array(3)})
    assert got["last"].tolist() == [1, 16, 81] and got["all"].tolist() == [[1, 2, 3], [1, 4, 9], [1, 8, 27]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((np.zeros((2, 16, 16, 4), np.float32),), r"expected f32\[N, 16, 16, 3\], got f32\[2, 16, 16, 4\]"),
        ((np.zeros((16, 16, 3), np.float32),), "the first axis is the batch"),
        ((np.zeros((1, 16, 16, 3), complex),), "expected f32"),
        ((np.array(["a"], object),), "expected f32"),
        ((images(1), images(1)), "expected 1 inputs"),
        ((), "missing"),
    ],
)
def test_wrong_inputs_show_expected_and_got(inputs: tuple, message: str) -> None:
    with pytest.raises(tenun.TenunError, match=message):
        tenun.compile(network())(*inputs)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(tenun.RunError, match="unknown"):
        tenun.compile(network())(y=images(1))


def test_nan_and_infinity_pass_through() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N,)))
    exe = tenun.compile(b.outputs(b.add(b.relu(x), 1.0)))
    np.testing.assert_array_equal(exe(np.array([np.nan, np.inf, -np.inf], np.float32)), [np.nan, np.inf, 1])


def test_the_plan_shares_memory() -> None:
    plan = tenun.compile(network(), threads=1).plan(images(4))
    assert plan.memory.bound <= plan.memory.total <= plan.memory.bound * 1.02 < plan.memory.naive


@pytest.mark.parametrize("value", [[[1, 2], [3]], {"a": 1}, np.array(["2020-01-01"], "datetime64[D]"), None])
def test_what_is_no_array_is_refused(value: object) -> None:
    with pytest.raises(tenun.TenunError):
        tenun.compile(network())(value)


def test_a_plan_that_no_memory_holds_is_refused() -> None:
    b = Builder(Graph("g"))
    x = b.input("x", Tensor(f32, (N,)))
    n = 2**40
    y = b.reduce_max(b.mul(b.expand(b.reshape(x, shape=(N, 1)), shape=(N, n)), np.arange(2, dtype=np.float32)[:1]))
    with pytest.raises(tenun.RunError, match="cannot plan"):
        tenun.compile(b.outputs(b.add(b.exp(y), y)))(np.ones(2**20, np.float32))
