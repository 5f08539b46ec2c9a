"""What image layers share: layouts, dicts of images with labels and masks, factors, and the draws.

A layer that draws says so in two methods, as in Keras (get_random_transformation, transform_images):

    def draw(self, b, images, draws):          # numbers of one run, by Keras' names
        return {"factor": draws.uniform(b, (batch(b, images),), *self.factor)}

    def transform(self, b, images, t):         # what they do to images (N, H, W, C)
        ...

Formulas: keras/src/layers/preprocessing/image_preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...ir import Builder, Var
from ...ir.shapes import dim, vector
from ..base import Layer, as_dtype, from_last, layer_base, to_last
from ..seed import Seeded

if TYPE_CHECKING:
    from ..lowering import Scope

Pair = tuple[float, float]
Transformation = dict[str, Any]  # what was drawn: values of the graph by name


@dataclass
class Draws:
    """Random numbers for one layer in one run; `key` gives another u32[2] at each call."""

    key: Callable[[], Var]

    def uniform(self, b: Builder, shape: Sequence[Any], low: float = 0.0, high: float = 1.0) -> Var:
        """Independent f32 numbers in [low, high); an entry of shape may be a value of the graph."""
        if low == high:
            return b.fill(b.constant(np.float32(low)), shape=vector(b, shape))  # type: ignore[no-any-return]
        return b.random_uniform(self.key(), shape=vector(b, shape), low=float(low), high=float(high))  # type: ignore[no-any-return]

    def normal(self, b: Builder, shape: Sequence[Any]) -> Var:
        """Independent f32 numbers of mean 0 and deviation 1."""
        return b.random_normal(self.key(), shape=vector(b, shape))  # type: ignore[no-any-return]

    def integers(self, b: Builder, shape: Sequence[Any], low: int, high: int) -> Var:
        """Independent i64 numbers in [low, high)."""
        drawn = b.floor(self.uniform(b, shape, low, high))
        return as_dtype(b, b.minimum(drawn, float(high - 1)), "int64")

    def beta(self, b: Builder, alpha: Var, beta: Var | None = None) -> Var:
        """For each element of alpha one number of the beta distribution (alpha, beta); beta is alpha by default."""
        return b.random_beta(alpha, alpha if beta is None else beta, self.key())  # type: ignore[no-any-return]

    def chances(self, b: Builder, images: Var, factor: Pair) -> Var:
        """For each image whether it is changed, with a probability drawn from `factor`: bool (N)."""
        shape = (batch(b, images),)
        probability, threshold = self.uniform(b, shape, *factor), self.uniform(b, shape)
        return b.less(threshold, probability)  # type: ignore[no-any-return]

    def permutation(self, b: Builder, images: Var) -> Var:
        """The images of a batch in a random order: i64 (N)."""
        count = batch(b, images)
        return b.top_k(self.uniform(b, (count,)), k=count)[1]  # type: ignore[no-any-return]


def batch(b: Builder, images: Var) -> Any:
    """The number of images, as an entry of a shape."""
    return dim(b, images, 0)


def each(b: Builder, x: Var, images: Var) -> Var:
    """One number an image, of shape (N) or (N, 1, ...), so that it broadcasts against images; in their dtype."""
    wide = b.reshape(x, shape=vector(b, (dim(b, x, 0), 1, 1, 1))) if len(x.shape) != 4 else x
    return wide if wide.tensor.dtype.name == "bool" else b.cast_like(wide, images)


@layer_base()
class ImageLayer(Layer):
    """A layer of images: (N, H, W, C), or one image (H, W, C), or the other layout by `data_format`.

    It takes images or a dict of `images` and what belongs to them: `labels` and `segmentation_masks`.  What is done
    to images is `transform`; labels and masks stay as they are unless a layer says otherwise.
    """

    data_format: str | None = field(default=None, kw_only=True)
    bounding_box_format: str | None = field(default=None, kw_only=True)

    trains_by_default: ClassVar[bool] = True
    first_argument: ClassVar[str] = "data"
    always: ClassVar[bool] = False  # it acts at inference as in training
    casts: ClassVar[bool] = False  # at inference, too, images come in the compute dtype
    keeps_dtype: ClassVar[bool] = False  # they never do

    def draw(self, b: Builder, images: Var, draws: Draws) -> Transformation:
        """What is drawn for one run, for images (N, H, W, C)."""
        return {}

    def transform(self, b: Builder, images: Var, t: Transformation) -> Var:
        """The images (N, H, W, C) as they are in training."""
        raise self.invalid("the class defines no transform()")

    def transform_labels(self, b: Builder, labels: Var, t: Transformation) -> Var:
        """The labels of the images."""
        return labels

    def transform_masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        """The segmentation masks (N, H, W, 1) of the images."""
        return masks

    def apply(self, b: Builder, images: Var, t: Transformation) -> Var:
        """`transform` of a batch in the layer's own layout."""
        return from_last(b, self.transform(b, to_last(b, images, self.data_format), t), self.data_format)

    def lower(self, b: Builder, data: Any, w: Scope) -> Any:
        given = data if isinstance(data, dict) else {"images": data}
        parts = self._batches(b, given)
        acts = w.training or self.always
        images = parts["images"]
        if (self.casts or w.training) and not self.keeps_dtype:
            images = as_dtype(b, images, self.compute_dtype)
        if acts:
            t = self.draw(b, to_last(b, images, self.data_format), Draws(w.random_seed))
            images = self.apply(b, images, t)
            for key, change in (("labels", self.transform_labels), ("segmentation_masks", self._masks)):
                if key in parts:
                    parts[key] = change(b, parts[key], t)
        return self._restored(b, {**parts, "images": images}, data)

    def _masks(self, b: Builder, masks: Var, t: Transformation) -> Var:
        return from_last(b, self.transform_masks(b, to_last(b, masks, self.data_format), t), self.data_format)

    def _batches(self, b: Builder, given: dict[str, Any]) -> dict[str, Any]:
        """The parts of the input with a batch axis each; refuses what is no batch of images."""
        if "bounding_boxes" in given:
            raise self.invalid("an input with 'bounding_boxes' is not supported; transform them before the model")
        unknown = sorted(set(given) - {"images", "labels", "segmentation_masks"})
        if unknown or "images" not in given:
            raise self.invalid(f"the input has the keys {sorted(given)}; it takes images, labels, segmentation_masks")
        rank = len(given["images"].shape)
        if rank not in (3, 4):
            raise self.invalid(f"expected images (N, H, W, C) or one image (H, W, C), got {given['images'].type}")
        return {k: b.unsqueeze(v, axes=(0,)) if rank == 3 else v for k, v in given.items()}

    def _restored(self, b: Builder, parts: dict[str, Any], data: Any) -> Any:
        images = data["images"] if isinstance(data, dict) else data
        if len(images.shape) == 3:
            parts = {k: b.squeeze(v, axes=(0,)) for k, v in parts.items()}
        return {k: parts[k] for k in data} if isinstance(data, dict) else parts["images"]

    # ---- checks of fields

    def interval(self, key: str, bounds: Pair = (-1.0, 1.0), *, low: float | None = None) -> Pair:
        """A field that is a number f or a pair, as a sorted pair in bounds.

        f stands for (-f, f), cut at the lower bound, or for (low, f).
        """
        value = getattr(self, key)
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        if len(numbers) not in (1, 2) or not all(isinstance(v, (int, float)) for v in numbers):
            raise self.invalid(f"{key}={value!r} is not a number or two numbers")
        if numbers[0] > bounds[1] or numbers[-1] < bounds[0]:  # of a pair Keras asks no more
            raise self.invalid(f"{key}={value!r} is not in the range {list(bounds)}")
        if len(numbers) == 2:
            return min(numbers), max(numbers)
        most = abs(numbers[0])
        return (max(-most, bounds[0]) if low is None else low), most

    def one_of(self, key: str, values: Sequence[Any]) -> None:
        """Refuse a field that has none of the values."""
        if getattr(self, key) not in values:
            self.refuse(key, f"one of {', '.join(map(str, values))}")

    def range_of(self, key: str = "value_range") -> Pair:
        """A field that is a range of values, sorted."""
        value = getattr(self, key)
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise self.invalid(f"{key}={value!r} is not two numbers")
        return min(value), max(value)


class Augmentation(ImageLayer, Seeded):
    """An image layer that draws random numbers in training, from a generator that Keras calls `generator`."""

    def children(self) -> Iterator[tuple[str, Any]]:
        for name, child in super().children():
            yield "generator" if name == "seed_generator" else name, child
