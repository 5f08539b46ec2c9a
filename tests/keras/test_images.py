"""Image layers against Keras: at inference from files and back; in training the same images from the same numbers,
and numbers of the same distribution."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.errors import TenunError, UnsupportedError
from tenun.ir import Builder, Graph, Tensor, dtype, symbol
from tenun.layers import LAYERS, Lowering
from tenun.layers.augmentation.base import Draws
from tenun.layers.augmentation.policies import AugMix
from tenun.layers.whole import lower_model

from .cases import ints
from .image_cases import FIRST, IMAGE, IMAGES, SIZE
from .oracle import check, data, one_layer, same, saved

Array = np.ndarray[Any, Any]
FILLS = [
    {"fill_mode": mode, "interpolation": name, "fill_value": 2.0}
    for mode in ("reflect", "wrap", "constant", "nearest")
    for name in ("bilinear", "nearest")
]
UNIT, CHANNELS = {"value_range": (0, 1)}, {"data_format": "channels_first"}
COLOUR = [{"factor": 0.3, **UNIT}, {"factor": (0.1, 0.9), **CHANNELS}]

# what cannot be the last layer of a functional model in Keras, which takes it for a cycle
NO_MODEL = ("Equalization",)

TRAINING: dict[str, list[dict[str, Any]]] = {
    "RandomFlip": [{}, {"mode": "horizontal"}, {"mode": "vertical", **CHANNELS}],
    "RandomRotation": [
        *({"factor": (-1.0, 1.0), **fill} for fill in FILLS), {"factor": (0.25, 0.25), "interpolation": "nearest"},
        {"factor": 0.3, **CHANNELS},
    ],
    "RandomShear": [{"x_factor": 0.9, "y_factor": (0.2, 0.8), **fill} for fill in FILLS],
    "RandomTranslation": [{"height_factor": 0.9, "width_factor": (-0.8, 0.8), **fill} for fill in FILLS],
    "RandomZoom": [
        *({"height_factor": (-0.8, 0.8), **fill} for fill in FILLS),
        {"height_factor": 0.4, "width_factor": (0.2, 0.9)},
    ],
    "RandomPerspective": [{"interpolation": name, "fill_value": 2.0} for name in ("bilinear", "nearest")],
    "RandomElasticTransform": [{**fill, **UNIT} for fill in FILLS],
    "RandomCrop": [
        {"height": 5, "width": 7}, {"height": 12, "width": 5}, {"height": 9, "width": 3},
        {"height": 12, "width": 20, **CHANNELS},
    ],
    **dict.fromkeys(("RandomContrast", "RandomColorDegeneration", "RandomHue", "RandomSaturation"), COLOUR),
    "RandomBrightness": [*COLOUR, {"factor": (-0.9, 0.2)}],
    "RandomSharpness": COLOUR,
    "RandomColorJitter": [
        {"brightness_factor": 0.3, "contrast_factor": (0.1, 0.5), "saturation_factor": 0.6, "hue_factor": 0.4, **UNIT},
        {"contrast_factor": (0.1, 0.5), "brightness_factor": 0.2, **CHANNELS},
    ],
    "RandomGrayscale": [{}, CHANNELS],
    "RandomInvert": [{"factor": 0.5, **UNIT}, {"factor": 0.6}],
    "RandomPosterization": [{"factor": 3}, {"factor": (2, 7), **UNIT}],
    "Solarization": [
        {"addition_factor": 0.3, "threshold_factor": 0.6}, {"threshold_factor": (0.2, 0.6), **UNIT},
    ],
    "RandomGaussianBlur": [
        {"factor": 0.6}, {"kernel_size": (3, 5), "sigma": (0.5, 1.0)}, {"kernel_size": 5, **CHANNELS, **UNIT},
    ],
    "RandomErasing": [{"scale": (0.3, 0.8), "factor": 0.6}, {"fill_value": (1, 2, 3)}, {"fill_value": 5, **CHANNELS}],
    "MixUp": [{}, {"alpha": 2.0}],
    "CutMix": [{}, {"factor": (0.2, 0.5), **CHANNELS}],
    "AutoContrast": [{}, UNIT, CHANNELS],
    "Equalization": [{}, UNIT, {"bins": 16}, {"bins": 300, **CHANNELS}],
    "RandAugment": [{}, {"num_ops": 5, **UNIT}, CHANNELS],
    "AugMix": [{"num_chains": 2, "chain_depth": 1, "all_ops": False}, {"chain_depth": 2, **UNIT}],
}  # fmt: skip
STILL = {"CenterCrop", "Resizing", "ContrastLimitedAdaptiveHistogramEqualization"}  # nothing special in training


def rows(table: dict[str, list[Any]], quick: int = 99) -> list[Any]:
    """(class name, case); all but the first `quick` cases of a class are slow."""
    return [
        pytest.param(name, case, id=f"{name}-{i}", marks=[pytest.mark.slow] * (i >= quick))
        for name, cases in table.items()
        for i, case in enumerate(cases)
    ]


def theirs(keras: Any, name: str, **config: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(keras.layers, name)(**config)


# ---- inference -------------------------------------------------------------------------------------------------

FUNCTIONAL = {name: cases for name, cases in IMAGES.items() if name not in NO_MODEL}


@pytest.mark.parametrize(("name", "case"), rows(FUNCTIONAL, quick=2))
def test_inference(keras: Any, tmp_path: Path, name: str, case: Any) -> None:
    config, shape = case
    kinds = (".keras", "live") if case is IMAGES[name][0] else (".keras",)
    check(keras, one_layer(keras, name, config, shape), tmp_path, shape=shape, kinds=kinds)


@pytest.mark.parametrize(("name", "case"), rows(FUNCTIONAL, quick=1))
def test_written_files(keras: Any, tmp_path: Path, name: str, case: Any) -> None:
    """Keras reads what we write of what it wrote: the same config and the same images."""
    config, shape = case
    built = one_layer(keras, name, config, shape)
    tenun.load_model(saved(built, tmp_path)).save(tmp_path / "written.keras")
    again = keras.models.load_model(tmp_path / "written.keras")
    ours, expected = (json.loads(json.dumps(m.layers[-1].get_config())) for m in (again, built))
    assert ours == expected
    feed = data(built, shape)[0]
    same(keras, np.asarray(again(feed, training=False)), built(feed, training=False), 1e-6)


def test_every_image_layer_has_its_cases(keras: Any) -> None:
    """A new one of Keras' shows up here by its name; one is about bounding boxes only, which we do not take."""
    module = "keras.src.layers.preprocessing.image_preprocessing"
    base = importlib.import_module(f"{module}.base_image_preprocessing_layer").BaseImagePreprocessingLayer
    known = {n for n, c in vars(keras.layers).items() if isinstance(c, type) and issubclass(c, base)}
    assert known - {"MaxNumBoundingBoxes"} == set(IMAGES) == set(TRAINING) | STILL
    assert set(IMAGES) <= set(LAYERS)


