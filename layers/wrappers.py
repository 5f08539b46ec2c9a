"""Layers around layers: Bidirectional, TimeDistributed."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..ir import Builder, Var
from .base import Layer, as_dtype, flatten, layer, map_structure
from .operations.promotion import result_type
from .recurrent import Cell, Recurrent, flipped, inputs_and_states, run

if TYPE_CHECKING:
    from .lowering import Scope

MERGES: dict[str, Any] = {
    "concat": lambda b, x, y: b.concat(x, y, axis=-1),
    "sum": lambda b, x, y: b.add(x, y),
    "ave": lambda b, x, y: b.div(b.add(x, y), 2.0),
    "mul": lambda b, x, y: b.mul(x, y),
}


@layer
class Bidirectional(Layer):
    """A recurrent layer and another that reads backwards, their outputs merged; one core op where they are alike.

    The activity regularisers of both count, on what they return.
    """

    layer: Layer
    merge_mode: str | None = "concat"
    backward_layer: Layer | None = None
    own_result: ClassVar[bool] = True
    call_arguments: ClassVar[tuple[str, ...]] = ("initial_state", "mask", "training")
    supports_masking: ClassVar[bool] = True
    needs_float: ClassVar[bool] = True

    def check(self) -> None:
        """Complete the pair as Keras does: names, direction, zeros for masked steps of sequences."""
        if self.merge_mode is not None and self.merge_mode not in MERGES:
            self.refuse("merge_mode")
        needed = ("go_backwards", "return_sequences", "return_state", "stateful")
        for each in (self.layer, self.backward_layer):
            if each is not None and not all(hasattr(each, key) for key in needed):
                self.refuse("layer", hint=f"wrap a recurrent layer: one with {', '.join(needed)}")
        forward: Any = self.layer
        given = self.backward_layer is not None
        backward: Any = self.backward_layer if given else copy.deepcopy(forward)
        if not given:
            backward.go_backwards = True
            backward.name = "backward_" + (forward.name or "layer").removeprefix("forward_")
        forward.name = "forward_" + (forward.name or "layer").removeprefix("forward_")
        if forward.go_backwards == backward.go_backwards:
            raise self.invalid("forward and backward layer have the same go_backwards")
        for key in ("stateful", "return_sequences", "return_state"):
            if getattr(forward, key) != getattr(backward, key):
                raise self.invalid(f"forward and backward layer differ in {key}")
        for each in (forward, backward):
            if getattr(each, "zero_output_for_mask", None) is not None:
                each.zero_output_for_mask = each.return_sequences
        self.backward_layer = backward

    def children(self) -> Any:
        yield "forward_layer", self.layer
        yield "backward_layer", self.backward_layer

    def lower(self, b: Builder, x: Any, w: Scope, initial_state: Any = None, mask: Any = None) -> Any:
        x, initial = inputs_and_states(x, initial_state)
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        pair: list[Any] = [self.layer, self.backward_layer]
        if not all(isinstance(each, Recurrent) for each in pair):
            return self._called(b, x, w, pair, initial, mask)
        scopes = [w.child(each, x.tensor) for each in pair]
        layers = list(zip(pair, scopes))
        output: Any = None
        if self._is_one_op(w.training, mask is not None):
            both = run(b, x, layers, initial, mask)
            outcomes = [(both, 0), (both, 1)]
            output = both.concatenated(b) if self.merge_mode == "concat" else None
        else:
            half = 0 if initial is None else len(initial) // 2
            parts = [None, None] if initial is None else [initial[:half], initial[half:]]
            outcomes = [(run(b, x, [each], part, mask), 0) for each, part in zip(layers, parts)]
        if output is None:
            ys = [as_dtype(b, each.output(b, d), self.compute_dtype) for each, d in outcomes]
            output = self._merged(b, ys)
        else:
            output = as_dtype(b, output, self.compute_dtype)
        outputs = output if isinstance(output, list) else [output]
        from .lowering import Activity

        for inner, (each, d) in zip(pair, outcomes):
            if inner.activity is not None:
                results = each.returned(b, d)
                w.lowering.activities += [Activity(inner, v) for v in results]
        if self.layer.return_state:  # type: ignore[attr-defined]
            return [*outputs, *(s for each, d in outcomes for s in each.last_states(b, d))]
        return output

    def _called(self, b: Builder, x: Var, w: Scope, pair: list[Any], initial: list[Var] | None, mask: Any) -> Any:
        """Of layers of the user's own: each is called, and what the second one gives of all steps is turned around."""
        from .lowering import Value, parameters_of

        half = 0 if initial is None else len(initial) // 2
        ys, states = [], []
        for each, part in zip(pair, (None, None) if initial is None else (initial[:half], initial[half:])):
            more: dict[str, Any] = {} if part is None else {"initial_state": [Value(v) for v in part]}
            if "mask" in parameters_of(type(each)) and mask is not None:
                more["mask"] = Value(mask)
            y, *last = (v.var for v in flatten(w.call(each, Value(x), **more)))
            ys.append(as_dtype(b, y, self.compute_dtype))
            states += last
        ys[1] = flipped(b, ys[1]) if pair[0].return_sequences else ys[1]
        merged = ys if self.merge_mode is None else MERGES[self.merge_mode](b, *ys)
        if not pair[0].return_state:
            return merged
        return [*(merged if isinstance(merged, list) else [merged]), *states]

    def _merged(self, b: Builder, ys: list[Var]) -> Var | list[Var]:
        if self.layer.return_sequences and self.layer.go_backwards:  # type: ignore[attr-defined]
            ys = [flipped(b, y) for y in ys]  # Keras flips what the second layer returns, whatever its direction
        return ys if self.merge_mode is None else MERGES[self.merge_mode](b, *ys)

    def _is_one_op(self, training: bool, masked: bool) -> bool:
        """Whether both directions are the two of one core op: alike, on the same x, and the first reads forwards."""
        first: Any = self.layer
        second: Any = self.backward_layer
        return (
            not first.go_backwards
            and isinstance(first, Cell)
            and isinstance(second, Cell)
            and not (training and (first.drops or second.drops))  # each direction drops other features
            and not (masked and getattr(second, "mirrored"))  # noqa: B009 - of a Recurrent, which this one is too
            and first.settings() == second.settings()
        )

    def compute_mask(self, b: Builder, x: Any, mask: Any, y: Any) -> Any:
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        if not self.layer.return_sequences:  # type: ignore[attr-defined]
            return None
        return [mask, mask] if self.merge_mode is None else [mask]


