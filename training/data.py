"""What `fit`, `evaluate` and `predict` take, cut into batches.

    for batch in batches(x, y, batch_size=32, shuffle=True, seed=1).epoch(0):
        batch.x, batch.y, batch.sample_weight, batch.size

What is taken, and what becomes of it, is as in Keras (keras/src/trainers/data_adapters, epoch_iterator.py): arrays and
what turns into arrays, nested in lists, tuples and dicts; datasets of batches by number (PyDataset); generators and
other iterables of batches.  Floats become float32, other dtypes stay.  The order of shuffled samples depends on the
seed and the number of the epoch alone, so that training which is taken up again sees what it would have seen.
"""

from __future__ import annotations

import itertools
import math
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import RunError, UnsupportedError

Array = np.ndarray[Any, Any]
Structure = Any  # an array, None, or a list, tuple or dict of structures
Span = Any  # a slice of samples, or their numbers

BATCH_SIZE = 32
PLAIN = (bool, int, float, complex, str, bytes, np.generic)
DENSE = ("toarray", "to_tensor")  # what sparse matrices of SciPy and ragged tensors are made dense by
END = object()
RAN_OUT = (
    "Your input ran out of data; interrupting training. Make sure that your dataset or generator can generate at "
    "least `steps_per_epoch * epochs` batches. You may need to use the `.repeat()` function when building your dataset."
)
PARTS = ("x", "y", "sample_weight")


@dataclass(frozen=True)
class Batch:
    """Inputs, targets and weights of `size` samples, each in the structure that the user gave."""

    x: Structure
    y: Structure = None
    sample_weight: Structure = None
    size: int = 0


# ---- structures


def _is_plain(value: Any) -> bool:
    """Whether a list is one of numbers or strings, not one of arrays: its first leaf tells."""
    while isinstance(value, (list, tuple)):
        if not value:
            return True
        value = value[0]
    return isinstance(value, PLAIN)


def _nested(value: Structure) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and not _is_plain(value))