@pytest.mark.parametrize("kind", ["uint8", "int32"])
@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Resizing", SIZE), ("Resizing", {**SIZE, "interpolation": "nearest"}), ("CenterCrop", SIZE),
        ("Resizing", {"height": 12, "width": 20, "interpolation": "lanczos5"}), ("AutoContrast", {}),
        ("ContrastLimitedAdaptiveHistogramEqualization", {}), ("RandomFlip", {}), ("RandomBrightness", {"factor": 0.2}),
        ("RandomGrayscale", {}), ("CutMix", {}), ("MixUp", {}), ("Solarization", {}), ("RandomInvert", {}),
    ],
)  # fmt: skip
def test_integers(keras: Any, tmp_path: Path, name: str, config: dict[str, Any], kind: str) -> None:
    """Some layers make floats of them, some do not; those that compute may round the last bit another way."""
    shape = ints(16, 24, 3, high=256, dtype=kind)
    tolerance = 1.01 if name.startswith(("Contrast", "Resizing")) else 1e-5
    check(keras, one_layer(keras, name, config, shape), tmp_path, shape=shape, tolerance=tolerance)


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "float64"])
@pytest.mark.parametrize("name", ["Resizing", "CenterCrop", "RandomRotation", "RandomContrast"])
def test_dtypes(keras: Any, tmp_path: Path, name: str, policy: str) -> None:
    config = {"factor": 0.3} if name.startswith("Random") else {"height": 12, "width": 10}
    built = one_layer(keras, name, {**config, "dtype": policy}, IMAGE)
    check(keras, built, tmp_path, tolerance=1e-5 if policy == "float64" else 2e-3)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("name", ["mitchellcubic", "gaussian", "area", "bicubic", "lanczos3"])