@layer
class TimeDistributed(Layer):
    """A layer applied to each step of x (N, T, ...): the steps are put into the batch, which the layer cannot tell.

    It could where it looks at the whole batch, in training: then it is called step by step, with the mask of the step.
    As in Keras, the activity regulariser of the layer itself does not count; those of the layers of a model do, with
    each step as an output of its own.
    """

    layer: Layer
    supports_masking: ClassVar[bool] = True
    mixed: ClassVar[bool | None] = None  # whether a mixed policy holds, if a layer around this one decides that

    def lower(self, b: Builder, x: Var, w: Scope, mask: Any = None) -> Any:
        from .lowering import Activity, Value

        if w.training and _couples(self.layer):
            return self._step_by_step(b, x, w, mask)
        n, t, *rest = x.shape
        inner = mask is not None and len(mask.shape) > 2  # the mask says something about what is inside of a step
        step_mask = b.reshape(mask, shape=(n * t, *mask.shape[2:])) if inner else None
        steps = Value(b.reshape(x, shape=(n * t, *rest)), step_mask)
        before, w.lowering.forbid_state = w.lowering.forbid_state, "a layer inside of TimeDistributed keeps no state"
        place = len(w.lowering.activities)
        y = self._called(w, steps)
        w.lowering.forbid_state = before
        w.lowering.activities[place:] = [
            Activity(a.layer, a.output and b.reshape(a.output, shape=(n, t, *a.output.shape[1:])), a.steps + 1)
            for a in w.lowering.activities[place:]
            if a.layer is not self.layer
        ]
        return map_structure(lambda v: b.reshape(v.var, shape=(n, t, *v.var.shape[1:])), y)

    def _called(self, w: Scope, steps: Any) -> Any:
        """The layer on steps: Keras goes past its `__call__`, so that it computes in the dtype of this layer.

        That is, what its `call` does itself: the layers in it have dtypes of their own.  Its weights come in that dtype
        where a mixed policy makes them, else the computation is in the wider one of both.
        """
        inner, mixed = self.layer, self.variable_dtype != self.compute_dtype if self.mixed is None else self.mixed
        if not inner.own_result and inner.autocast:
            weighted = type(inner).weights is not Layer.weights and not mixed
            dtypes = [self.compute_dtype, *([inner.variable_dtype] if weighted else [])]
            inner.computes_in = result_type(*dtypes)  # type: ignore[misc]
            if isinstance(inner, TimeDistributed):
                inner.mixed = mixed  # type: ignore[misc]
        try:
            return w.call(self.layer, steps)
        finally:
            self.layer.computes_in = None  # type: ignore[misc]

    def _step_by_step(self, b: Builder, x: Var, w: Scope, mask: Any) -> Any:
        from .lowering import Value

        if not isinstance(x.shape[1], int):
            raise self.invalid(f"to train {self.layer.name!r}, the number of steps has to be fixed")
        steps = [
            self._called(w, Value(*(v and b.gather(v, np.int64(i), axis=1) for v in (x, mask))))
            for i in range(x.shape[1])
        ]
        return b.concat(*(b.unsqueeze(y.var, axes=(1,)) for y in steps), axis=1)


def _couples(layer: Layer) -> bool:
    """Whether anything in a layer looks at the whole batch, in training."""
    children = (each for _, found in layer.children() for each in ([found] if isinstance(found, Layer) else found))
    return layer.couples_samples or any(map(_couples, children))
