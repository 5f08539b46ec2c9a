"""Attention layers: dot products of projected or given queries and keys, and sums of them through tanh.

Semantics: keras/src/layers/attention.  `flash_attention` changes how Keras computes, not what, and so nothing here.
Where nothing but the result is asked for, they are the core op `attention`; its weights are there only to be dropped
out in training, or returned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Tensor, Var
from ..ir.attention import earlier
from ..ir.attention import weights as weights_of
from ..ir.dims import product
from .base import Config, Layer, Mask, Weight, as_dtype, layer, layer_base
from .regularization import Dropout
from .seed import Seeded, dropout

if TYPE_CHECKING:
    from .lowering import Scope

# initialisers that look at how many inputs and outputs a unit has, by their other names
_SCALING = {
    "variance_scaling": "VarianceScaling", "glorot_uniform": "GlorotUniform", "glorot_normal": "GlorotNormal",
    "he_uniform": "HeUniform", "he_normal": "HeNormal", "lecun_uniform": "LecunUniform",
    "lecun_normal": "LecunNormal",
}  # fmt: skip


@layer_base()
class Projection(Layer):
    """x @ kernel + bias over the last axes of x, the result's last axes being `outputs`: Keras' EinsumDense inside of
    attention layers.

    `inputs`: how many axes of x are summed over.
    """

    outputs: Sequence[int]
    inputs: int = 1
    use_bias: bool = True
    kernel_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    kernel_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    bias_constraint: Config = None

    @property
    def class_name(self) -> str:
        return "EinsumDense"

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        shape = (*inputs[0].dims[-self.inputs :], *self.outputs)
        axes = range(len(shape))
        initializer = with_axes(self.kernel_initializer, axes[: self.inputs], axes[self.inputs :])
        yield Weight("kernel", shape, initializer, True, self.kernel_regularizer, self.kernel_constraint)
        if self.use_bias:
            yield self.weight("bias", tuple(self.outputs))

    def lower(self, b: Builder, x: Var, w: Scope) -> Var:
        free, columns = x.shape[: -self.inputs], product(self.outputs)
        rows = product(x.shape[-self.inputs :])
        flat = x if self.inputs == 1 else b.reshape(x, shape=(*free, rows))
        bias = b.reshape(w.bias, shape=(columns,)) if self.use_bias else None
        y = b.matmul(flat, b.reshape(w.kernel, shape=(rows, columns)), bias)
        return y if len(self.outputs) == 1 else b.reshape(y, shape=(*free, *self.outputs))  # type: ignore[no-any-return]


def with_axes(initializer: Config, inputs: Sequence[int], outputs: Sequence[int]) -> Config:
    """An initialiser that is told which axes of a kernel are inputs and outputs, where it wants to know."""
    config = {"class_name": initializer, "config": {}} if isinstance(initializer, str) else initializer
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        return initializer
    name = _SCALING.get(config["class_name"], config["class_name"])
    options = config.get("config") or {}
    if name not in _SCALING.values() or options.get("input_axes") is not None:
        return initializer
    return {**config, "class_name": name, "config": {
        **options, "input_axes": list(inputs), "output_axes": list(outputs)}}  # fmt: skip


# ---- of several heads ----------------------------------------------------------------------------------------


@layer_base()
class _Heads(Layer):
    """Queries, keys and values are projected for each head, results of all heads projected back."""

    _: KW_ONLY
    dropout: float = 0.0  # of the weights, in training
    use_bias: bool = True
    sliding_window: int | None = None
    kernel_initializer: Config = "glorot_uniform"
    bias_initializer: Config = "zeros"
    kernel_regularizer: Config = None
    bias_regularizer: Config = None
    kernel_constraint: Config = None
    bias_constraint: Config = None
    use_gate: bool = False
    flash_attention: bool | None = None  # how Keras computes; it is no part of a config
    seed: int | None = None
    supports_masking: ClassVar[bool] = True
    first_argument: ClassVar[str] = "query"
    call_arguments: ClassVar[tuple[str, ...]] = (
        "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask", "return_attention_scores", "training",
        "use_causal_mask",
    )  # fmt: skip
    attribute: ClassVar[str]  # how Keras calls a projection

    @property
    def activity(self) -> Config:
        """Keras regularises the projections instead."""
        return None

    def outputs(self) -> dict[str, Sequence[int]]:
        """The last axes of the projections of query, key, value and the gate."""
        raise NotImplementedError

    def projections(self, features: Sequence[int]) -> dict[str, Projection]:
        """The projections by their attributes in Keras, which they have from the first call on."""
        if "_projections" not in self.__dict__:
            shapes = self.outputs()
            names = ["query", "key", *(["gate"] if self.use_gate else []), "value"]
            made = {name: self._projection(name, shapes[name], 1) for name in names}
            made["output"] = self._projection("attention_output", features, 2)
            self._projections = made
        return self._projections

    def _projection(self, name: str, outputs: Sequence[int], inputs: int) -> Projection:
        shared = ("use_bias", "kernel_initializer", "bias_initializer", "kernel_regularizer", "bias_regularizer",
                  "kernel_constraint", "bias_constraint", "activity_regularizer", "dtype")  # fmt: skip
        return Projection(outputs, inputs, name=name, **{key: getattr(self, key) for key in shared})

    @property
    def dropping(self) -> Dropout:
        """The layer that drops weights."""
        if "_dropping" not in self.__dict__:
            self._dropping = Dropout(self.dropout, seed=self.seed, name="dropout", dtype=self.dtype)
        return self._dropping

    def children(self) -> Iterator[tuple[str, Any]]:
        for name, each in self.__dict__.get("_projections", {}).items():
            yield "_gate_dense" if name == "gate" else self.attribute.format(name), each
        yield "_dropout_layer", self.dropping

    def features(self, query: Var) -> Sequence[int]:
        """The last axes of the result."""
        return (query.shape[-1],)

    def lower(
        self, b: Builder, query: Var, w: Scope, value: Var | None = None, key: Var | None = None,
        query_mask: Mask = None, value_mask: Mask = None, key_mask: Mask = None, attention_mask: Mask = None,
        return_attention_scores: bool = False, use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        if value is None:
            raise self.invalid("a call needs a query and a value")
        if key is None:
            key, key_mask = value, None
        made = self.projections(self.features(query))

        def project(name: str, x: Var) -> Var:
            return self._project(b, made[name], x, w)

        gate = b.sigmoid(project("gate", query)) if self.use_gate else None
        q, k, v = (project(name, x) for name, x in (("query", query), ("key", key), ("value", value)))
        mask = self._mask(b, query, value, query_mask, value_mask, key_mask, attention_mask)
        zeroed = bool(self.dropout or return_attention_scores or len(q.shape) != 4)  # Keras' other way of computing
        y, scores = self.attend(b, q, k, v, mask, w, use_causal_mask, zeroed, return_attention_scores)
        y = project("output", y if gate is None else b.mul(y, gate))
        return (y, scores) if return_attention_scores else y

    def _project(self, b: Builder, projection: Projection, x: Var, w: Scope) -> Var:
        from .lowering import Activity

        inner = w.child(projection, x.tensor)
        y = projection.lower(b, x, inner)
        if projection.activity is not None:
            w.lowering.activities.append(Activity(projection, y))
        return y

    def _mask(
        self, b: Builder, query: Var, value: Var, query_mask: Mask, value_mask: Mask, key_mask: Mask, given: Mask
    ) -> Mask:
        """All masks but the causal one as one: (B, Tq, Tk), or of more axes."""
        found = [] if given is None else [as_dtype(b, given, "bool")]
        for mask, axis in ((query_mask, -1), (value_mask, -2), (key_mask, -2)):
            if mask is not None:
                found.append(b.unsqueeze(as_dtype(b, mask, "bool"), axes=(axis,)))
        if self.sliding_window is not None:
            found.append(_band(b, query, value, self.sliding_window))
        if len(query.shape) != 3 and len(found) > (given is not None):
            raise self.invalid("masks of inputs of more than three axes are not supported; give an attention_mask")
        mask = found[0] if found else None
        for other in found[1:]:
            mask = b.logical_and(mask, other)
        return mask

    def attend(
        self, b: Builder, q: Var, k: Var, v: Var, mask: Mask, w: Scope, causal: bool, zeroed: bool, scores: bool
    ) -> tuple[Var, Var | None]:
        """The result (..., Tq, H, Dv) for projected q, k, v (..., T, H, D), and the weights if they are asked for."""
        raise NotImplementedError

    def weighted(
        self, b: Builder, q: Var, k: Var, v: Var, mask: Mask, w: Scope, causal: bool, zeroed: bool, scores: bool
    ) -> tuple[Var, Var | None]:
        """The same for (..., T, D), with a mask that broadcasts to (..., Tq, Tk)."""
        scale = 1 / math.sqrt(q.shape[-1])
        if zeroed and mask is not None and causal:
            mask, causal = b.logical_and(mask, earlier(b, q, k)), False
        zero = b.constant(0, dtype=q.tensor.dtype.numpy)
        if not scores and not (w.training and self.dropout):
            y = b.attention(q, k, v, mask, scale=scale, causal=causal)
            some = b.reduce_any(mask, axes=(-1,), keepdims=True) if zeroed and mask is not None else None
            return (y if some is None else b.where(some, y, zero)), None
        weights = weights_of(b, q, k, mask, scale=scale, causal=causal)
        weights = weights if mask is None else b.where(mask, weights, zero)
        return b.matmul(self._dropped(weights, w), v), weights

    def _dropped(self, weights: Var, w: Scope) -> Var:
        from .lowering import Value

        return w.call(self.dropping, Value(weights)).var if self.dropout else weights  # type: ignore[no-any-return]


def _band(b: Builder, query: Var, value: Var, window: int) -> Var:
    """Whether |i - j| < window: bool[Tq, Tk]."""
    ones = b.expand(b.constant(np.bool_(True)), shape=(query.shape[1], value.shape[1]))
    return b.trilu(b.trilu(ones, k=window - 1, upper=False), k=1 - window)  # type: ignore[no-any-return]


@layer
class MultiHeadAttention(_Heads):
    """softmax(q kᵀ / sqrt(key_dim)) v of every head, over `attention_axes`: by default all but batch and features."""

    num_heads: int
    key_dim: int
    value_dim: int | None = None
    _: KW_ONLY
    output_shape: Any = None
    attention_axes: Any = None
    attribute: ClassVar[str] = "{}_dense"

    def check(self) -> None:
        self.value_dim = self.value_dim or self.key_dim
        if isinstance(self.output_shape, int):
            self.output_shape = (self.output_shape,)
        if isinstance(self.attention_axes, int):
            self.attention_axes = (self.attention_axes,)

    def outputs(self) -> dict[str, Sequence[int]]:
        keys, values = (self.num_heads, self.key_dim), (self.num_heads, self.value_dim or self.key_dim)
        return {"query": keys, "key": keys, "gate": values, "value": values}

    def features(self, query: Var) -> Sequence[int]:
        return tuple(self.output_shape) if self.output_shape else super().features(query)

    def attend(
        self, b: Builder, q: Var, k: Var, v: Var, mask: Mask, w: Scope, causal: bool, zeroed: bool, scores: bool
    ) -> tuple[Var, Var | None]:
        rank = len(q.shape)
        axes = range(1, rank - 2) if self.attention_axes is None else self.attention_axes
        axes = [a % (rank - 1) for a in axes]
        if causal and axes != [1]:
            raise self.invalid("use_causal_mask is for attention over the first axis after the batch")
        others = [a for a in range(rank - 1) if a not in axes]  # the batch, ..., the heads
        lead = tuple(q.shape[a] for a in others)

        def rows(x: Var) -> Var:
            turned = b.transpose(x, perm=(*others, *axes, rank - 1))
            places = product(x.shape[a] for a in axes)
            return turned if len(axes) == 1 else b.reshape(turned, shape=(*lead, places, x.shape[-1]))  # type: ignore[no-any-return]

        places = [tuple(x.shape[a] for a in axes) for x in (q, k)]
        if mask is not None:
            mask = self._fitted(b, mask, len(others), places)
        y, weights = self.weighted(b, rows(q), rows(k), rows(v), mask, w, causal, zeroed, scores)
        back = [*others, *axes, rank - 1]
        y = y if len(axes) == 1 else b.reshape(y, shape=(*lead, *places[0], v.shape[-1]))
        y = b.transpose(y, perm=tuple(back.index(a) for a in range(rank)))
        if weights is not None and len(axes) > 1:
            weights = b.reshape(weights, shape=(*lead, *places[0], *places[1]))
        return y, weights

    def _fitted(self, b: Builder, mask: Var, lead: int, places: Sequence[tuple[Any, ...]]) -> Var:
        """A mask (B, ..., Tq, Tk) with axes of size 1 for the heads and what else is before the places."""
        count = 2 * len(places[0])
        missing = lead + count - len(mask.shape)
        if missing:
            first = len(mask.shape) - count
            mask = b.unsqueeze(mask, axes=tuple(range(first, first + missing)))
        if count == 2:
            return mask
        whole = (*mask.shape[:lead], *places[0], *places[1])
        merged = (*mask.shape[:lead], product(places[0]), product(places[1]))
        return b.reshape(b.expand(mask, shape=whole), shape=merged)  # type: ignore[no-any-return]


@layer("GroupedQueryAttention")
class GroupQueryAttention(_Heads):
    """MultiHeadAttention in which several heads of queries share one head of keys and values; Ainslie et al. 2023."""

    head_dim: int
    num_query_heads: int
    num_key_value_heads: int
    attribute: ClassVar[str] = "_{}_dense"
    stored_as: ClassVar[str | None] = "GroupedQueryAttention"

    def check(self) -> None:
        if self.num_query_heads % self.num_key_value_heads:
            raise self.invalid(f"{self.num_query_heads} heads share {self.num_key_value_heads} of keys and values")

    def outputs(self) -> dict[str, Sequence[int]]:
        queries, others = (self.num_query_heads, self.head_dim), (self.num_key_value_heads, self.head_dim)
        return {"query": queries, "gate": queries, "key": others, "value": others}

    def attend(
        self, b: Builder, q: Var, k: Var, v: Var, mask: Mask, w: Scope, causal: bool, zeroed: bool, scores: bool
    ) -> tuple[Var, Var | None]:
        """Heads as (those of keys, those that share one)."""
        if len(q.shape) != 4:
            raise self.invalid("inputs have to have three axes")
        shared = self.num_query_heads // self.num_key_value_heads
        n, rows, heads, width = q.shape
        q = b.transpose(b.reshape(q, shape=(n, rows, heads // shared, shared, width)), perm=(0, 2, 3, 1, 4))
        k, v = (b.unsqueeze(b.transpose(x, perm=(0, 2, 1, 3)), axes=(2,)) for x in (k, v))
        if mask is not None:
            mask = self._fitted(b, mask, heads // shared, shared)
        y, weights = self.weighted(b, q, k, v, mask, w, causal, zeroed, scores)
        y = b.reshape(b.transpose(y, perm=(0, 3, 1, 2, 4)), shape=(n, rows, heads, width))
        return y, weights and b.reshape(weights, shape=(n, heads, *weights.shape[-2:]))

    def _fitted(self, b: Builder, mask: Var, groups: int, shared: int) -> Var:
        """A mask (B, Tq, Tk) or (B, H, Tq, Tk) with an axis for each of the two kinds of heads."""
        if len(mask.shape) < 4:
            count = 5 - len(mask.shape)
            first = len(mask.shape) - 2
            return b.unsqueeze(mask, axes=tuple(range(first, first + count)))  # type: ignore[no-any-return]
        n, heads, *places = mask.shape
        apart = (1, 1) if heads == 1 else (groups, shared)
        return b.reshape(mask, shape=(n, *apart, *places))  # type: ignore[no-any-return]


# ---- of one ----------------------------------------------------------------------------------------------------


@layer_base()
class _Scored(Seeded):
    """softmax(scores of q and k) v for inputs [q, v] or [q, v, k], k being v by default."""

    _: KW_ONLY
    dropout: float = 0.0
    seed: int | None = field(default=None)
    call_arguments: ClassVar[tuple[str, ...]] = ("mask", "training", "return_attention_scores", "use_causal_mask")
    supports_masking: ClassVar[bool] = True

    @property
    def draws(self) -> bool:
        return self.dropout > 0

    def lower(
        self, b: Builder, x: Any, w: Scope, mask: Any = None, return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:  # fmt: skip
        if not isinstance(x, (list, tuple)) or len(x) not in (2, 3):
            raise self.invalid("a list of query, value and perhaps key is needed")
        q, v, k = (*x, x[1])[:3]
        q_mask, v_mask, *_ = mask if isinstance(mask, (list, tuple)) else (None, None)
        if v_mask is not None:
            v_mask = b.unsqueeze(as_dtype(b, v_mask, "bool"), axes=(-2,))
        explicit = return_attention_scores or (w.training and self.draws)
        y, weights = self.attend(b, q, k, v, v_mask, w, use_causal_mask, explicit)
        if q_mask is not None:
            kept = b.unsqueeze(as_dtype(b, q_mask, "bool"), axes=(-1,))
            y = b.where(kept, y, b.constant(0, dtype=y.tensor.dtype.numpy))
        return (y, weights) if return_attention_scores else y

    def attend(
        self, b: Builder, q: Var, k: Var, v: Var, mask: Mask, w: Scope, causal: bool, explicit: bool
    ) -> tuple[Var, Var | None]:
        """The result (..., Tq, Dv), and the weights (..., Tq, Tk) where they are needed."""
        s = self.scores(b, q, k, w)
        if causal:
            order = earlier(b, q, k)
            mask = order if mask is None else b.logical_and(mask, order)
        if mask is not None:
            s = b.where(mask, s, b.sub(s, 65504.0 if s.tensor.dtype.name == "f16" else 1e9))
        return self._applied(b, b.softmax(s, axis=-1), v, w)

    def _applied(self, b: Builder, weights: Var, v: Var, w: Scope) -> tuple[Var, Var]:
        if w.training and self.draws:
            weights = dropout(b, weights, self.dropout, weights.shape, w.random_seed())
        return b.matmul(weights, v), weights

    def scores(self, b: Builder, q: Var, k: Var, w: Scope) -> Var:
        """(..., Tq, Tk) from q (..., Tq, D) and k (..., Tk, D)."""
        raise NotImplementedError

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        return mask[0] if isinstance(mask, (list, tuple)) else None


def _pairs(b: Builder, q: Var, k: Var) -> Var:
    """q + k for every row of the one and of the other: (..., Tq, Tk, D)."""
    return b.add(b.unsqueeze(q, axes=(-2,)), b.unsqueeze(k, axes=(-3,)))  # type: ignore[no-any-return]


@layer
class Attention(_Scored):
    """Scores are scale q kᵀ (Luong et al. 2015), or concat_score_weight sum(tanh(scale (q + k)))."""

    use_scale: bool = False
    score_mode: str = "dot"

    def check(self) -> None:
        if self.score_mode not in ("dot", "concat"):
            self.refuse("score_mode")

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        if self.use_scale:
            yield Weight("scale", (), "ones")
        if self.score_mode == "concat":
            yield Weight("concat_score_weight", (), "ones")

    def attend(
        self, b: Builder, q: Var, k: Var, v: Var, mask: Mask, w: Scope, causal: bool, explicit: bool
    ) -> tuple[Var, Var | None]:
        if self.score_mode == "concat":
            return super().attend(b, q, k, v, mask, w, causal, explicit)
        q = b.mul(q, w.scale) if self.use_scale else q
        if not explicit:
            return b.attention(q, k, v, mask, scale=1.0, causal=causal), None
        return self._applied(b, weights_of(b, q, k, mask, scale=1.0, causal=causal), v, w)

    def scores(self, b: Builder, q: Var, k: Var, w: Scope) -> Var:
        sums = _pairs(b, q, k)
        angles = b.tanh(b.mul(sums, w.scale) if self.use_scale else sums)
        return b.mul(b.reduce_sum(angles, axes=(-1,)), w.concat_score_weight)  # type: ignore[no-any-return]


@layer
class AdditiveAttention(_Scored):
    """Scores are sum(scale tanh(q + k)); Bahdanau et al. 2015."""

    use_scale: bool = True

    def weights(self, *inputs: Tensor) -> Iterator[Weight]:
        if self.use_scale:
            yield Weight("scale", (inputs[0].dims[-1],), "glorot_uniform")

    def scores(self, b: Builder, q: Var, k: Var, w: Scope) -> Var:
        angles = b.tanh(_pairs(b, q, k))
        return b.reduce_sum(b.mul(angles, w.scale) if self.use_scale else angles, axes=(-1,))  # type: ignore[no-any-return]