def test_interpolations_of_tensorflow(name: str, antialias: bool) -> None:
    """Also the two that Keras 3 no longer takes, but files of Keras 2 have."""
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=(2, 11, 6, 3)).astype(np.float32)
    for size in ((5, 7), (30, 4), (11, 6), (1, 1)):
        got = transformed("Resizing", {"height": size[0], "width": size[1], "interpolation": name,
                                       "antialias": antialias}, x, {})  # fmt: skip
        want = tf.image.resize(x, size, method=name, antialias=antialias)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_nearest_pixels_are_those_of_float32() -> None:
    """Where a new pixel's middle falls onto the border of two old ones, the rounding of quotients decides."""
    import tensorflow as tf

    for old, new in ((2, 41), (2, 47), (6, 123), (23, 7), (50, 211), (99, 33), (3, 391)):
        x = np.arange(old, dtype=np.float32).reshape(1, old, 1, 1)
        got = transformed("Resizing", {"height": new, "width": 1, "interpolation": "nearest"}, x, {})
        np.testing.assert_array_equal(got, tf.image.resize(x, (new, 1), method="nearest"))


def test_single_images_and_sizes_known_at_run_time(keras: Any) -> None:
    """One image (H, W, C) is what a batch of one is; sizes may differ from run to run."""
    x = np.random.default_rng(0).normal(size=(9, 8, 3)).astype(np.float32)
    for name, config in (("CenterCrop", SIZE), ("Resizing", SIZE), ("AutoContrast", {}), ("RandomFlip", {})):
        want = theirs(keras, name, **config)(x, training=False)
        np.testing.assert_allclose(transformed(name, config, x, None), want, rtol=1e-5, atol=1e-5)
    b = Builder(Graph("g"))
    v = b.input("x", Tensor(dtype("float32"), (symbol("N"), symbol("H"), symbol("W"), 3)))
    model = tenun.compile(b.outputs(*(lowered(b, LAYERS[n](**SIZE), v) for n in ("CenterCrop", "Resizing"))))
    for size in ((9, 8), (5, 7), (4, 30), (50, 3)):
        images = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
        for got, name in zip(model(images), ("CenterCrop", "Resizing")):
            np.testing.assert_allclose(got, theirs(keras, name, **SIZE)(images), rtol=1e-5, atol=1e-5)


# ---- training: the same numbers give the same images -----------------------------------------------------------


def lowered(b: Builder, layer: Any, x: Any) -> Any:
    """The layer at inference."""
    from tenun.layers.lowering import Scope

    return layer.lower(b, x, Scope(Lowering(b), layer, "layer"))


def transformed(name: str, config: dict[str, Any], x: Array, t: Any) -> Array:
    """What our layer makes of x with given numbers; at inference where there are none."""
    b = Builder(Graph("g"))
    batched = x.ndim == 4 and x.shape[0] > 1
    v = b.input("x", Tensor(dtype(x.dtype.name), (symbol("N") if batched else x.shape[0], *x.shape[1:])))
    own = LAYERS[name](**{"dtype": x.dtype.name, **config})
    y = lowered(b, own, v) if t is None else own.apply(b, v, constants(b, t, own.data_format))
    return tenun.compile(b.outputs(y))(x)  # type: ignore[no-any-return]


def constants(b: Builder, t: Any, data_format: str | None) -> Any:
    """Keras' numbers as values of our graph, where images have their channels last; shapes are left out."""
    if isinstance(t, dict):
        kept = {k: v for k, v in t.items() if k not in ("input_shape", "image_height", "image_width", "batch_size")}
        return {k: constants(b, v, data_format) for k, v in kept.items()}
    if t is None:
        return {}
    if isinstance(t, int):
        return t
    array = np.asarray(t)
    if array.ndim == 4 and array.shape[1:] == FIRST and data_format == "channels_first":
        array = np.moveaxis(array, 1, -1)
    wanted = {"i": np.int64, "f": np.float32}.get(array.dtype.kind, array.dtype)
    return b.constant(array.astype(wanted))