def _map(f: Callable[[str, Any], Any], value: Structure, path: str = "") -> Structure:
    """The structure with f(path, leaf) in place of each leaf; None stays."""
    if value is None or not _nested(value):
        return None if value is None else f(path, value)
    if isinstance(value, Mapping):
        return {k: _map(f, v, f"{path}[{k!r}]") for k, v in value.items()}
    parts = [_map(f, v, f"{path}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, list):
        return parts
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)


def _leaves(value: Structure, path: str = "") -> dict[str, Any]:
    """The leaves by path, without None."""
    found: dict[str, Any] = {}
    _map(found.__setitem__, value, path)
    return found


def _form(value: Structure) -> Any:
    """The structure without its leaves; lists and tuples are the same."""
    if isinstance(value, Mapping):
        return {k: _form(v) for k, v in value.items()}
    return [_form(v) for v in value] if _nested(value) else "leaf"


def _is_array(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or hasattr(value, "__array__") or hasattr(value, "iloc")


def _array(path: str, value: Any) -> Array:
    """A leaf as an array with floats in float32; RunError for what is none, or has no axis of samples."""
    if hasattr(value, "iloc"):  # of pandas: a Series becomes a column, as in Keras
        array = value.to_numpy()
        array = array[:, None] if array.ndim == 1 else array
    else:
        array = _converted(path, value)
    if array.ndim == 0:
        raise RunError(f"{path} is a single number", hint="arrays need a first axis, that of the samples")
    if array.dtype.kind == "O" and not all(isinstance(v, (str, bytes)) for v in array.flat):
        raise RunError(f"{path} holds Python objects (dtype object)", hint="convert all of its columns to numbers")
    floats = array.dtype.kind == "f" or (array.dtype.kind == "V" and "float" in array.dtype.name)
    if floats and array.dtype != np.float32:
        return array.astype(np.float32)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _converted(path: str, value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "detach"):  # of torch: NumPy takes neither tensors with a gradient nor those of a GPU
        value = value.detach().cpu()
    if not _is_array(value):
        dense = [f"make it dense with .{to_dense}()" for to_dense in DENSE if hasattr(value, to_dense)]
        hint = dense[0] if dense else "give arrays, tensors or lists"
        raise RunError(f"{path} is no array, but a {type(value).__name__}", hint=hint)
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} does not make an array: {error}") from None


def _taken(value: Structure, span: Span) -> Structure:
    """Samples out of all arrays: views for a slice, copies for numbers."""
    if isinstance(span, slice):
        return _map(lambda _, a: a[span], value)
    return _map(lambda _, a: a.take(span, axis=0), value)


def _count(parts: Mapping[str, Structure]) -> int:
    """The number of samples; RunError where there is none, or arrays differ."""
    sizes = {path: len(a) for what, value in parts.items() for path, a in _leaves(value, what).items()}
    if not sizes:
        raise RunError("there are no data: x is None")
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{path}: {n}" for path, n in sizes.items())
        raise RunError(f"the arrays have different numbers of samples: {counts}")
    count = next(iter(sizes.values()))
    if not count:
        raise RunError(f"{next(iter(sizes))} has no samples: its first axis is 0")
    return count


# ---- weights


def class_weight_to_sample_weights(y: Structure, class_weight: Mapping[int, float]) -> Array:
    """The weight of each sample's class, 1 for classes without; float32 (n,).

    Classes are the places of the largest entries of one-hot targets, else the targets rounded.  RunError where y is not
    the one target of a model, or has more than one class a sample.
    """
    if y is None or _nested(y):
        raise RunError(
            "class_weight needs one array of targets", hint="with several outputs, give sample_weight for each of them"
        )
    labels = _array("y", y)
    if labels.ndim > 1:
        labels = labels.argmax(axis=-1) if labels.shape[-1] != 1 else labels[..., 0]
    if labels.ndim != 1:
        raise RunError(
            f"class_weight needs one class a sample, y has the shape {np.shape(y)}", hint="use sample_weight"
        )
    wrong = [k for k in class_weight if not isinstance(k, (int, np.integer))]
    if wrong:
        raise RunError(f"class_weight has the keys {wrong}: classes are numbers")
    classes, places = np.unique(np.round(labels).astype(np.int32), return_inverse=True)
    return np.array([class_weight.get(int(c), 1.0) for c in classes], np.float32)[places]


def _weights(y: Structure, sample_weight: Structure) -> Structure:
    """Sample weights for each target: given so, or one a sample, which then serves for all targets."""
    if sample_weight is None or not _nested(y):
        return sample_weight
    if _nested(sample_weight):
        if _form(sample_weight) != _form(y):
            raise RunError(
                f"sample_weight has the form {_form(sample_weight)}, y the form {_form(y)}",
                hint="give one array of weights for each output",
            )
        return sample_weight
    if sample_weight.shape[1:] not in ((), (1,)):
        raise RunError(
            f"one sample_weight for several outputs needs the shape (samples,), it has {sample_weight.shape}",
            hint="give one array of weights for each output",
        )
    return _map(lambda *_: sample_weight, y)


def single_batch(
    x: Structure, y: Structure = None, sample_weight: Structure = None, class_weight: Mapping[int, float] | None = None
) -> Batch:
    """All samples as one batch, arrays converted and checked; raises RunError as `batches` does."""
    x, y, sample_weight = (arrays(v, what) for v, what in zip((x, y, sample_weight), PARTS))
    if class_weight is not None:
        if sample_weight is not None:
            raise RunError("class_weight and sample_weight cannot be given at the same time")
        sample_weight = class_weight_to_sample_weights(y, class_weight)
    sample_weight = _weights(y, sample_weight)
    return Batch(x, y, sample_weight, _count(dict(zip(PARTS, (x, y, sample_weight)))))


def arrays(value: Structure, what: str) -> Structure:
    """The structure with NumPy arrays for leaves; floats become float32, lists of numbers arrays.

    RunError, naming the leaf, for what is no array.
    """
    return _map(_array, value, what)


def unpacked(data: Any, source: str) -> tuple[Structure, Structure, Structure]:
    """(x, y, sample_weight) out of x, (x,), (x, y) or (x, y, sample_weight); RunError for longer tuples."""
    if not isinstance(data, (list, tuple)):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise RunError(f"{source} has {len(data)} parts: it has to be (x,), (x, y) or (x, y, sample_weight)")
    x, y, sample_weight = (*data, None, None)[:3]
    return x, y, sample_weight


def train_validation_split(data: tuple[Structure, ...], validation_split: float) -> tuple[Any, Any]:
    """Arrays cut in two, the last fraction for validation; both parts have the structure of `data`.

    RunError where there is something else than arrays, or too few samples.
    """
    wrong = [type(v).__name__ for part in data for v in _leaves(part).values() if not _is_array(v)]
    if wrong:
        raise RunError(f"validation_split is for arrays, there is a {wrong[0]}", hint="give validation_data")
    parts = {what: arrays(v, what) for what, v in zip(PARTS, data)}
    count = _count(parts)
    at = math.floor(count * (1.0 - validation_split))
    if not 0 < at < count:
        raise RunError(
            f"{count} samples cannot be split into training and validation with validation_split={validation_split}",
            hint="give more data, or another fraction between 0 and 1",
        )
    first, last = ([_taken(v, span) for v in parts.values()] for span in (slice(0, at), slice(at, count)))
    return tuple(first), tuple(last)


# ---- batches


class Batches(ABC):
    """Batches for epochs.

    steps_per_epoch: how many batches an epoch has; an epoch then goes on where the last one ended.  None: all.
    seed: decides on the order of samples; it may be changed between epochs.
    """

    steps_per_epoch: int | None
    seed: int = 0

    @property
    @abstractmethod
    def steps(self) -> int | None:
        """The number of batches of an epoch; None while it is unknown."""

    @abstractmethod
    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """The batches of epoch `number` from batch `start` on.

        An epoch that has fewer than `steps_per_epoch` warns at its end.
        """

    @abstractmethod
    def first(self) -> Batch:
        """A batch to learn shapes and dtypes from; the epochs keep it."""

    def ran_out(self) -> bool:
        """Whether no further epoch is possible, since a generator is at its end; warns then."""
        return False


class _Seekable(Batches):
    """Batches that can be had in any order, `length` of them in a pass through the data.

    With steps_per_epoch, a pass is cut into epochs, the last of which may be shorter, as in Keras; so it depends on
    the number of an epoch alone where it begins.
    """

    @property
    @abstractmethod
    def length(self) -> int:
        """The number of batches in a pass."""

    @abstractmethod
    def some(self, turn: int, numbers: range) -> Iterator[Batch]:
        """Batches of pass `turn`."""

    @property
    def steps(self) -> int | None:
        return self.steps_per_epoch or self.length

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        length = self.length
        wanted = self.steps_per_epoch or length
        turn, part = divmod(number, -(-length // wanted))
        begin = part * wanted
        end = min(begin + wanted, length)
        yield from self.some(turn, range(begin + start, end))
        if end - begin < wanted:
            warnings.warn(RAN_OUT, stacklevel=2)

    def first(self) -> Batch:
        return next(self.some(0, range(1)))


@dataclass
class ArrayBatches(_Seekable):
    """Batches of arrays: views in order, or copies in a random order.

    shuffle: True for all samples, "batch" for those within a batch.
    """

    whole: Batch
    batch_size: int
    steps_per_epoch: int | None = None
    shuffle: bool | str = False
    seed: int = 0

    @property
    def length(self) -> int:
        return -(-self.whole.size // self.batch_size)

    def some(self, turn: int, numbers: range) -> Iterator[Batch]:
        mixed = self.shuffle and self.shuffle != "batch"
        order = np.random.default_rng((self.seed, turn)).permutation(self.whole.size) if mixed else None
        for number in numbers:
            begin = number * self.batch_size
            end = min(begin + self.batch_size, self.whole.size)
            span: Span = slice(begin, end) if order is None else order[begin:end]
            if self.shuffle == "batch":
                span = begin + np.random.default_rng((self.seed, turn, number)).permutation(end - begin)
            x, y, weight = (_taken(v, span) for v in (self.whole.x, self.whole.y, self.whole.sample_weight))
            yield Batch(x, y, weight, end - begin)


@dataclass
class SequenceBatches(_Seekable):
    """Batches by number from an object as keras.utils.PyDataset: `__getitem__`, `num_batches` or `__len__`.

    Its methods `on_epoch_begin` and `on_epoch_end` are called if there are any; with `workers`, threads make batches
    ahead, `max_queue_size` at most.
    """

    dataset: Any
    steps_per_epoch: int | None = None
    shuffle: bool | str = False
    seed: int = 0
    class_weight: Mapping[int, float] | None = None

    @property
    def length(self) -> int:
        found = _batches_of(self.dataset)
        if not found:
            raise RunError(f"the {type(self.dataset).__name__} has no batches: its length is {found}")
        return found

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        self._call("on_epoch_begin")
        yield from super().epoch(number, start)
        self._call("on_epoch_end")

    def _call(self, hook: str) -> None:
        if hasattr(self.dataset, hook):
            getattr(self.dataset, hook)()

    def some(self, turn: int, numbers: range) -> Iterator[Batch]:
        order: Sequence[int] = range(self.length)
        if self.shuffle:
            order = np.random.default_rng((self.seed, turn)).permutation(self.length).tolist()
        for made in self._made(order[numbers.start : numbers.stop]):
            yield _streamed(made, "a batch of the dataset", self.class_weight)

    def _made(self, numbers: Sequence[int]) -> Iterator[Any]:
        workers = getattr(self.dataset, "workers", 1)
        if workers <= 1 and not getattr(self.dataset, "use_multiprocessing", False):
            yield from (self.dataset[i] for i in numbers)
            return
        from concurrent.futures import Future, ThreadPoolExecutor

        waiting: deque[Future[Any]] = deque()
        with ThreadPoolExecutor(max(workers, 1)) as pool:
            try:
                for i in numbers:
                    waiting.append(pool.submit(self.dataset.__getitem__, i))
                    if len(waiting) > getattr(self.dataset, "max_queue_size", 10):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()


class _Lookahead:
    """An iterator whose next element can be seen before it is taken; `taken` counts."""

    def __init__(self, source: Iterable[Any]) -> None:
        self.source, self.taken, self._kept = iter(source), 0, END

    def peek(self) -> Any:
        """The next element, or END."""
        if self._kept is END:
            self._kept = next(self.source, END)
        return self._kept

    def take(self) -> Any:
        """The next element, or END."""
        found, self._kept = self.peek(), END
        self.taken += found is not END
        return found


@dataclass
class StreamBatches(Batches):
    """Batches of an iterable: a generator, which can be gone through once, or a dataset, which can be so often.

    Epoch 0 starts a dataset anew, and so does every epoch without steps_per_epoch.  A generator always goes on.
    """

    source: Iterable[Any]
    steps_per_epoch: int | None = None
    class_weight: Mapping[int, float] | None = None
    known: int | None = None  # the number of batches in a pass
    _running: _Lookahead | None = field(default=None, init=False)
    _warned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.once = hasattr(self.source, "__next__")
        if self.known is None and not self.once:
            self.known = _length(self.source)

    @property
    def steps(self) -> int | None:
        return self.steps_per_epoch or self.known

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        limit, step = self.steps_per_epoch, 0
        running = self._renewed(anew=limit is None or number == 0)
        while limit is None or step < limit:
            made = running.take()
            if made is END and step == 0 and running.taken and not self.once:
                running = self._renewed(anew=True)  # the last epoch ended with the data
                continue
            if made is END:
                self._ended(step, running)
                return
            if step >= start:
                yield _streamed(made, "a batch", self.class_weight)
            step += 1

    def _renewed(self, anew: bool) -> _Lookahead:
        """The iterator at work, or one from the start."""
        if self._running is None or (anew and self._running.taken and not self.once):
            self._running = _Lookahead(self.source)
        return self._running

    def _ended(self, step: int, running: _Lookahead) -> None:
        if not running.taken:
            raise RunError(f"the {type(self.source).__name__} yields no batch")
        if not self.once:
            self._running = None
        if self.steps_per_epoch is not None or not step:
            self._warn()
        elif self.known is None:
            self.known = step

    def _warn(self) -> None:
        if not (self._warned and self.once):
            warnings.warn(RAN_OUT, stacklevel=3)
        self._warned = True

    def first(self) -> Batch:
        made = self._renewed(anew=False).peek()
        if made is END:
            raise RunError(f"the {type(self.source).__name__} yields no batch")
        return _streamed(made, "a batch", self.class_weight)

    def ran_out(self) -> bool:
        if not self.once or self._renewed(anew=False).peek() is not END:
            return False
        self._warn()
        return True


class _Endless:
    """All batches of a dataset that has no number of them."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[i] for i in itertools.count())


def _streamed(made: Any, source: str, class_weight: Mapping[int, float] | None) -> Batch:
    """A batch as a user's object made it."""
    return single_batch(*unpacked(made, source), class_weight)


def _length(source: Any) -> int | None:
    """The number of elements, if it is known."""
    try:
        return len(source)
    except TypeError:
        return None


def _batches_of(dataset: Any) -> int | None:
    """The number of batches in a dataset; None for endless ones."""
    return dataset.num_batches if hasattr(dataset, "num_batches") else len(dataset)


# ---- the ways in


def batches(
    x: Any, y: Any = None, sample_weight: Any = None, *, batch_size: int | None = None, steps: int | None = None,
    shuffle: bool | str = False, class_weight: Mapping[int, float] | None = None, seed: int = 0,
) -> Batches:  # fmt: skip
    """Batches of whatever Keras takes for x, y and sample_weight.

    batch_size: samples in a batch of arrays; without it, 32, or what makes `steps` batches.  steps: steps_per_epoch.
    class_weight: weights by class, instead of sample_weight.  Raises RunError where data are empty, differ in their
    numbers of samples, or come twice, and UnsupportedError for objects that are no data.
    """
    _check_counts(batch_size=batch_size, steps=steps)
    if not isinstance(shuffle, (bool, np.bool_)) and shuffle not in ("batch", None):
        raise RunError(f'shuffle has to be True, False or "batch", it is {shuffle!r}')
    sparse = any(hasattr(x, to_dense) for to_dense in DENSE)
    if x is None or isinstance(x, Mapping) or _is_array(x) or sparse:
        whole = single_batch(x, y, sample_weight, class_weight)
        size = batch_size or (math.ceil(whole.size / steps) if steps else BATCH_SIZE)
        return ArrayBatches(whole, int(size), steps or None, shuffle or False, seed)
    kind = type(x).__name__
    for what, given in (("y", y), ("sample_weight", sample_weight)):
        if given is not None:
            raise RunError(f"x is a {kind}, so {what} must not be given", hint=f"let its batches have {what}")
    if batch_size is not None:
        warnings.warn(f"`batch_size` is ignored: a {kind} makes its own batches.", stacklevel=2)
    if hasattr(x, "__getitem__") and not isinstance(x, (str, bytes)):
        if _batches_of(x) is not None:
            return SequenceBatches(x, steps or None, shuffle or False, seed, class_weight)
        x = _Endless(x)
    if not hasattr(x, "__iter__") or isinstance(x, (str, bytes)):
        raise UnsupportedError(
            f"x is a {kind}, which is neither arrays nor batches",
            hint="give arrays, nested in lists or dicts, a generator, or a dataset of batches",
        )
    if shuffle:
        warnings.warn(
            f"`shuffle=True` was passed, but will be ignored since the data `x` was provided as a {kind}, which is "
            "expected to yield already-shuffled data.",
            stacklevel=2,
        )
    return StreamBatches(x, steps or None, class_weight)


def validation_batches(data: Any, *, batch_size: int | None = None, steps: int | None = None) -> Batches:
    """Batches of `validation_data`: a tuple (x, y) or (x, y, sample_weight), or a dataset."""
    x, y, sample_weight = unpacked(data, "validation_data")
    stream = not _is_array(x) and not isinstance(x, Mapping)
    return batches(x, y, sample_weight, batch_size=None if stream else batch_size, steps=steps)


def _check_counts(**counts: Any) -> None:
    for what, n in counts.items():
        if n is not None and (isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0):
            raise RunError(f"{what} has to be a positive whole number, it is {n!r}")
