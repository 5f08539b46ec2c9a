"""Numbers and texts as categories, and how these are encoded: CategoryEncoding, Discretization, Hashing, ..."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Var
from ..ir.types import string
from .base import Layer, as_dtype, is_float, layer

if TYPE_CHECKING:
    from .lowering import Scope

# earlier names of output modes
MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}


def check_mode(owner: Any, *modes: str) -> None:
    """Give the field `output_mode` today's name, and refuse what is none of the modes, and sparse results."""
    owner.output_mode = MODES.get(owner.output_mode, owner.output_mode)
    if owner.output_mode not in modes:
        owner.refuse("output_mode", hint=f"one of {', '.join(modes)}")
    if getattr(owner, "sparse", False):
        owner.refuse("sparse", hint="results are dense: sparse=False gives the same numbers")


def encode(b: Builder, x: Var, mode: str, depth: int, dtype: Any, *, weights: Var | None = None) -> Var:
    """Indices in [0, depth) by an output mode, as Keras encodes them (numerical_utils.encode_categorical_inputs).

    int: themselves.  one_hot: (..., depth), in place of a last axis of 1 if there is one before it.  multi_hot and
    count: which indices stand in a sample, or how many times (or the sum of their weights); a sample lies along
    the last axis, along axis 1 of a tensor with more than two.  Larger indices do not count; negative ones neither,
    but in the two modes for samples of rank up to 2 they are an error.
    """
    if mode == "int":
        return as_dtype(b, x, dtype)
    x = as_dtype(b, x, "int64")
    rank = len(x.shape)
    if rank == 0:
        x, rank = b.unsqueeze(x, axes=(0,)), 1
    if mode == "one_hot":
        x = b.squeeze(x, axes=(-1,)) if rank > 1 and x.shape[-1] == 1 else x
        return as_dtype(b, b.equal(b.unsqueeze(x, axes=(-1,)), np.arange(depth)), dtype)
    if rank > 2:
        perm = (0, *range(2, rank), 1)
        x, weights = b.transpose(x, perm=perm), weights and b.transpose(weights, perm=perm)
    nowhere = depth if rank > 2 else depth + 1  # the last column is cut off; there is none after it
    places = b.where(b.less(x, 0), np.int64(nowhere), b.minimum(x, np.int64(depth)))
    ones = as_dtype(b, b.less(places, depth), dtype)
    zeros = b.expand(b.cast(np.int64(0), to=ones.tensor.dtype), shape=(*places.shape[:-1], depth + 1))
    if mode == "multi_hot":
        found = b.scatter_elements(zeros, places, ones, axis=-1)
    else:
        updates = ones if weights is None else as_dtype(b, weights, dtype)
        found = b.scatter_elements(zeros, places, updates, axis=-1, reduction="add")
    return b.slice(found, starts=(0,), ends=(depth,), axes=(-1,))  # type: ignore[no-any-return]


# ---- layers ---------------------------------------------------------------------------------------------------


@layer
class CategoryEncoding(Layer):
    """Integers in [0, num_tokens) as one_hot, multi_hot or count, see `encode`; floats are cut towards zero.

    Call argument `count_weights`: what each of them adds, in mode count.
    """

    num_tokens: int | None = None
    output_mode: str = "multi_hot"
    sparse: bool = False
    autocast: ClassVar[bool] = False
    call_arguments: ClassVar[tuple[str, ...]] = ("count_weights",)

    def check(self) -> None:
        check_mode(self, "one_hot", "multi_hot", "count")
        if not isinstance(self.num_tokens, int) or self.num_tokens < 1:
            self.refuse("num_tokens", hint="give the number of categories, 1 or more")

    def lower(self, b: Builder, x: Var, w: Scope, count_weights: Any = None) -> Var:
        if count_weights is not None:
            if self.output_mode != "count":
                raise self.invalid(f"count_weights are for output_mode='count', not {self.output_mode!r}")
            count_weights = as_dtype(b, b.as_var(count_weights), self.compute_dtype)
        size = self.num_tokens or 0  # what `check` has seen to
        return encode(b, x, self.output_mode, size, self.variable_dtype, weights=count_weights)