def drawn(keras: Any, layer: Any, name: str, x: Array, monkeypatch: Any) -> tuple[Any, Any]:
    """Numbers that Keras draws: for its layer, and as ours names them."""
    import tensorflow as tf

    t = layer.get_random_transformation(x, training=True)
    if name == "RandomCrop":
        return t, {"h_start": t[0], "w_start": t[1]}
    if name == "RandomGrayscale":
        return t, {"should_apply": t}
    if name == "RandomElasticTransform":
        seed = keras.src.random.seed_generator.draw_seed(7)
        noise = tf.random.stateless_normal(x.shape[:3], seed=seed, dtype=x.dtype)[..., None]
        return {**t, "seed": 7}, {"noise": noise, **{k: v for k, v in t.items() if k != "seed"}}
    if name == "RandomColorJitter":
        parts = {part: getattr(layer, f"random_{part}") for part in LAYERS[name](**layer.get_config()).parts}
        fixed = {part: own.get_random_transformation(x) for part, own in parts.items()}
        for part, own in parts.items():
            monkeypatch.setattr(own, "get_random_transformation", lambda *_, value=fixed[part], **__: dict(value))
        return None, fixed
    return t, {} if t is None else t


def images_for(config: dict[str, Any], kind: str = "float32") -> Array:
    shape = FIRST if config.get("data_format") == "channels_first" else IMAGE
    high = config.get("value_range", (0, 255))[1]
    return (np.random.default_rng(0).random((4, *shape)) * high).astype(kind)


@pytest.mark.parametrize(("name", "config"), rows(TRAINING))
def test_training(keras: Any, monkeypatch: Any, name: str, config: dict[str, Any]) -> None:
    x, layer = images_for(config), theirs(keras, name, **config)
    given, own = drawn(keras, layer, name, x, monkeypatch)
    want = layer.transform_images(keras.ops.convert_to_tensor(x), given, training=True)
    if name == "AugMix":
        own = with_links(monkeypatch, own)
    got = transformed(name, config, x, own)
    assert got.shape == want.shape and got.dtype == np.float32
    scale = config.get("value_range", (0, 255))[1]
    np.testing.assert_allclose(got / scale, np.asarray(want) / scale, rtol=1e-5, atol=1e-5)


def with_links(monkeypatch: Any, t: dict[str, Any]) -> dict[str, Any]:
    """Let the chains of AugMix be what Keras has chosen, instead of what a number says when the graph runs."""

    def linked(self: Any, b: Any, x: Any, link: Any, method: str) -> Any:
        part = self.parts[link["layer_name"]]
        return getattr(part, method)(b, x, constants(b, link["transformation"], self.data_format))

    monkeypatch.setattr(AugMix, "linked", linked)
    chains = t["chain_transforms"]
    monkeypatch.setattr(AugMix, "_mixed", lambda self, b, x, t, method, inner=AugMix._mixed: inner(
        self, b, x, {**t, "chain_transforms": chains}, method))  # fmt: skip
    return {k: v for k, v in t.items() if k != "chain_transforms"}


@pytest.mark.parametrize("name", [n for n in TRAINING if n not in ("AugMix", "RandAugment", "RandomElasticTransform")])
def test_training_in_half_precision(keras: Any, monkeypatch: Any, name: str) -> None:
    config = {**TRAINING[name][0], "dtype": "float16"}
    x, layer = images_for(config, "float16"), theirs(keras, name, **config)
    given, own = drawn(keras, layer, name, x, monkeypatch)
    want = np.asarray(layer.transform_images(keras.ops.convert_to_tensor(x), given, training=True))
    got, scale = transformed(name, config, x, own), config.get("value_range", (0, 255))[1]
    assert got.dtype == want.dtype
    apart = np.abs(got.astype(float) - want.astype(float)) > 0.01 * scale
    assert apart.mean() < 0.01  # next to a step, of nearest pixels or of hues


