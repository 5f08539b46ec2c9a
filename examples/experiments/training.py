"""The job of most rows: a model trained by Keras, saved, run here, and trained here from the same first weights."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

import tenun

from ..common import figures
from .data import Array, Data, Split, load
from .job import SEED, Context, Record, keras, relative
from .spec import L, make, sequential
from .timing import fitting, fitting_classifier, in_turns

AT_ONCE = 250  # samples predicted together
FIRST = 10  # steps whose losses are compared one by one
QUICK_EPOCHS = 2
SOME_TIMES = 10  # of what a change in the last bit of the first weights does to a loss


@dataclass(frozen=True)
class Start:
    """A pretrained file to start from: the same model, trained by Keras on some of the classes; its head is new."""

    classes: tuple[int, ...]
    epochs: int
    frozen: tuple[str, ...] = ()  # classes of layers that stay as they are


@dataclass(frozen=True)
class Training:
    """Train `layers` with Keras and here, in the same order of batches; measure macro F1 on the whole test set.

    vectorizer: what makes numbers of texts, its vocabulary learnt from the training texts and saved inside of the file.
    sklearn: arguments of an MLPClassifier of the same sizes.  tolerance: of the losses of the first steps.
    """

    data: str
    layers: tuple[L, ...]
    epochs: int
    batch: int = 64
    samples: int | None = None
    vectorizer: L | None = None
    start: Start | None = None
    sklearn: Any = None
    tolerance: float = 1e-4
    loss: str = "sparse_categorical_crossentropy"
    optimizer: ClassVar[str] = "adam"

    def run(self, context: Context) -> Record:
        """Keras' curve and scores, those of its file run here, those of training here; scikit-learn's."""
        job = replace(self, epochs=min(self.epochs, QUICK_EPOCHS)) if context.quick else self
        data = load(job.data, context.data, context.quick, job.samples)
        record: Record = {"data": data.text, "epochs": job.epochs, "batch": job.batch}
        record |= job._with_keras(data, context) if "keras" in context.peers else job._alone(data, context)
        if job.sklearn and "sklearn" in context.peers:
            context.tick("scikit-learn", 0.9)
            record["sklearn"] = job._with_sklearn(data)
        return record

    def time(self, context: Context) -> Record:
        """Milliseconds of a step; where there is a start, its weights are those before the pretraining."""
        data = load(self.data, context.data, context.quick, self.samples)
        job = self if self.start is None else replace(self, start=replace(self.start, epochs=0))
        library = keras()
        _, tokens = vectorized(library, self.vectorizer, data)
        live = job._first_model(library, tokens, context)
        models = {name: job._own_model(live, context, backend) for name, backend in engines(context).items()}
        turns = {name: fitting(tenun, own, self.batch) for name, own in models.items()}
        turns["keras"] = fitting(library, live, self.batch)
        if self.sklearn and "sklearn" in context.peers:
            turns["sklearn"] = fitting_classifier(self._classifier(), self.batch, live.output_shape[-1])
        return in_turns(turns, tokens.train, self.batch, context)

    def agrees(self, record: Record) -> bool | None:
        """F1 to four decimals, tokens, and the losses of the first steps."""
        if "keras" not in record:
            return None
        same = round(record["keras"]["f1"], 4) == round(record["run"]["f1"], 4)
        return same and record["first_steps"] <= self.tolerance and record.get("tokens", True)

    def _with_keras(self, data: Data, context: Context) -> Record:
        library = keras()
        words, tokens = vectorized(library, self.vectorizer, data)
        live = self._first_model(library, tokens, context)
        own = self._own_model(live, context, context.backend)
        record = {"parameters": live.count_params(), "keras": self._train(library, live, tokens, context, "Keras")}
        path = context.folder / "trained.keras"
        whole(library, words, live).save(path)
        theirs = predicted(partial(whole(library, words, live).predict, verbose=0), data.test, given(library, words))
        ours = predicted(tenun.compile(path, backend=context.backend).predict, data.test)
        record["keras"] |= scored(data.test, *theirs)
        difference = float(np.abs(ours[0] - theirs[0]).max())
        record["run"] = {**scored(data.test, *ours), "largest_difference": difference}
        if words is not None:
            _, again = vectorized(tenun, self.vectorizer, data)
            record["tokens"] = all(np.array_equal(getattr(again, p).x, getattr(tokens, p).x) for p in PARTS)
        record["own"] = self._train(tenun, own, tokens, context, "tenun")
        record["own"] |= scored(data.test, *predicted(partial(own.predict, verbose=0), tokens.test))
        return {**record, **compared(record["own"], record["keras"])}

    def _own_model(self, live: Any, context: Context, backend: str) -> Any:
        """The same as Keras' model before training, of its file; compiled."""
        if self.start is None:
            live.save(context.folder / "first.keras")
            own = tenun.load_model(context.folder / "first.keras")
        else:
            own = headed(tenun, tenun.load_model(context.folder / "pretrained.keras"), self.layers, self.start.frozen)
            own.set_weights(live.get_weights())
        own.compile(self.optimizer, self.loss, backend=backend)
        return own

    def _alone(self, data: Data, context: Context) -> Record:
        """Only here, from weights of our own."""
        tenun.set_random_seed(SEED)
        _, tokens = vectorized(tenun, self.vectorizer, data)
        own = self._first_model(tenun, tokens, context)
        record = {"parameters": own.count_params(), "own": self._train(tenun, own, tokens, context, "tenun")}
        record["own"] |= scored(data.test, *predicted(partial(own.predict, verbose=0), tokens.test))
        return record

    def _first_model(self, library: Any, data: Data, context: Context) -> Any:
        """The compiled model before training; where there is a start, after that, saved as pretrained.keras."""
        x = data.train.x
        model = sequential(library, x.shape[1:], str(x.dtype), self.layers)
        model.compile(self.optimizer, self.loss)
        if self.start is None:
            return model
        some = replace(data, train=load(self.data, context.data, context.quick).train.of(self.start.classes))
        epochs = min(self.start.epochs, QUICK_EPOCHS) if context.quick else self.start.epochs
        replace(self, epochs=epochs)._train(library, model, some, context, "pretraining")
        model.save(context.folder / "pretrained.keras")
        model = headed(library, model, self.layers, self.start.frozen)
        model.compile(self.optimizer, self.loss)
        return model

    def _train(self, library: Any, model: Any, data: Data, context: Context, who: str) -> Record:
        """The loss, that of validation, and the seconds of each epoch; the losses of the first steps."""
        curve: Record = {"loss": [], "val_loss": [], "seconds": [], "means": []}
        steps = -(-len(data.train) // self.batch) * self.epochs

        def watch(batch: int, logs: Any) -> None:
            if len(curve["loss"]) == 0 and batch < FIRST:
                curve["means"].append(float(logs["loss"]))
            context.tick(who, (batch + len(curve["loss"]) * steps / self.epochs) / steps)

        for epoch in range(self.epochs):
            order = np.random.default_rng((SEED, epoch)).permutation(len(data.train))
            x, y = data.train.x[order], data.train.y[order]
            callbacks = [library.callbacks.LambdaCallback(on_train_batch_end=watch)]
            start = time.perf_counter()
            history = model.fit(x, y, batch_size=self.batch, epochs=1, shuffle=False, verbose=0, callbacks=callbacks)
            curve["seconds"].append(time.perf_counter() - start)
            curve["val_loss"].append(float(model.evaluate(data.valid.x, data.valid.y, batch_size=AT_ONCE, verbose=0)))
            curve["loss"].append(float(history.history["loss"][0]))
        curve["steps"] = [m * (i + 1) - before * i for i, (m, before) in _pairs(curve.pop("means"))]
        return curve

    def _classifier(self) -> Any:
        """scikit-learn's net with the same sizes, batches and number of epochs."""
        from sklearn.neural_network import MLPClassifier

        same = {"batch_size": self.batch, "max_iter": self.epochs, "n_iter_no_change": self.epochs, "tol": 0.0}
        return MLPClassifier(random_state=SEED, **same, **self.sklearn)

    def _with_sklearn(self, data: Data) -> Record:
        """Its curve, scores and seconds."""
        net = self._classifier()
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that more epochs could be better
            net.fit(data.train.x, data.train.y)
        seconds = time.perf_counter() - start
        found = scored(data.test, net.predict_proba(data.test.x), 0.0)
        return {**found, "loss": [float(v) for v in net.loss_curve_], "fit_seconds": seconds}


@dataclass(frozen=True)
class TrainingBy(Training):
    """The same with another optimiser."""

    optimizer: str = "sgd"  # type: ignore[misc]


@dataclass(frozen=True)
class OneBatch:
    """The loss of each epoch on one and the same batch, from equal weights.

    Beside them Keras' losses from first weights that differ in the last bit: how far rounding alone leads.
    """

    data: str
    layers: tuple[L, ...]
    epochs: int = 10
    batch: int = 64
    loss: str = "sparse_categorical_crossentropy"

    def run(self, context: Context) -> Record:
        """All lists of losses."""
        batch = self._batch(context)
        library = keras()
        live = self._first_model(library, batch)
        own = self._own_model(live, context.backend)
        moved = sequential(library, batch.x.shape[1:], str(batch.x.dtype), self.layers)
        moved.compile("adam", self.loss)
        moved.set_weights([np.nextafter(w, np.float32(np.inf)) for w in live.get_weights()])
        record: Record = {"data": f"one batch of {len(batch)}", "epochs": self.epochs}
        for who, model in (("own", own), ("keras", live), ("moved", moved)):
            losses, seconds = [], []
            for epoch in range(self.epochs):
                context.tick(who, epoch / self.epochs)
                start = time.perf_counter()
                losses.append(float(model.train_on_batch(batch.x, batch.y)))
                seconds.append(time.perf_counter() - start)
            record[who] = {"loss": losses, "seconds": seconds}
        columns = [[f"{value:.4f}" for value in record[who]["loss"]] for who in ("own", "keras", "moved")]
        headings = ["epoch", "own", "Keras", "Keras, first weights one bit off"]
        record["table"] = {"headings": headings, "rows": [[i, *row] for i, row in enumerate(zip(*columns), 1)]}
        return {**record, **compared(record["own"], record["keras"])}

    def time(self, context: Context) -> Record:
        """Milliseconds of a step."""
        batch, library = self._batch(context), keras()
        live = self._first_model(library, batch)
        models = {name: self._own_model(live, backend) for name, backend in engines(context).items()}
        turns = {name: fitting(tenun, own, len(batch)) for name, own in models.items()}
        turns["keras"] = fitting(library, live, len(batch))
        return in_turns(turns, batch, len(batch), context)

    def _batch(self, context: Context) -> Split:
        return load(self.data, context.data, context.quick).train.first(32 if context.quick else self.batch)

    def _first_model(self, library: Any, batch: Split) -> Any:
        live = sequential(library, batch.x.shape[1:], str(batch.x.dtype), self.layers)
        live.compile("adam", self.loss)
        return live

    def _own_model(self, live: Any, backend: str) -> Any:
        own = tenun.load_model(live)
        own.compile("adam", self.loss, backend=backend)
        return own

    def agrees(self, record: Record) -> bool | None:
        """The first loss; then they are not farther apart than some times what a last bit does."""
        own, theirs, moved = (np.array(record[who]["loss"]) for who in ("own", "keras", "moved"))
        largest, allowed = np.abs(own - theirs).max(), SOME_TIMES * max(np.abs(moved - theirs).max(), 1e-4)
        return relative(own[:1], theirs[:1]) <= 1e-5 and bool(largest <= allowed)


# ---- parts

PARTS = ("train", "valid", "test")


def engines(context: Context) -> dict[str, str]:
    """The backends that are timed, by their names in the record."""
    return {"own": context.backend, **{name: name for name in ("numba",) if name in context.peers}}


def _pairs(means: list[float]) -> Any:
    """Running means with their numbers and those before them: losses of single steps follow from them."""
    return enumerate(zip(means, [0.0, *means]))


def compared(own: Record, theirs: Record) -> Record:
    """How far the curves are apart, as a whole and in the first steps."""
    curves = [relative(own[k], theirs[k]) for k in ("loss", "val_loss") if k in own]
    return {"curve": max(curves), "first_steps": relative(own.get("steps", 0), theirs.get("steps", 0))}


def vectorized(library: Any, vectorizer: L | None, data: Data) -> tuple[Any, Data]:
    """The layer with the words of the training texts, and the data as its numbers; what is no text stays."""
    if vectorizer is None:
        return None, data
    layer = make(library, vectorizer)
    layer.adapt([str(text) for text in data.train.x[:, 0]])
    model = library.Sequential([library.Input((1,), dtype="string"), layer])
    change = given(library, layer)

    def numbers(part: Split) -> Split:
        return replace(part, x=np.asarray(model.predict(change(part.x), verbose=0)).astype(np.int32))

    return layer, replace(data, **{part: numbers(getattr(data, part)) for part in PARTS})


def given(library: Any, words: Any) -> Any:
    """What makes samples into what `predict` of the library takes: Keras wants texts as a tensor."""
    if words is None or library is tenun:
        return lambda x: x
    from tensorflow import constant

    return lambda x: constant(x.tolist())


def whole(library: Any, words: Any, model: Any) -> Any:
    """The model with the layer that makes numbers of texts before it, if there is one."""
    if words is None:
        return model
    return library.Sequential([library.Input((1,), dtype="string"), words, *model.layers])


def headed(library: Any, model: Any, layers: tuple[L, ...], frozen: tuple[str, ...]) -> Any:
    """The pretrained model with a new last layer; layers of `frozen` classes are not trained."""
    kept = model.layers[:-1]
    for layer in kept:
        if type(layer).__name__ in frozen:
            layer.trainable = False
    shape = model.input_shape[1:]
    head = L(layers[-1].name, *layers[-1].args, **layers[-1].more, name="head")
    return library.Sequential([library.Input(shape), *kept, make(library, head)])


def predicted(predict: Any, test: Split, change: Any = lambda x: x) -> tuple[Array, float]:
    """Probabilities of all test samples, and seconds (a batch before it is not timed: it compiles)."""
    x = change(test.x)
    predict(x[:AT_ONCE], batch_size=AT_ONCE)
    start = time.perf_counter()
    found = np.asarray(predict(x, batch_size=AT_ONCE))
    return found, time.perf_counter() - start


def scored(test: Split, probabilities: Array, seconds: float) -> Record:
    """Macro F1 and accuracy of the steps or samples that there are."""
    y = test.y
    if test.mask is not None:
        y, probabilities = y[test.mask], probabilities[test.mask]
    found = figures(y, probabilities)
    return {"f1": found["macro_f1"], "accuracy": found["accuracy"], "predict_seconds": seconds}
