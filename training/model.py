"""`Model` and `Sequential`: what people build, train, evaluate, save.

A model is a layer (`definition`: layers.model.Functional or Sequential, the same objects as the Keras reader makes)
with what training adds to it: compiled steps, the optimiser's state, metrics, callbacks.  Weights live on the layers,
so that models which share layers share weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.base import Options
from ..backends.base import backend as backend_of
from ..errors import GraphError, LoadError, RunError, TenunError
from ..executable import Executable
from ..ir import Graph, Tensor
from ..ir.structure import pack, unpack
from ..layers import Layer, Lowering, Parameter
from ..layers import model as definitions
from ..layers.base import flatten, unique_name
from ..layers.input import InputLayer
from ..layers.symbolic import SymbolicTensor, functional
from ..layers.whole import Lowered, declare_model, lower_model
from . import initializers
from .compiled import METRICS, Settings
from .optimizers import PREFIX
from .runner import Runner, Running
from .seeds import next_seed
from .step import LOSS, Step, compiled_type, loss_graph, step

if TYPE_CHECKING:
    from ..value import Value
    from .callbacks import History
    from .values import Recorded

Array = np.ndarray[Any, Any]

PICKLED = ("definition", "settings", "backend", "threads", "debug_nans", "memory_limit", "shuffle_seed", "states")


class Model:
    """A model between symbolic inputs and outputs.

        x = tenun.Input((784,))
        y = tenun.layers.Dense(10, "softmax")(x)
        model = tenun.Model(x, y)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(images, labels, epochs=3)

    Names, defaults and results are Keras'.  A model is called on arrays, and on symbolic tensors as a layer of another.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, trainable: bool = True) -> None:
        self._start(functional(inputs, outputs, name))
        self.trainable = trainable

    @classmethod
    def of(cls, definition: Layer) -> Model:
        """The model that a layer (Functional or Sequential) defines."""
        made = Sequential.__new__(Sequential) if isinstance(definition, definitions.Sequential) else cls.__new__(cls)
        made._start(definition)
        return made

    def _start(self, definition: Layer, shuffle_seed: int | None = None) -> None:
        self.definition: Any = definition
        self.settings: Settings | None = None
        self.backend = "numpy"
        self.threads: int | None = None
        self.debug_nans: bool | str = False
        self.memory_limit: int | None = None
        self.stop_training = False
        self.resume_at: tuple[int, int] | None = None  # epoch and batch, set by who restores a training
        self.history: History | None = None
        self.shuffle_seed = next_seed() if shuffle_seed is None else shuffle_seed
        self._lowered: Lowered | None = None
        self._parameters: list[Parameter] = []
        self._by_name: dict[str, Parameter] = {}
        self.states: dict[str, Array] = {}  # states that are no weights, by name
        self._runners: dict[Any, Runner] = {}
        self._executable: tuple[int, Executable] | None = None  # for a version of the weights
        self.recorded: Recorded | None = None  # for calls on Values

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: the layers with their weights, what `compile` was told, the states of a training.

        What is compiled is made anew when it is needed; the history is left behind.
        """
        return {name: getattr(self, name) for name in PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start(state["definition"], state["shuffle_seed"])
        vars(self).update(state)
        self.states = {k: np.array(v) for k, v in self.states.items()}  # those of a mapped file are not writeable

    # ---- structure

    @property
    def name(self) -> str:
        return str(self.definition.name)

    @property
    def layers(self) -> list[Layer]:
        """The layers, without those inside of layers; a Sequential's without its input."""
        hidden = (InputLayer,) if isinstance(self.definition, definitions.Sequential) else ()
        return [each for each in self.definition.layers if not isinstance(each, hidden)]

    @property
    def trainable(self) -> bool:
        """Whether the weights are trained; setting it sets it for all layers inside.  Then compile again."""
        return bool(self.definition.trainable)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for each in walk(self.definition):
            each.trainable = bool(value)
        self._forget()

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer called name, or number index; GraphError lists those there are."""
        if index is not None and -len(self.layers) <= index < len(self.layers):
            return self.layers[index]
        for each in self.layers:
            if each.name == name and index is None:
                return each
        names = ", ".join(str(each.name) for each in self.layers)
        raise GraphError(f"the model has no layer {name if index is None else index!r}", hint=f"layers: {names}")

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The inputs' types by name."""
        return {v.name: v.tensor for v in self.declared().inputs}

    @property
    def outputs(self) -> dict[str, Tensor]:
        """The outputs' types by name."""
        return {name: v.var.tensor for name, v in self.declared().outputs.items()}

    @property
    def input_shape(self) -> Any:
        """The shape of the input with the batch, None for what is not fixed; a dict by name if there are several."""
        return _shapes(self.inputs)

    @property
    def output_shape(self) -> Any:
        """The shape of the output with the batch, None for what is not fixed; a dict by name if there are several."""
        return _shapes(self.outputs)

    def __call__(self, x: Any, training: bool = False) -> Any:
        """The model applied to symbolic tensors, as a layer; or to arrays or tenun.Values, as in inference."""
        from ..value import Value

        leaves = flatten(x)
        if any(isinstance(leaf, SymbolicTensor) for leaf in leaves):
            return self.definition(x, **({"training": True} if training else {}))
        if training:
            hint = "train_on_batch runs it in training"
            raise RunError("a model called on arrays or Values runs as in inference", hint=hint)
        if any(isinstance(leaf, Value) for leaf in leaves):
            from .values import applied

            return applied(self, x)
        return self.executable()(x)

    # ---- weights

    def build(self, input_shape: Any = None) -> None:
        """Make the weights; `input_shape` has the batch, and is needed for a Sequential without an Input."""
        if input_shape is not None and not self.knows_its_input:
            name = unique_name("input_layer")
            source = InputLayer(name=name, batch_shape=[None, *list(input_shape)[1:]], dtype="float32")
            self.definition.layers.insert(0, source)
            self._forget()
        self.declared()

    @property
    def built(self) -> bool:
        return self._lowered is not None

    def declared(self) -> Lowered:
        """The model lowered once, for its interface and its weights, which get their first values."""
        if self._lowered is None:
            self._lowered = declare_model(self.definition)
            found = self._lowered.lowering.parameters
            self._parameters = [p for layer in walk(self.definition) for p in found.get(layer, ())]
            self._by_name = {p.name: p for p in self._parameters}
            missing = any(p.data is None for p in self._parameters)
            generator = np.random.default_rng(next_seed() if missing else 0)  # a loaded model moves no seeds on
            for p in self._parameters:
                p.assign(_first_value(p, generator) if p.data is None else p.data)
        return self._lowered

    def _forget(self) -> None:
        """Something of the structure has changed: compile steps anew when they are needed."""
        self._lowered, self._executable, self.recorded = None, None, None
        self._runners.clear()

    @property
    def weights(self) -> list[Parameter]:
        """All weights in Keras' order: a layer's own, then those of the layers inside of it."""
        self.declared()
        return [p for p in self._parameters if not p.weight.kept]

    @property
    def trainable_weights(self) -> list[Parameter]:
        return [p for p in self.weights if p.trained]

    @property
    def non_trainable_weights(self) -> list[Parameter]:
        return [p for p in self.weights if not p.trained]

    def parameters(self) -> list[Value]:
        """The trained weights as Values, which share their arrays: for training by hand, see `training.values`.

        `value.data -= step` changes the model.  Models that share a layer share its Values.
        """
        from .values import value_of

        return [value_of(p) for p in self.trainable_weights]

    def zero_grad(self) -> None:
        """Forget the gradients of `parameters`."""
        for parameter in self.parameters():
            parameter.grad = None

    def count_params(self) -> int:
        """The number of all weights' elements."""
        return sum(p.data.size for p in self.weights if p.data is not None)

    def get_weights(self) -> list[Array]:
        """Copies of all weights."""
        return [p.numpy() for p in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Give all weights new elements; LoadError where number or shapes differ."""
        own = self.weights
        if len(weights) != len(own):
            raise LoadError(f"the model has {len(own)} weights, given are {len(weights)}", node=self.name)
        for parameter, value in zip(own, weights):
            parameter.assign(value)

    def _version(self) -> int:
        """A number that changes with the weights, whoever changes them."""
        return sum(each.version for each in walk(self.definition))

    def graph(self) -> Graph:
        """The graph of inference, with a copy of the weights as they are now."""
        self.declared()
        lowering = Lowering()
        lowered = lower_model(self.definition, lowering)
        graph = lowered.graph()
        lowering.fill(copy=True)
        return graph

    def executable(self) -> Executable:
        """The model compiled for inference, with the weights as they are now."""
        if self._executable is None or self._executable[0] != self._version():
            options = Options(self.threads)
            self._executable = self._version(), Executable(self.graph(), backend_name=self.backend, options=options)
        return self._executable[1]

    # ---- compiling

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, loss_weights: Any = None, metrics: Any = None,
        weighted_metrics: Any = None, run_eagerly: bool = False, steps_per_execution: int = 1,
        jit_compile: Any = "auto", auto_scale_loss: bool = True, *, backend: str = "numpy",
        threads: int | None = None, memory_limit: int | None = None, debug_nans: bool | str = False,
    ) -> None:  # fmt: skip
        """Say what to train: arguments as Keras'.

        run_eagerly, steps_per_execution and jit_compile are taken for Keras' sake: steps are always compiled, one at a
        time.  backend: what computes ("numba" has compiled loops); threads: how many to use; memory_limit: bytes that a
        step's arena may take, for which values are computed twice; debug_nans: stop where the loss or a weight gets NaN
        or infinite, before it does, and name the node that is the cause of it ("inf": at the first node that makes a
        NaN or an infinity of whatever use it is).
        """
        backend_of(backend)  # UnsupportedError where there is none
        self.settings = Settings.of(
            optimizer, loss=loss, loss_weights=loss_weights, metrics=metrics, weighted_metrics=weighted_metrics
        )
        if auto_scale_loss and any(str(each.dtype) == "mixed_float16" for each in walk(self.definition)):
            self.settings = self.settings.scaled()
        self.backend, self.threads = backend, threads
        self.memory_limit, self.debug_nans = memory_limit, debug_nans
        self.states.clear()
        self._forget()

    @property
    def optimizer(self) -> Running:
        """The optimiser that the model was compiled with."""
        return Running(self, self.compiled().optimizer)

    def compiled(self) -> Settings:
        """What the model was compiled with; RunError if it was not."""
        if self.settings is None:
            raise RunError("the model is not compiled", node=self.name, hint="call compile(optimizer, loss) first")
        return self.settings

    def _array_of(self, name: str, first: Any) -> Array:
        """The array in which a state lives: a weight's own, else one kept by the model."""
        parameter = self._by_name.get(name)
        if parameter is not None and parameter.data is not None:
            if not parameter.data.flags.writeable:  # of a mapped file
                parameter.data = parameter.data.copy()
            return parameter.data
        if name not in self.states:
            self.states[name] = np.array(first)
        return self.states[name]

    def _optimizer_arrays(self) -> dict[str, Array]:
        """The optimiser's states in Keras' order; made if need be."""
        optimizer = self.compiled().optimizer
        first = optimizer.first_states([p for p in self._ordered() if p.trained])
        return {name: self.states.setdefault(name, value) for name, value in first.items()}

    def restore_optimizer(self, variables: Sequence[Array | None]) -> None:
        """Give the optimiser's states, in Keras' order, these values; None leaves one as it is."""
        for array, value in zip(self._optimizer_arrays().values(), variables):
            if value is not None:
                array[...] = value

    def declared_parameters(self) -> dict[Layer, list[Parameter]]:
        """The weights of each layer, in the order of its declaration."""
        return self.declared().lowering.parameters

    def _ordered(self) -> list[Parameter]:
        self.declared()
        return self._parameters

    def runner(self, train: bool, targets: Mapping[str, Array], weights: Mapping[str, Array]) -> Runner:
        """The compiled step for targets and sample weights (by output) like these."""
        settings = self.compiled()
        key = (train, *(tuple((k, v.dtype, v.ndim) for k, v in part.items()) for part in (targets, weights)))
        if key not in self._runners or self._runners[key].stale:
            types = self._step_types(targets, weights)
            if train:
                self._optimizer_arrays()
            made = step(self.definition, settings, types[0], types[1], list(walk(self.definition)), train)
            self._runners[key] = Runner(self, made)
        return self._runners[key]

    # ---- batches

    def named(self, x: Any) -> dict[str, Any]:
        """Inputs by name from the model's own structure of arrays, a list in order, or a dict by name."""
        graph, names = self.declared().lowering.b.graph, [v.name for v in self.declared().inputs]
        structure = graph.metadata["input_structure"]
        if isinstance(x, Mapping) and set(x) >= set(names):
            return {n: x[n] for n in names}
        if isinstance(structure, str) and isinstance(x, (list, tuple)) and len(x) == 1:
            x = x[0]
        return unpack(structure, list(x) if isinstance(x, tuple) else x)

    def by_output(self, y: Any) -> dict[str, Any]:
        """Targets or sample weights by output: from the model's own structure, a list in order, or a dict by name."""
        names = list(self.outputs)
        if y is None:
            return {}
        if isinstance(y, Mapping) and set(y) <= set(names):
            return {n: y[n] for n in names if y.get(n) is not None}
        if len(names) == 1 and not isinstance(y, Mapping):
            only = y[0] if isinstance(y, (list, tuple)) and len(y) == 1 else y
            return {names[0]: only}
        if isinstance(y, (list, tuple)) and len(y) == len(names):
            return {n: v for n, v in zip(names, y) if v is not None}
        structure = self.declared().lowering.b.graph.metadata["output_structure"]
        return {n: v for n, v in unpack(structure, y).items() if v is not None}

    def _fed(self, x: Any, y: Any, sample_weight: Any) -> tuple[dict[str, Any], dict[str, Array], dict[str, Array]]:
        """All that a step reads by the names of its inputs; targets and sample weights by output."""
        targets = self.by_output(y)
        weights = self.by_output(sample_weight)
        if len(weights) == 1 and len(targets) > 1 and not isinstance(sample_weight, Mapping):
            weights = dict.fromkeys(targets, next(iter(weights.values())))
        arrays = {**{f"target/{k}": v for k, v in targets.items()}, **{f"weight/{k}": v for k, v in weights.items()}}
        return {**self.named(x), **arrays}, targets, weights

    def _step_types(self, *parts: Mapping[str, Array]) -> list[dict[str, Tensor]]:
        """The types of targets and sample weights like these."""
        batch, outputs = self.declared().inputs[0].shape[0], self.outputs
        return [{k: compiled_type(v, outputs[k], batch) for k, v in part.items()} for part in parts]

    def loss_graph(
        self, x: Any, y: Any, sample_weight: Any = None, loss: Any = None
    ) -> tuple[Graph, dict[str, Array], list[str]]:
        """The loss in training as a graph of inputs and weights, their arrays, and the names of the weights.

        loss: instead of what the model was compiled with.
        """
        from .data import single_batch

        batch = single_batch(x, y, sample_weight)
        fed, targets, weights = self._fed(batch.x, batch.y, batch.sample_weight)
        settings = self.compiled() if loss is None else Settings.of("sgd", loss=loss)
        graph, parameters = loss_graph(self.definition, settings, *self._step_types(targets, weights))
        states = {s.input.name: self._array_of(s.input.name, s.first.data) for s in graph.state}
        return graph, {**fed, **states}, [p.name for p in parameters]

    def run_step(self, train: bool, x: Any, y: Any, sample_weight: Any) -> tuple[Runner, list[float]]:
        """One step on a batch of arrays; returns the losses."""
        fed, targets, weights = self._fed(x, y, sample_weight)
        runner = self.runner(train, targets, weights)
        losses = runner(fed)
        for layer in runner.changes if train else ():
            layer.version += 1
        return runner, losses

    @property
    def knows_its_input(self) -> bool:
        """Whether there is an Input; a Sequential may wait for its first batch to tell the shape."""
        layers = self.definition.layers
        known = (InputLayer, definitions.Functional, definitions.Sequential)
        return isinstance(self.definition, definitions.Functional) or bool(layers and isinstance(layers[0], known))

    # ---- running

    def infer(self, x: Any) -> dict[str, Any]:
        """The outputs by name for one batch, as in inference."""
        named = self.named(x)
        if not self._is_stateful():
            return self.executable().run(named)
        if None not in self._runners or self._runners[None].stale:
            lowering = Lowering(live=True)
            graph = lower_model(self.definition, lowering).graph()
            lowering.fill()
            self._runners[None] = Runner(self, Step(graph, [], [], self._ordered()))
        return self._runners[None].outputs(named)

    def packed(self, outputs: Mapping[str, Any]) -> Any:
        """Outputs by name in the model's own structure."""
        return pack(self.declared().lowering.b.graph.metadata["output_structure"], outputs)

    def _is_stateful(self) -> bool:
        return any(getattr(each, "stateful", False) for each in walk(self.definition))

    def reset_states(self) -> None:
        """Set the states of stateful recurrent layers to zero."""
        for name, array in self.states.items():
            if not name.startswith((PREFIX, METRICS)):
                array[...] = 0

    reset_state = reset_states

    def fit(self, *args: Any, **keywords: Any) -> History:
        """Train: see `training.loop.fit`."""
        from .loop import fit

        return fit(self, *args, **keywords)

    def evaluate(self, *args: Any, **keywords: Any) -> Any:
        """Loss and metrics on data: see `training.loop.evaluate`."""
        from .loop import evaluate

        return evaluate(self, *args, **keywords)

    def predict(self, *args: Any, **keywords: Any) -> Any:
        """Outputs for data: see `training.loop.predict`."""
        from .loop import predict

        return predict(self, *args, **keywords)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """One step of training; returns the loss and the metrics of the batch."""
        from .loop import on_batch

        return on_batch(self, True, x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss and the metrics of one batch, as in inference."""
        from .loop import on_batch

        return on_batch(self, False, x, y, sample_weight, None, return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """What the model makes of one batch."""
        return self.packed(self.infer(x))

    @property
    def metrics_names(self) -> list[str]:
        """The names of what evaluate returns, once a step has been compiled."""
        made = next((r.step for k, r in self._runners.items() if k is not None), None)
        return [LOSS] if made is None else [LOSS, *(m.label for m in made.measures), *made.losses]

    # ---- files

    def save(self, path: Any, overwrite: bool = True, include_optimizer: bool = True) -> None:
        """Write the model: `.keras`, with the optimiser's state, `.h5`, `.onnx` or `.tenun`; see `training.saving`."""
        from .saving import save_model

        save_model(self, path, overwrite, include_optimizer)

    def save_weights(self, path: Any, overwrite: bool = True, max_shard_size: float | None = None) -> None:
        """Write the weights alone: `.weights.h5`, shards of so many gigabytes, `.h5`; see `training.saving`."""
        from .saving import save_weights

        save_weights(self, path, overwrite, max_shard_size)

    def load_weights(self, source: Any, by_name: bool = False, skip_mismatch: bool = False) -> None:
        """Take the weights from a file or a live Keras model; see `training.saving`."""
        from .saving import load_weights

        load_weights(self, source, by_name, skip_mismatch)

    @property
    def trained(self) -> dict[str, bool]:
        """Whether a weight is trained, by its name."""
        return {p.name: bool(p.trained) for p in self.weights}

    def _repr_html_(self) -> str:
        """The table of a notebook."""
        from html import escape

        from ..debug.html import summary_html
        from ..debug.summary import summarize

        try:
            return summary_html(summarize(self.graph(), self.trained))
        except TenunError as error:  # such as a model that has not seen its inputs: a notebook shows it anyway
            return f"<pre>{escape(f'{self!r}: {error}')}</pre>"

    def summary(
        self,
        line_length: int | None = None,
        print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
    ) -> None:
        """Print a table of the layers: shapes, parameters, what they are connected to.

        line_length: characters in a line (default: the terminal's).  print_fn: gets the whole table as one text, in
        place of the screen.  expand_nested: the layers inside of models, too.  show_trainable: a column of Y and N.
        """
        from .summary import print_summary

        print_summary(self, line_length, print_fn, expand_nested, show_trainable)

    def plot_weights(self, path: Any = None) -> Any:
        """The distributions of the weights in training, a panel each, as a figure of matplotlib.

        path: an .svg, .png or .pdf file to write.  By epoch: `callbacks.Distributions`.
        """
        from ..debug.distributions import plot_weights

        return plot_weights(self, path)

    def plot_gradients(self, x: Any, y: Any = None, sample_weight: Any = None, path: Any = None) -> Any:
        """The distributions of the gradients of the loss on one batch, as `plot_weights`."""
        from ..debug.distributions import plot_gradients

        return plot_gradients(self, x, y, sample_weight, path)

    # ---- the whole state of a training

    def training_state(self) -> dict[str, Array]:
        """Copies of all that a training changes: weights, seeds, optimiser, states of layers, order of samples."""
        if self.settings is not None:
            self._optimizer_arrays()
        weights = {f"weights/{p.name}": p.numpy() for p in self._ordered()}
        others = {k: v.copy() for k, v in self.states.items()}
        return {**weights, **others, "shuffle_seed": np.array(self.shuffle_seed)}

    def set_training_state(self, state: Mapping[str, Array]) -> None:
        """Go back to a state that `training_state` gave; LoadError where it is of another model."""
        missing = sorted({f"weights/{p.name}" for p in self._ordered()} - set(state))
        if missing:
            raise LoadError(f"the state has no {', '.join(missing[:5])}", node=self.name)
        for p in self._ordered():
            p.assign(state[f"weights/{p.name}"])
        for name, value in state.items():
            if name == "shuffle_seed":
                self.shuffle_seed = int(value)
            elif not name.startswith("weights/"):
                np.copyto(self.states.setdefault(name, np.array(value)), value)


class Sequential(Model):
    """Layers one after the other; the first may be a tenun.Input, else the first batch tells the shape."""

    def __init__(self, layers: Sequence[Any] = (), name: str | None = None, trainable: bool = True) -> None:
        self._start(definitions.Sequential(name=name, layers=[]))
        for each in layers:
            self.add(each)
        if not trainable:
            self.trainable = False

    def add(self, layer: Any) -> None:
        """Put a layer, a model or a tenun.Input at the end; GraphError where its name is taken."""
        if isinstance(layer, SymbolicTensor):
            layer = layer.source.layer
        layer = getattr(layer, "definition", layer)
        if not isinstance(layer, Layer):
            raise GraphError(f"a Sequential holds layers, not a {type(layer).__name__}")
        if any(each.name == layer.name for each in self.definition.layers):
            raise GraphError(f"two layers are called {layer.name!r}", hint="give layers distinct names")
        self.definition.layers.append(layer)
        self._forget()

    def pop(self) -> Layer:
        """Take the last layer off."""
        self._forget()
        return self.definition.layers.pop()  # type: ignore[no-any-return]


def walk(layer: Layer, seen: set[int] | None = None) -> Iterator[Layer]:
    """The layer and all inside of it, each once, in the order in which Keras lists variables."""
    seen = set() if seen is None else seen
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield layer
    for _, child in layer.children():
        for each in [child] if isinstance(child, Layer) else child:
            yield from walk(each, seen)


def _first_value(p: Parameter, generator: np.random.Generator) -> Array:
    """What the initialiser makes of a weight."""
    make: Callable[..., Array] | None = initializers.get(p.weight.initializer)
    try:
        value = np.array((make or initializers.get("zeros"))(p.shape, p.dtype, generator))
    except TenunError as error:
        raise error.at(node=p.name) from None
    if p.weight.adjust is not None:
        p.weight.adjust(value)
    return value


def _shapes(types: Mapping[str, Tensor]) -> Any:
    found = {n: tuple(d if isinstance(d, int) else None for d in t.dims) for n, t in types.items()}
    return next(iter(found.values())) if len(found) == 1 else found