@pytest.mark.parametrize(
    "name", ["RandomRotation", "RandomFlip", "RandomPerspective", "RandomCrop", "MixUp", "CutMix", "RandomContrast",
             "RandomErasing", "RandAugment"],
)  # fmt: skip
def test_labels_and_masks(keras: Any, monkeypatch: Any, name: str) -> None:
    """Masks follow the images, at the nearest pixels; labels are mixed where images are."""
    config = TRAINING[name][0]
    x, layer = images_for(config), theirs(keras, name, **config)
    given, own = drawn(keras, layer, name, x, monkeypatch)
    rng = np.random.default_rng(3)
    labels, masks = rng.random((4, 5)).astype(np.float32), rng.integers(0, 4, (4, 9, 8, 1)).astype(np.float32)
    if name == "CutMix":  # whose masks of boxes Keras makes for images only
        given, own = ({**t, "batch_masks": t["batch_masks"][..., :1]} for t in (given, own))
    b = Builder(Graph("g"))
    y, z = (b.input(n, Tensor(dtype("float32"), v.shape)) for n, v in (("y", labels), ("z", masks)))
    ours, t = LAYERS[name](**config), constants(b, own, None)
    got = tenun.compile(b.outputs(ours.transform_labels(b, y, t), ours.transform_masks(b, z, t)))(labels, masks)
    np.testing.assert_allclose(got[0], layer.transform_labels(labels, given), rtol=1e-6)
    if name != "MixUp":  # Keras takes pixels for images there
        np.testing.assert_allclose(got[1], layer.transform_segmentation_masks(masks, given), rtol=1e-5)


@pytest.mark.parametrize(
    "name", ["RandomContrast", "RandomColorDegeneration", "RandomGaussianBlur", "RandomSharpness", "MixUp", "CutMix",
             "RandomErasing", "RandomTranslation"],
)  # fmt: skip
def test_gradients(keras: Any, monkeypatch: Any, name: str) -> None:
    """What comes back to the images is what TensorFlow's tape finds."""
    import tensorflow as tf

    config = {"height_factor": 0.3, "width_factor": 0.2, "fill_mode": "constant"} if name == "RandomTranslation" else {
        **TRAINING[name][0]
    }  # fmt: skip
    x, layer = images_for(config), theirs(keras, name, **config)
    given, own = drawn(keras, layer, name, x, monkeypatch)
    seed, source = np.random.default_rng(2).normal(size=x.shape).astype(np.float32), tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(source)
        total = tf.reduce_sum(layer.transform_images(source, given, training=True) * seed)
    b = Builder(Graph("g"))
    v = b.input("x", Tensor(dtype("float32"), x.shape))
    y = LAYERS[name](**config).apply(b, v, constants(b, own, None))
    graph = b.outputs(b.reduce_sum(b.mul(y, seed)), names=["total"])
    got = tenun.compile(tenun.grad(graph, wrt=["x"]))(x)
    np.testing.assert_allclose(got, tape.gradient(total, source), rtol=1e-4, atol=1e-4)


# ---- training: the numbers -------------------------------------------------------------------------------------

COUNT, RUNS = 4000, 300


def leaves(t: Any, path: str = "") -> Iterator[tuple[str, Array]]:
    if isinstance(t, dict):
        for key in sorted(t):
            if key not in ("seed", "input_shape", "image_height", "image_width", "batch_size", "permutation_order"):
                yield from leaves(t[key], f"{path}/{key}")
    elif t is not None and not isinstance(t, int):
        yield path, np.asarray(t)


def own_draws(layer: Any, shape: tuple[int, ...]) -> Any:
    """A function of a number that gives what the layer draws for images of a shape, by path."""
    b = Builder(Graph("g"))
    key, x = b.input("key", Tensor(dtype("uint32"), (2,))), b.input("x", Tensor(dtype("float32"), shape))
    steps = iter(range(10**6))
    t = layer.draw(b, x, Draws(lambda: b.add(key, np.array([0, next(steps)], np.uint32))))
    named = dict(_vars(t))
    run, feed = tenun.compile(b.outputs(*named.values())), np.zeros(shape, np.float32)

    def draw(number: int) -> dict[str, Array]:
        found = run(np.array([number, 0], np.uint32), feed)
        return dict(zip(named, found if isinstance(found, (list, tuple)) else [found]))

    return draw


