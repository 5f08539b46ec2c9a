"""Batches against Keras' data adapters."""

from __future__ import annotations

import threading
import warnings
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tenun.errors import RunError, UnsupportedError
from tenun.training.data import (
    RAN_OUT,
    Batch,
    SequenceBatches,
    batches,
    class_weight_to_sample_weights,
    single_batch,
    train_validation_split,
    validation_batches,
)

X = np.arange(46, dtype=np.float64).reshape(23, 2)
Y = np.arange(23)


def adapter(keras: Any, *args: Any, **kwargs: Any) -> Any:
    from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

    return ArrayDataAdapter(*args, **kwargs)


def flat(value: Any) -> list[np.ndarray]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [a for v in value.values() for a in flat(v)]
    return [a for v in value for a in flat(v)] if isinstance(value, (list, tuple)) else [np.asarray(value)]


def same(got: list[Batch], want: list[Any]) -> None:
    """Equal batches, dtypes and all."""
    assert len(got) == len(want)
    for ours, theirs in zip(got, want):
        pairs = list(zip(flat((ours.x, ours.y, ours.sample_weight)), flat(theirs), strict=True))
        for a, b in pairs:
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_array_equal(a, b)
        assert ours.size == len(pairs[0][0])


CASES: dict[str, tuple[Any, Any, Any]] = {
    "floats": (X, Y, None),
    "half": (X.astype(np.float16), Y.astype(np.uint8), np.linspace(0, 1, 23)),
    "nested": ({"a": X, "b": [Y, X.astype(np.float32)]}, [Y > 3, X], None),
    "one weight for two": ([X], {"p": Y, "q": X}, np.linspace(0, 1, 23)[:, None]),
    "weights each": ([X, Y], [Y, X], [np.ones(23), np.zeros((23, 2))]),
    "with None": ((X, None), Y, None),
    "only x": (X.astype(">f4"), None, None),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [None, 1, 7, 23, 100])
def test_arrays_as_keras_cuts_them(keras: Any, name: str, size: int | None) -> None:
    x, y, weight = CASES[name]
    want = adapter(keras, x, y, weight, batch_size=size)
    got = batches(x, y, weight, batch_size=size)
    assert got.steps == want.num_batches
    found = list(got.epoch(0))
    if name != "only x":  # Keras leaves floats in the other byte order
        same(found, list(want.get_numpy_iterator()))
    assert found[0].size == min(size or 32, 23)


def test_class_weight_as_keras(keras: Any) -> None:
    want = adapter(keras, X, Y % 3, class_weight={0: 2.0, 2: 0.5}, batch_size=10)
    got = batches(X, Y % 3, class_weight={0: 2.0, 2: 0.5}, batch_size=10)
    same(list(got.epoch(0)), list(want.get_numpy_iterator()))