@layer
class Discretization(Layer):
    """How many of the (sorted) bin_boundaries are not above x: the number of its bin, int32, or that encoded.

    Boundaries and x are compared in float32.  They are given, or found by `adapt` for `num_bins` bins.
    """

    bin_boundaries: Any = None
    num_bins: int | None = None
    epsilon: float = 0.01
    output_mode: str = "int"
    sparse: bool = False
    autocast: ClassVar[bool] = False

    def check(self) -> None:
        check_mode(self, "int", "one_hot", "multi_hot", "count")
        if self.bin_boundaries is None and self.num_bins is None:
            raise self.invalid("needs bin_boundaries, or num_bins and then adapt()")
        if self.num_bins is not None and (not isinstance(self.num_bins, int) or self.num_bins < 0):
            self.refuse("num_bins")
        if self.bin_boundaries is not None:
            self.bin_boundaries = [float(v) for v in self.bin_boundaries]

    @property
    def cardinality(self) -> int | None:
        """How many bins there are."""
        return self.num_bins if self.bin_boundaries is None else len(self.bin_boundaries) + 1

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find the boundaries that part the data (an array, or an iterable of `steps` arrays) into num_bins bins.

        A summary of at most 1 / epsilon quantiles with weights stands for all data seen, as in Keras, whose steps
        this takes, to the bit.
        """
        if self.num_bins is None:
            raise self.invalid("adapt() is for layers with num_bins; this one has bin_boundaries")
        summary = np.zeros((2, 0), np.float32)
        for batch in batches(data, steps, whole=(np.ndarray,)):
            new = _summary(np.asarray(batch, np.float32), self.epsilon)
            merged = np.concatenate((new, summary), axis=1)
            summary = _compressed(merged[:, np.argsort(merged[0])], self.epsilon)
        self.bin_boundaries = _compressed(summary, 1.0 / self.num_bins)[0, :-1].tolist()
        self.version += 1

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        if self.bin_boundaries is None:
            raise self.invalid("has no bin_boundaries: call adapt(data) first")
        x = b.unsqueeze(as_dtype(b, x, "float32"), axes=(-1,))
        above = b.logical_not(b.less(x, np.array(self.bin_boundaries, np.float32)))  # NaN is above all
        bins = b.reduce_sum(as_dtype(b, above, "int32"), axes=(-1,))
        dtype = "int32" if self.output_mode == "int" else self.compute_dtype
        return encode(b, bins, self.output_mode, len(self.bin_boundaries) + 1, dtype)


def batches(data: Any, steps: int | None, whole: tuple[type, ...]) -> Iterable[Any]:
    """The batches that `adapt` is given: one array (of a type in `whole`), or an iterable of them."""
    if isinstance(data, whole) or hasattr(data, "__array__") or not hasattr(data, "__iter__"):
        return [data]
    return (batch for i, batch in enumerate(data) if steps is None or i < steps)


def _summary(values: np.ndarray[Any, Any], epsilon: float) -> np.ndarray[Any, Any]:
    """About 1 / epsilon of the sorted values, and the number of values that each stands for."""
    values = np.sort(values.reshape(-1))
    step = max(values.size * epsilon, 1)
    chosen = values[int(step - 1) :: int(step)]
    return np.stack([chosen, np.ones_like(chosen) * step])


def _compressed(summary: np.ndarray[Any, Any], epsilon: float) -> np.ndarray[Any, Any]:
    """A summary of 1 / epsilon values, interpolated between the given ones by their weights."""
    if summary.shape[1] * epsilon < 1:
        return summary
    parts = epsilon + np.arange(0.0, 1.0, epsilon)
    weights = summary[1].cumsum()
    shares = weights / weights[-1]
    values, weights = np.interp(parts, shares, summary[0]), np.interp(parts, shares, weights)
    return np.stack((values, np.diff(weights, prepend=0))).astype(np.float32)


# ---- hashes ---------------------------------------------------------------------------------------------------


def hashed(b: Builder, x: Var, bins: int, salt: Sequence[int] | None) -> Var:
    """The hash of texts, or of the decimal digits of integers, modulo a number: i64 (tf.strings.to_hash_bucket)."""
    number = b.string_hash(x, key=tuple(salt or ()))
    return b.cast(b.mod(number, np.uint64(bins)), to="int64")  # type: ignore[no-any-return]


def salt_of(owner: Any) -> list[int] | None:
    """The field `salt` as two integers; one stands for both."""
    given = owner.salt
    both = [given, given] if isinstance(given, int) else given
    if both is not None and (len(both) != 2 or not all(isinstance(v, int) for v in both)):
        owner.refuse("salt", hint="one integer or two of them")
    return None if both is None else list(both)


@layer
class Hashing(Layer):
    """The hash of each text or integer modulo num_bins, or that encoded; bin 0 is that of mask_value, if one is given.

    FarmHash's Fingerprint64, or with a salt SipHash-2-4, of the UTF-8 bytes or decimal digits.
    """

    num_bins: int
    mask_value: Any = None
    salt: Any = None
    output_mode: str = "int"
    sparse: bool = False
    autocast: ClassVar[bool] = False

    def check(self) -> None:
        check_mode(self, "int", "one_hot", "multi_hot", "count")
        if not isinstance(self.num_bins, int) or self.num_bins < 1:
            self.refuse("num_bins", hint="1 or more")
        self.salt = salt_of(self)
        if self.dtype is None:
            self.dtype = "int64" if self.output_mode == "int" else "float32"
        if self.output_mode == "int" and self.variable_dtype not in ("int32", "int64"):
            self.refuse("dtype", hint="with output_mode='int', int32 or int64")

    @property
    def cardinality(self) -> int:
        return self.num_bins

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        if self.output_mode == "one_hot" and x.shape and x.shape[-1] == 1:
            x = b.squeeze(x, axes=(-1,))
        bins = self._masked(b, x) if self.mask_value is not None and self.num_bins > 1 else self._hashed(b, x, 0)
        return encode(b, bins, self.output_mode, self.num_bins, self.variable_dtype)

    def _hashed(self, b: Builder, x: Var, less: int) -> Var:
        return hashed(b, _as_key(b, x), self.num_bins - less, self.salt)

    def _masked(self, b: Builder, x: Var) -> Var:
        text = x.tensor.dtype is string
        if text != isinstance(self.mask_value, str):
            raise self.invalid(f"mask_value={self.mask_value!r} is not of the input's dtype, {x.tensor.dtype}")
        mask = b.equal(x, np.array(self.mask_value, x.tensor.dtype.numpy))
        return b.where(mask, np.int64(0), b.add(self._hashed(b, x, 1), np.int64(1)))  # type: ignore[no-any-return]


def _as_key(b: Builder, x: Var) -> Var:
    """What is hashed of a value: floats are cut towards zero, booleans are the words true and false."""
    if is_float(x):
        return as_dtype(b, x, "int64")
    if x.tensor.dtype.kind == "bool":
        words = (np.array(word, object) for word in ("true", "false"))
        return b.where(x, *words)  # type: ignore[no-any-return]
    return x


@layer
class HashedCrossing(Layer):
    """The hash of several features taken together, modulo num_bins, or that as one_hot (tf.sparse.cross_hashed).

    The inputs, texts or integers, have the shape (N) or (N, 1).  A text counts by its Fingerprint64, an integer by its
    value; they are combined one after another by FarmHash's FingerprintCat64, from the key 0xDECAFCAFFE on.
    """

    num_bins: int
    output_mode: str = "int"
    sparse: bool = False
    autocast: ClassVar[bool] = False

    def check(self) -> None:
        check_mode(self, "int", "one_hot")
        if not isinstance(self.num_bins, int) or self.num_bins < 1:
            self.refuse("num_bins", hint="1 or more")
        if self.dtype is None and self.output_mode == "int":
            self.dtype = "int64"

    @property
    def cardinality(self) -> int:
        return self.num_bins

    def lower(self, b: Builder, x: Any, w: Scope) -> Var:
        self._check_inputs(x)
        combined: Any = b.as_var(np.uint64(0xDECAFCAFFE))
        for each in x:
            number = b.string_hash(each) if each.tensor.dtype is string else self._bits(b, each)
            combined = _combined(b, combined, number)
        bins = b.cast(b.mod(combined, np.uint64(self.num_bins)), to="int64")
        dtype = self.compute_dtype if self.output_mode == "one_hot" else self.variable_dtype
        return encode(b, bins, self.output_mode, self.num_bins, dtype)

    def _check_inputs(self, x: Any) -> None:
        if not isinstance(x, (list, tuple)) or len(x) < 2:
            raise self.invalid("takes a list of two inputs or more")
        for each in x:
            rank, kind = len(each.shape), each.tensor.dtype
            if rank > 2 or (rank == 2 and each.shape[-1] != 1) or rank != len(x[0].shape):
                raise self.invalid(f"takes inputs of shape (N) or (N, 1), all alike; got {each.type}")
            if not kind.is_integer and kind is not string:
                raise self.invalid(f"takes integers and texts, got {each.type}")

    @staticmethod
    def _bits(b: Builder, x: Var) -> Var:
        return b.bit_cast(as_dtype(b, x, "int64"), to="uint64")  # type: ignore[no-any-return]


def _combined(b: Builder, x: Var, y: Var) -> Var:
    """FingerprintCat64 of two numbers of 64 bits."""
    factor = np.uint64(0xC6A4A7935BD1E995)

    def mixed(v: Var) -> Var:
        return b.bit_xor(v, b.shift_right(v, np.uint64(47)))  # type: ignore[no-any-return]

    y = b.mul(mixed(b.mul(y, factor)), factor)
    x = b.mul(b.bit_xor(b.bit_xor(x, factor), y), factor)
    return mixed(b.mul(mixed(x), factor))


__all__ = ["CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "encode"]