def _vars(t: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for key in sorted(t) if isinstance(t, dict) else ():
        if isinstance(t[key], dict):
            yield from _vars(t[key], f"{path}/{key}")
        else:
            yield f"{path}/{key}", t[key]


NOT_COMPARED = ("RandomCrop", "RandomGrayscale", "RandomColorJitter", "AugMix", "AutoContrast", "Equalization")
DRAWN = {
    name: [case for case in cases if case.get("fill_mode", "wrap") == "wrap"][-2:]
    for name, cases in {**TRAINING, "CutMix": [{"factor": (0.5, 0.5)}, {"factor": (0.1, 0.1)}]}.items()
    if name not in NOT_COMPARED
}


@pytest.mark.parametrize(("name", "config"), rows(DRAWN, quick=1))
def test_numbers_are_distributed_as_those_of_keras(keras: Any, name: str, config: dict[str, Any]) -> None:
    """Mean, deviation and extremes of everything that is drawn for many images; of what is drawn once, in many runs."""
    config = {k: v for k, v in config.items() if k != "data_format"}
    layer, ours = theirs(keras, name, **config), LAYERS[name](**config)
    shape = (COUNT, 5, 4, 3)
    draw, x = own_draws(ours, shape), np.zeros(shape, np.float32)
    want, got = dict(leaves(layer.get_random_transformation(x, training=True))), draw(1)
    once = [path for path, value in want.items() if COUNT not in value.shape]
    if once:
        small, y = own_draws(ours, (1, 5, 4, 3)), x[:1]
        runs = [dict(leaves(layer.get_random_transformation(y, training=True))) for _ in range(RUNS)]
        mine = [small(i) for i in range(RUNS)]
        for path in once:
            want[path], got[path] = (np.stack([r[path] for r in each]) for each in (runs, mine))
    for path, value in want.items():
        if path.endswith("/angle"):  # which only says how the matrix came about
            continue
        if path == "/fill_value" and ours.fill_value is not None:
            np.testing.assert_array_equal(np.broadcast_to(got[path], value.shape), value)
            continue
        a, c = got[path].astype(float), value.astype(float)
        if path == "/batch_masks":
            c = c[..., :1]
        assert a.size == c.size, path
        spread = max(c.std(), 1e-6)
        few = 8 / np.sqrt(RUNS if path in once else COUNT)
        assert abs(a.mean() - c.mean()) < few * spread and abs(a.std() - c.std()) < few * spread, path
        wide = max(c.max() - c.min(), 1e-6)
        assert a.min() > c.min() - 0.1 * wide and a.max() < c.max() + 0.1 * wide, path


def test_permutations() -> None:
    """Of a batch, every order is as likely as any other."""
    draw = own_draws(LAYERS["MixUp"](), (3, 2, 2, 1))
    found = [tuple(draw(i)["/permutation_order"]) for i in range(600)]
    counts = [found.count(order) for order in set(found)]
    assert len(counts) == 6 and min(counts) > 60


def training_graph(*layers: Any, shape: Any = (12, 10, 3)) -> tenun.Graph:
    model = tenun.Sequential([tenun.Input(shape), *layers])
    lowering = Lowering()
    graph = lower_model(model.definition, lowering, training=True).graph()
    lowering.fill()
    return graph


DRAWING = [n for n in TRAINING if n not in ("AutoContrast", "Equalization")]


@pytest.mark.parametrize("name", DRAWING)
def test_a_seed_says_what_happens(name: str) -> None:
    """The same seed, the same images; each run others; and the range of values is kept."""
    config = {"RandomElasticTransform": {}, "RandomPosterization": {"factor": (1, 7)}}.get(name, TRAINING[name][0])
    config = {k: v for k, v in config.items() if k != "value_range"}
    x = images_for(
        {
            **CHANNELS,
        }
        if "data_format" in config
        else {}
    ).repeat(2, 0)
    runs = [tenun.compile(training_graph(LAYERS[name](**config, seed=s), shape=x.shape[1:])) for s in (5, 5, 6)]
    first, again, other = ([run(x) for _ in range(4)] for run in runs)
    for a, c in zip(first, again):
        np.testing.assert_array_equal(a, c)
    assert any((a != c).any() for a, c in zip(first, other))
    assert any((a != first[0]).any() for a in first[1:])
    assert all(np.isfinite(a).all() and a.min() > -1 and a.max() < 256 for a in first)


def test_training_with_augmentation() -> None:
    """A model that begins with layers of every kind learns; at inference it sees the images as they are."""
    k = tenun.layers
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 64)
    x = (rng.random((64, 10, 12, 3)) * 80 + 150 * labels[:, None, None, None]).astype(np.float32)
    augment = [
        k.RandomFlip(seed=1), k.RandomRotation(0.1, seed=2), k.RandomErasing(seed=3), k.RandAugment(seed=4),
        k.AugMix(seed=5, num_chains=2, chain_depth=1, all_ops=False), k.RandomElasticTransform(seed=6),
        k.Resizing(8, 8),
    ]  # fmt: skip
    model = tenun.Sequential([
        tenun.Input((10, 12, 3)), *augment, k.Rescaling(1 / 255), k.Flatten(), k.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(x, labels, epochs=8, batch_size=16, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    plain = tenun.Sequential([tenun.Input((10, 12, 3)), *model.layers[-4:]])
    np.testing.assert_allclose(model.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=1e-6)


# ---- dicts, and what is refused --------------------------------------------------------------------------------


def test_a_dict_of_images_and_labels(keras: Any) -> None:
    """Keras takes them too, but makes no functional models of them."""
    k = tenun.layers
    parts = {"images": tenun.Input(IMAGE), "labels": tenun.Input((5,)), "segmentation_masks": tenun.Input((9, 8, 1))}
    y = k.Resizing(**SIZE)(k.RandomRotation(0.2)(k.CutMix()(parts)))
    model = tenun.Model(list(parts.values()), [y[key] for key in parts])
    rng = np.random.default_rng(0)
    given = [rng.random((4, *t.shape[1:])).astype(np.float32) for t in parts.values()]
    want = theirs(keras, "Resizing", **SIZE)(dict(zip(parts, given)), training=False)
    for got, expected in zip(model.predict(given, verbose=0), want.values()):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_bounding_boxes_are_refused_by_name() -> None:
    parts = {"images": tenun.Input(IMAGE), "bounding_boxes": {"boxes": tenun.Input((2, 4))}}
    with pytest.raises(TenunError, match=r"'flip' \(RandomFlip\).*bounding_boxes"):
        LAYERS["RandomFlip"](name="flip", bounding_box_format="xyxy")(parts)


def test_a_mode_that_keras_has_at_inference_only() -> None:
    layer, x = LAYERS["RandomElasticTransform"](fill_mode="mirror"), images_for({})
    np.testing.assert_array_equal(transformed(layer.class_name, {"fill_mode": "mirror"}, x, None), x)
    with pytest.raises(UnsupportedError, match="RandomElasticTransform.*fill_mode='mirror'"):
        training_graph(layer)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("Resizing", {**SIZE, "interpolation": "quadratic"}, "interpolation"),
        ("Resizing", {**SIZE, "fill_mode": "reflect"}, "fill_mode"),
        ("Resizing", {**SIZE, "crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "pad_to_aspect_ratio"),
        ("CenterCrop", {"height": 0, "width": 3}, "height"),
        ("RandomFlip", {"mode": "diagonal"}, "mode"),
        ("RandomRotation", {"factor": 1.5}, "factor"),
        ("RandomRotation", {"factor": "big"}, "factor"),
        ("RandomRotation", {"factor": 0.1, "fill_mode": "mirror"}, "fill_mode"),
        ("RandomRotation", {"factor": 0.1, "interpolation": "bicubic"}, "interpolation"),
        ("RandomZoom", {"height_factor": -1.0}, "height_factor"),
        ("RandomPerspective", {"scale": 2.0}, "scale"),
        ("RandomContrast", {"factor": 1.5}, "factor"),
        ("RandomBrightness", {"factor": 0.1, "value_range": 3}, "value_range"),
        ("RandomGrayscale", {"factor": 2}, "factor"),
        ("RandomGaussianBlur", {"kernel_size": 4}, "kernel_size"),
        ("RandomErasing", {"fill_value": (1, 2)}, "fill_value"),
        ("MixUp", {"alpha": 0.0}, "alpha"),
        ("ContrastLimitedAdaptiveHistogramEqualization", {"tile_grid_size": 8}, "tile_grid_size"),
    ],
)  # fmt: skip
def test_refused_by_name(name: str, config: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{name}.*{words}"):
        LAYERS[name](**config)