@pytest.mark.parametrize(
    "y",
    [Y, Y % 4, (Y % 4)[:, None], np.eye(4)[Y % 4], (Y % 4) + 0.4, (Y % 2).astype(bool), [0, 1, 3], [[0.5], [1.5]]],
    ids=str,
)
def test_weights_of_classes(keras: Any, y: Any) -> None:
    from keras.src.trainers.data_adapters import data_adapter_utils

    weights = {0: 0.25, 1: 3, 3: 1.5, np.int64(7): 9}
    want = data_adapter_utils.class_weight_to_sample_weights(np.asarray(y), weights)
    got = class_weight_to_sample_weights(y, weights)
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 1 / 3, 0.5, 0.9])
def test_split_as_keras(keras: Any, fraction: float) -> None:
    from keras.src.trainers.data_adapters.array_slicing import train_validation_split as split

    data = ({"a": X, "b": [X]}, Y, None)
    for got, want in zip(train_validation_split(data, fraction), split(data, fraction)):
        for a, b in zip(flat(got), flat(want), strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        assert got[2] is None


def test_split_errors() -> None:
    for fraction in (0.001 - 1, 1.0, 1.5):
        with pytest.raises(RunError, match="23 samples cannot be split"):
            train_validation_split((X, Y, None), fraction)
    with pytest.raises(RunError, match=r"cannot be split .*=0.5"):
        train_validation_split(([[1.0]], [1], None), 0.5)
    with pytest.raises(RunError, match="for arrays, there is a generator"):
        train_validation_split(((i for i in ()), None, None), 0.5)
    with pytest.raises(RunError, match="x: 23, y: 4"):
        train_validation_split((X, Y[:4], None), 0.5)


def test_lists_of_numbers_become_arrays() -> None:
    batch = single_batch([[1, 2], [3, 4]], [0.5, 1.5], [1, 2])
    assert batch.x.dtype == np.int64 and batch.x.shape == (2, 2) and batch.y.dtype == np.float32
    assert single_batch({"a": [[1.0], [2.0]], "b": (X[:2], [3, 4])}).x["b"][1].shape == (2,)
    assert single_batch([np.float64(1), np.float64(2)]).x.dtype == np.float32
    assert single_batch(["a", "b"]).x.tolist() == ["a", "b"]
    pair = namedtuple("pair", "left right")
    assert single_batch(pair(X, Y)).x.right.shape == (23,)
    first, last = train_validation_split(([[1], [2], [3], [4]], [1, 2, 3, 4], None), 0.25)
    assert first[0].tolist() == [[1], [2], [3]] and last[1].tolist() == [4]


def test_tensors(keras: Any) -> None:
    tf = pytest.importorskip("tensorflow")
    batch = single_batch(tf.constant(X), keras.Variable(Y.astype(np.float32)))
    assert batch.x.dtype == np.float32 and batch.y.dtype == np.float32
    np.testing.assert_array_equal(batch.x, X)

    class Graded:  # a torch tensor that needs a gradient refuses __array__
        def __array__(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError

        def detach(self) -> Any:
            return self

        def cpu(self) -> Any:
            return X

    np.testing.assert_array_equal(single_batch(Graded()).x, X)
    with pytest.raises(RunError, match="x is no array, but a RaggedTensor(?s:.*)to_tensor"):
        batches(tf.ragged.constant([[1], [2, 3]]))


def test_frames(keras: Any) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": X[:, 0], "b": Y})
    want = adapter(keras, frame, frame["b"], batch_size=7)
    same(list(batches(frame, frame["b"], batch_size=7).epoch(0)), list(want.get_numpy_iterator()))
    with pytest.raises(RunError, match="x holds Python objects"):
        batches(pd.DataFrame({"a": X[:, 0], "b": ["s"] * 23}))


def test_frames_by_what_they_can() -> None:
    class Series:
        iloc = None

        def to_numpy(self) -> Any:
            return Y

    assert single_batch(X, Series()).y.shape == (23, 1)


def test_batches_in_order_are_views() -> None:
    x = X.astype(np.float32)
    assert all(np.shares_memory(b.x, x) for b in batches(x, batch_size=5).epoch(0))
    assert not any(np.shares_memory(b.x, x) for b in batches(x, batch_size=5, shuffle=True).epoch(0))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(number: int, seed: int, shuffle: Any = True, start: int = 0) -> list[int]:
        data = batches({"a": X}, Y, batch_size=5, shuffle=shuffle, seed=seed)
        found = list(data.epoch(number, start))
        assert all((b.x["a"][:, 0] == 2 * b.y).all() for b in found)
        return [int(i) for b in found for i in b.y]

    assert order(3, seed=7) == order(3, seed=7) != order(4, seed=7) != order(4, seed=8)
    assert sorted(order(3, seed=7)) == Y.tolist()
    assert order(3, 7, start=2) == order(3, 7)[10:]
    mixed = order(3, 7, "batch")
    assert mixed != order(4, 7, "batch") and mixed[10:] == order(3, 7, "batch", start=2)
    for i in range(0, 23, 5):
        assert sorted(mixed[i : i + 5]) == Y[i : i + 5].tolist()


# ---- epochs


class Numbered:
    """A dataset of five batches of four samples, as keras.utils.PyDataset."""

    def __init__(self, length: int = 5, **attributes: Any) -> None:
        self.length, self.calls, self.threads = length, [], set()
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        assert type(i) is int
        self.threads.add(threading.get_ident())
        return np.full((4, 2), i, np.float32), np.full(4, i)

    def on_epoch_end(self) -> None:
        self.calls.append("end")


def generator(n: int) -> Iterator[Any]:
    yield from (Numbered()[i] for i in range(n))


def counts(data: Any, epochs: int) -> tuple[list[int], int]:
    """The number of batches in each epoch, and the number of warnings."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = []
        for number in range(epochs):
            if data.ran_out():
                break
            found.append(len(list(data.epoch(number))))
    return found, sum(str(w.message) == RAN_OUT for w in seen)


def keras_counts(keras: Any, x: Any, epochs: int, **kwargs: Any) -> tuple[list[int], int]:
    from keras.src.trainers.epoch_iterator import EpochIterator

    iterator = EpochIterator(x, **kwargs)
    iterator.reset()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        found = []
        for _ in range(epochs):
            found.append(0)
            with iterator.catch_stop_iteration():
                for _, _, buffer in iterator:
                    found[-1] += len(buffer)
    return found, sum(str(w.message) == RAN_OUT for w in seen)


@pytest.mark.parametrize("steps", [None, 1, 3, 5, 7])
@pytest.mark.parametrize("size", [None, 5])
def test_epochs_of_arrays_as_keras(keras: Any, steps: int | None, size: int | None) -> None:
    want = keras_counts(keras, X, 6, batch_size=size, steps_per_epoch=steps)
    assert counts(batches(X, batch_size=size, steps=steps), 6) == want


@pytest.mark.parametrize("steps", [None, 2, 3, 5, 7])
def test_epochs_of_datasets_as_keras(keras: Any, steps: int | None) -> None:
    tf = pytest.importorskip("tensorflow")
    known = tf.data.Dataset.range(20).batch(4)
    for dataset in (known, known.apply(tf.data.experimental.assert_cardinality(5))):
        assert counts(batches(dataset, steps=steps), 6) == keras_counts(keras, dataset, 6, steps_per_epoch=steps)
    unknown = known.filter(lambda x: True)
    got = counts(batches(unknown, steps=steps), 6)
    if steps is None:  # Keras warns at the natural end of each epoch
        assert got == ([5] * 6, 0)
    elif 5 % steps:
        assert got == keras_counts(keras, unknown, 6, steps_per_epoch=steps)
    else:  # Keras has an epoch without batches in between
        assert got == ([steps] * 6, 0)


def test_epochs_go_on_where_the_last_one_ended() -> None:
    for data in (batches(Numbered(), steps=2), batches(generator(5), steps=2), batches(list_of_batches(), steps=2)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen = [[int(b.y[0]) for b in data.epoch(e)] for e in range(3)]
        assert seen == [[0, 1], [2, 3], [4]]
    data = batches(Numbered(), steps=2)  # and an epoch can be had on its own
    assert [int(b.y[0]) for b in data.epoch(1)] == [2, 3] and [int(b.y[0]) for b in data.epoch(4, 1)] == [3]


def list_of_batches() -> Any:
    class Loader:  # like a torch DataLoader
        def __iter__(self) -> Iterator[Any]:
            return (list(Numbered()[i]) for i in range(5))

        def __len__(self) -> int:
            return 5

    return Loader()


def test_generators_end_training() -> None:
    assert counts(batches(generator(5), steps=3), 4) == ([3, 2], 1)
    assert counts(batches(generator(6), steps=3), 4) == ([3, 3], 1)
    assert counts(batches(generator(6), steps=3), 2) == ([3, 3], 0)
    assert counts(batches(generator(5)), 1) == ([5], 0)
    assert counts(batches(generator(5)), 3) == ([5], 1)
    data = batches(generator(5))
    assert data.steps is None and len(list(data.epoch(0))) == 5 and data.steps == 5
    with pytest.warns(UserWarning, match="ran out of data"):
        assert list(data.epoch(1)) == []
    with pytest.raises(RunError, match="the generator yields no batch"):
        list(batches(generator(0)).epoch(0))
    with pytest.raises(RunError, match="the generator yields no batch"):
        batches(generator(0)).first()


def test_first_keeps_the_batch() -> None:
    for source in (generator(5), list_of_batches(), Numbered()):
        data = batches(source)
        assert data.first().y.tolist() == [0] * 4
        assert [int(b.y[0]) for b in data.epoch(0)] == [0, 1, 2, 3, 4]
    assert batches(X, Y).first().x.shape == (23, 2)


def test_validation_starts_anew_each_time() -> None:
    held_out = validation_batches(list_of_batches(), batch_size=3, steps=2)
    for _ in range(2):
        assert [int(b.y[0]) for b in held_out.epoch(0)] == [0, 1]
    assert [b.size for b in validation_batches((X, Y), batch_size=20).epoch(0)] == [20, 3]
    weighted = validation_batches((X, Y, np.ones(23)))
    assert weighted.first().sample_weight.dtype == np.float32


@pytest.mark.parametrize("attributes", [{}, {"workers": 3, "max_queue_size": 2}, {"use_multiprocessing": True}])
def test_datasets_by_number(attributes: dict[str, Any]) -> None:
    dataset = Numbered(**attributes)
    data = batches(dataset)
    assert isinstance(data, SequenceBatches) and data.steps == 5
    assert [int(b.y[0]) for b in data.epoch(0)] == [0, 1, 2, 3, 4] and dataset.calls == ["end"]
    assert (threading.get_ident() in dataset.threads) == (not attributes)
    mixed = [[int(b.y[0]) for b in batches(Numbered(), shuffle=True, seed=3).epoch(e)] for e in (0, 0, 1)]
    assert mixed[0] == mixed[1] != mixed[2] and sorted(mixed[2]) == [0, 1, 2, 3, 4]
    abandoned = data.epoch(0)
    next(abandoned)
    abandoned.close()


def test_pydataset_of_keras(keras: Any) -> None:
    class Squares(keras.utils.PyDataset):
        def __init__(self, n: int | None) -> None:
            super().__init__()
            self.n = n

        @property
        def num_batches(self) -> int | None:
            return self.n

        def __getitem__(self, i: int) -> Any:
            return {"a": np.full((2, 1), i * i)}

    assert [int(b.x["a"][0, 0]) for b in batches(Squares(4)).epoch(0)] == [0, 1, 4, 9]
    endless = batches(Squares(None), steps=3)
    assert endless.steps == 3
    assert [[int(b.x["a"][0, 0]) for b in endless.epoch(e)] for e in (0, 1)] == [[0, 1, 4], [9, 16, 25]]


def test_class_weight_of_batches() -> None:
    for source in (generator(3), Numbered(3)):
        found = [b.sample_weight.tolist() for b in batches(source, class_weight={1: 5.0}).epoch(0)]
        assert found == [[1] * 4, [5] * 4, [1] * 4]
    triple = ((*Numbered()[0], np.ones(4)) for _ in range(1))
    with pytest.raises(RunError, match="class_weight and sample_weight"):
        batches(triple, class_weight={1: 5.0}).first()


def test_what_does_not_fit_together() -> None:
    cases: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        (r"different numbers of samples: x\['a'\]: 23, x\['b'\]: 22, y: 23", ({"a": X, "b": X[1:]}, Y), {}),
        ("x: 23, y: 23, sample_weight: 2", (X, Y, [1, 2]), {}),
        ("x has no samples", (X[:0], Y[:0]), {}),
        ("x has no samples", ([],), {}),
        ("no data", (None,), {}),
        ("y is a single number", (X, np.array(3)), {}),
        ("x does not make an array", ([[1, 2], [3]],), {}),
        (r"x\['a'\] is no array, but a set", ({"a": {1}},), {}),
        ("class_weight and sample_weight", (X, Y, np.ones(23)), {"class_weight": {0: 1}}),
        ("class_weight needs one array", (X, [Y, Y]), {"class_weight": {0: 1}}),
        ("class_weight needs one array", (X,), {"class_weight": {0: 1}}),
        (r"one class a sample, y has the shape \(23, 2, 3\)", (X, np.zeros((23, 2, 3))), {"class_weight": {0: 1}}),
        (r"keys \['cat'\]", (X, Y), {"class_weight": {"cat": 1}}),
        ("sample_weight has the form", (X, [Y, Y], [np.ones(23)]), {}),
        (r"needs the shape \(samples,\)", (X, [Y, Y], np.ones((23, 2))), {}),
        ("so y must not be given", (generator(3), Y), {}),
        ("so sample_weight must not be given", (Numbered(), None, Y), {}),
        ("batch_size has to be a positive", (X,), {"batch_size": -1}),
        ("steps has to be a positive", (X,), {"steps": 2.5}),
        ("shuffle has to be", (X,), {"shuffle": "all"}),
    ]
    for message, args, kwargs in cases:
        with pytest.raises(RunError, match=message):
            batches(*args, **kwargs)
    for wrong in (3, "text", object()):
        with pytest.raises(UnsupportedError, match="neither arrays nor batches"):
            batches(wrong)
    with pytest.raises(RunError, match="has no batches"):
        list(batches(Numbered(0)).epoch(0))
    with pytest.raises(RunError, match="a batch has 4 parts"):
        batches(iter([(1, 2, 3, 4)])).first()
    with pytest.raises(RunError, match="different numbers of samples: x: 2, y: 3"):
        batches(iter([(X[:2], Y[:3])])).first()
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(X)
    with pytest.raises(RunError, match="(?s)x is no array, but a csr_matrix.*toarray"):
        batches(sparse, Y)


def test_ignored_arguments_warn() -> None:
    with pytest.warns(UserWarning, match="`shuffle=True` was passed, but will be ignored"):
        batches(generator(3), shuffle=True)
    with pytest.warns(UserWarning, match="`batch_size` is ignored"):
        batches(generator(3), batch_size=3)
