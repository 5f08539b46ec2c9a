"""TensorFlow functions among the layers of tf.keras models, as operations of keras.ops, or of tenun's own.

tf.keras (TensorFlow 2.4 and later) saves a call of tf.f(x, ...) as a layer TFOpLambda or SlicingOpLambda, with the
arguments in `inbound_nodes`; before, as a TensorFlowOpLayer that holds the node of TensorFlow's graph.

A row of SYMBOLS says what a function is: `Operation parameter ... key=parameter:default ...` with TensorFlow's names
of parameters, the first one first.  Plain ones are the operation's arguments, the others its config by Keras' keys;
defaults (JSON) are TensorFlow's where Keras has another one.  Of several rows the first that takes all arguments holds;
operations called `tf.*` are those of layers/operations/tensorflow.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import LoadError, UnsupportedError
from ...layers.base import flatten
from ...layers.model import Call, Operator, Ref
from ...layers.operations import Operation, TensorFlowOperation

_REDUCED = "input_tensor axis=axis keepdims=keepdims"
_BINARY = {
    "add": "Add", "subtract": "Subtract", "multiply": "Multiply", "divide": "Divide", "truediv": "Divide",
    "floordiv": "FloorDivide", "floormod": "Mod", "mod": "Mod", "pow": "Power", "maximum": "Maximum",
    "minimum": "Minimum", "divide_no_nan": "DivideNoNan", "squared_difference": "tf.squared_difference",
    "equal": "Equal", "not_equal": "NotEqual", "less": "Less", "less_equal": "LessEqual", "greater": "Greater",
    "greater_equal": "GreaterEqual", "logical_and": "LogicalAnd", "logical_or": "LogicalOr",
    "logical_xor": "LogicalXor",
}  # fmt: skip
_UNARY = {
    "abs": "Absolute", "negative": "Negative", "sign": "Sign", "square": "Square", "sqrt": "Sqrt", "rsqrt": "Rsqrt",
    "exp": "Exp", "expm1": "Expm1", "log": "Log", "log1p": "Log1p", "sin": "Sin", "cos": "Cos", "tan": "Tan",
    "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "asin": "Arcsin", "acos": "Arccos", "atan": "Arctan",
    "asinh": "Arcsinh", "acosh": "Arccosh", "atanh": "Arctanh", "floor": "Floor", "ceil": "Ceil", "round": "Round",
    "rint": "Round", "reciprocal": "Reciprocal", "erf": "Erf", "sigmoid": "Sigmoid", "log_sigmoid": "LogSigmoid",
    "is_nan": "Isnan", "is_finite": "Isfinite", "is_inf": "Isinf", "logical_not": "LogicalNot",
}  # fmt: skip
_REDUCTIONS = {
    "sum": "Sum", "mean": "Mean", "max": "Max", "min": "Min", "prod": "Prod", "any": "Any", "all": "All", "std": "Std",
    "variance": "Var", "logsumexp": "Logsumexp",
}  # fmt: skip
_ACTIVATIONS = {
    "relu": "Relu", "relu6": "Relu6", "elu": "Elu", "selu": "Selu", "softplus": "Softplus", "softsign": "Softsign",
}  # fmt: skip

SYMBOLS: dict[str, tuple[str, ...]] = {
    **{f"math.{name}": (f"{operation} x y",) for name, operation in _BINARY.items()},
    **{f"math.{name}": (f"{operation} x",) for name, operation in _UNARY.items()},
    **{f"math.reduce_{name}": (f"{operation} {_REDUCED}",) for name, operation in _REDUCTIONS.items()},
    **{f"nn.{name}": (f"{operation} features",) for name, operation in _ACTIVATIONS.items()},
    "__operators__.add": ("Add x y",),
    "__operators__.eq": ("Equal self other",),
    "__operators__.ne": ("NotEqual self other",),
    "__operators__.getitem": ("GetItem tensor slice_spec",),
    "math.add_n": ("tf.add_n inputs",),
    "math.atan2": ("Arctan2 y x",),
    "math.softplus": ("Softplus features",),
    "math.softsign": ("Softsign features",),
    "math.l2_normalize": ("tf.l2_normalize x axis=axis epsilon=epsilon",),
    "math.argmax": ("tf.argmax input axis=axis output_type=output_type",),
    "math.argmin": ("tf.argmin input axis=axis output_type=output_type",),
    "math.cumsum": ("Cumsum x axis=axis:0",),
    "math.cumprod": ("Cumprod x axis=axis:0",),
    "math.top_k": ("TopK input k=k:1 sorted=sorted",),
    "nn.leaky_relu": ("LeakyRelu features negative_slope=alpha:0.2",),
    "nn.gelu": ("Gelu features approximate=approximate:false",),
    "nn.silu": ("Silu features",),
    "nn.softmax": ("Softmax logits axis=axis:-1",),
    "nn.log_softmax": ("LogSoftmax logits axis=axis:-1",),
    "nn.bias_add": ("tf.bias_add value bias",),
    "nn.moments": ("Moments x axes=axes keepdims=keepdims",),
    "nn.max_pool2d": ('MaxPool input pool_size=ksize strides=strides padding=padding data_format=data_format:"NHWC"',),
    "nn.avg_pool2d": (
        'AveragePool input pool_size=ksize strides=strides padding=padding data_format=data_format:"NHWC"',
    ),
    "nn.depth_to_space": ('DepthToSpace input block_size=block_size data_format=data_format:"NHWC"',),
    "nn.space_to_depth": ('SpaceToDepth input block_size=block_size data_format=data_format:"NHWC"',),
    "linalg.matmul": ("Matmul a b", "tf.matmul a b transpose_a=transpose_a transpose_b=transpose_b"),
    "linalg.band_part": ("tf.band_part input num_lower=num_lower num_upper=num_upper",),
    "linalg.norm": ("tf.norm tensor ord=ord axis=axis keepdims=keepdims",),
    "tensordot": ("Tensordot a b axes=axes",),
    "cast": ("Cast x dtype=dtype",),
    "clip_by_value": ("Clip t x_min=clip_value_min x_max=clip_value_max",),
    "identity": ("Copy input",),
    "stop_gradient": ("StopGradient input",),
    "zeros_like": ("ZerosLike input dtype=dtype",),
    "ones_like": ("OnesLike input dtype=dtype",),
    "shape": ("tf.shape input out_type=out_type",),
    "size": ("Size input",),
    "rank": ("Ndim input",),
    "reshape": ("Reshape tensor newshape=shape", "tf.reshape tensor shape"),
    "broadcast_to": ("BroadcastTo input shape=shape", "tf.broadcast_to input shape"),
    "tile": ("Tile input repeats=multiples", "tf.tile input multiples"),
    "fill": ("tf.fill dims value",),
    "expand_dims": ("ExpandDims input axis=axis",),
    "squeeze": ("Squeeze input axis=axis",),
    "transpose": ("Transpose a axes=perm",),
    "concat": ("Concatenate values axis=axis:0",),
    "stack": ("Stack values axis=axis:0",),
    "unstack": ("Unstack value num=num axis=axis:0",),
    "split": ("Split value indices_or_sections=num_or_size_splits axis=axis:0",),
    "repeat": ("Repeat input repeats=repeats axis=axis",),
    "reverse": ("Flip tensor axis=axis",),
    "roll": ("Roll input shift=shift axis=axis",),
    "pad": ('Pad tensor pad_width=paddings mode=mode:"constant" constant_values=constant_values',),
    "gather": ("Take params indices axis=axis:0", "tf.gather params indices axis=axis batch_dims=batch_dims"),
    "gather_nd": ("tf.gather_nd params indices batch_dims=batch_dims",),
    "where": ("Where condition x y",),
    "one_hot": ('OneHot indices num_classes=depth axis=axis:-1 dtype=dtype:"float32"',),
    "sort": ("Sort values axis=axis:-1",),
    "argsort": ("Argsort values axis=axis:-1",),
    "image.resize": ('Resize images size=size interpolation=method:"bilinear" antialias=antialias',),
    "image.rgb_to_grayscale": ("RGBToGrayscale images",),
    "image.rgb_to_hsv": ("RGBToHSV images",),
    "image.hsv_to_rgb": ("HSVToRGB images",),
    "image.flip_left_right": ("Flip image axis=axis:-2",),
    "image.flip_up_down": ("Flip image axis=axis:-3",),
}
SYMBOLS |= {
    "floor_div": SYMBOLS["math.floordiv"],
    "norm": SYMBOLS["linalg.norm"], "nn.l2_normalize": SYMBOLS["math.l2_normalize"], "where_v2": SYMBOLS["where"],
    "gather_v2": SYMBOLS["gather"], "math.mod": SYMBOLS["math.floormod"], "nn.swish": SYMBOLS["nn.silu"],
    "nn.tanh": SYMBOLS["math.tanh"], "nn.sigmoid": SYMBOLS["math.sigmoid"], "nn.relu_6": SYMBOLS["nn.relu6"],
    "nn.max_pool": SYMBOLS["nn.max_pool2d"], "nn.avg_pool": SYMBOLS["nn.avg_pool2d"],
    "image.resize_images": SYMBOLS["image.resize"],
}  # fmt: skip

# other names of parameters (TensorFlow 1)
ALIASES = {
    "keep_dims": "keepdims", "reduction_indices": "axis", "squeeze_dims": "axis", "dim": "axis", "dimension": "axis",
    "axes": "axes", "pool_size": "ksize", "size_splits": "num_or_size_splits",
}  # fmt: skip

# what arguments that no row takes may be: they say what holds anyway
HARMLESS: dict[str, tuple[Any, ...]] = {
    "beta": (1.0,), "on_value": (1, 1.0), "off_value": (0, 0.0), "direction": ("ASCENDING",), "num": (None,),
    "output_type": ("int64",), "batch_dims": (0,), "constant_values": (0, 0.0), "out_type": ("int32",),
    "data_format": ("NHWC", "N...C"), "bad_indices_policy": ("", "DEFAULT"),
}  # fmt: skip

CALLED = ("constant_values",)  # keys that an operation of keras.ops takes in the call, not in its config

# ---- values that Keras writes otherwise -------------------------------------------------------------------------

Given = dict[str, Any]


def _key(value: Any) -> Any:
    """A part of x[key]: slices are dicts."""
    if isinstance(value, dict) and value.get("class_name") == "__ellipsis__":
        return Ellipsis
    if isinstance(value, dict):
        bounds = [value.get(k) for k in ("start", "stop", "step")]
        if any(isinstance(v, Ref) for v in bounds):
            raise UnsupportedError("the bounds of a slice are tensors", hint="use tf.gather with tf.range")
        return slice(*bounds)
    return value


def _spec(key: Any) -> Any:
    return [_key(v) for v in key] if isinstance(key, list) else _key(key)


def _window(size: Any) -> Any:
    """Of (1, H, W, 1): (H, W)."""
    return size[1:3] if isinstance(size, list) and len(size) == 4 else size


def _cuts(sizes: Any) -> Any:
    """The places of cuts between parts of given sizes."""
    if not isinstance(sizes, list):
        return sizes
    if any(isinstance(s, Ref) or s < 0 for s in sizes):
        raise UnsupportedError(f"tf.split into {sizes}", hint="give the sizes of all parts as numbers")
    return [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]


_FORMATS = {"NHWC": "channels_last", "NCHW": "channels_first", "N...C": "channels_last"}
VALUES: dict[str, Callable[[Any], Any]] = {
    "slice_spec": _spec,
    "num_or_size_splits": _cuts,
    "mode": lambda v: str(v).lower(),
    "method": lambda v: str(v).lower(),
    "padding": lambda v: str(v).lower(),
    "ksize": _window,
    "strides": _window,
    "data_format": lambda v: _FORMATS.get(v, v),
    "ord": lambda v: None if v == "euclidean" else v,
}


# ---- calls ------------------------------------------------------------------------------------------------------


class Symbol(Operator):
    """A call of a TensorFlow function, as the file has it; each becomes an operation once its arguments are known."""

    def __init__(self, name: str, class_name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name=name)
        self.original, self.config = class_name, config

    @property
    def class_name(self) -> str:
        return self.original

    def operation(self, call: Call) -> tuple[Operation, Call]:
        """The operation that a call makes of it, and the call of that; UnsupportedError where there is none."""
        first, given = call.args[0], call.kwargs
        if self.original == "TensorFlowOpLayer":
            symbol, first, given = node_call(self.config, flatten(first))
        else:
            symbol = str(self.config.get("function"))
        found, args, keywords = operation(symbol, first, given, call.layer)
        return found, Call(call.layer, args, keywords)


def operation(symbol: str, first: Any, given: Mapping[str, Any], name: str) -> tuple[Operation, list[Any], Given]:
    """The operation that a call of a TensorFlow function is, with its arguments and those given by name.

    `first` is the first argument, `given` has the others by TensorFlow's names; tensors are Refs.  What holds no tensor
    is the operation's config.  UnsupportedError where there is no row, or none for these arguments.
    """
    known = SYMBOLS.get(symbol.removeprefix("compat.v1.").removeprefix("compat.v2."))
    if known is None:
        raise UnsupportedError(f"the TensorFlow function tf.{symbol} is not supported")
    named = {ALIASES.get(k, k): v for k, v in given.items() if k != "name"}
    left: Given = {}
    for row in known:
        found, *parameters = row.split()
        args, config, left = _bound(parameters, first, named)
        in_config = any(isinstance(v, Ref) for v in flatten(list(config.values())))
        if not left and (not in_config or row is known[-1]):
            cls = TensorFlowOperation if found.startswith("tf.") else Operation
            by_call = {k: v for k, v in config.items() if k in CALLED or any(isinstance(r, Ref) for r in flatten(v))}
            own = {k: v for k, v in config.items() if k not in by_call}
            return cls(found, {**own, "name": name}), args, by_call
    listed = ", ".join(f"{k}={v!r}" for k, v in left.items())
    raise UnsupportedError(f"the TensorFlow function tf.{symbol} with {listed or 'these arguments'} is not supported")


def _bound(parameters: list[str], first: Any, named: Given) -> tuple[list[Any], Given, Given]:
    """Arguments, config and what is left over, of a call by the parameters of a row."""
    given = {parameters[0]: first, **named}
    args: list[Any] = []
    config: Given = {}
    for parameter in parameters:
        key, _, source = parameter.rpartition("=")
        source, _, default = source.partition(":")
        value = given.pop(source, None)
        value = json.loads(default) if value is None and default else value
        value = VALUES[source](value) if source in VALUES and value is not None else value
        if not key:
            args.append(_array(value) if source not in VALUES else value)
        elif value is not None and not (key in CALLED and value in HARMLESS[key]):
            config[key] = value
    left = {k: v for k, v in given.items() if v not in (None, False) and v not in HARMLESS.get(k, ())}
    return args, config, left


def _array(value: Any) -> Any:
    """Lists of numbers as arrays of 32 bits."""
    if not isinstance(value, list) or not all(isinstance(v, (bool, int, float)) for v in flatten(value)):
        return value
    array = np.array(value)
    return array.astype({"float64": "float32", "int64": "int32"}.get(array.dtype.name, array.dtype))


# ---- nodes of TensorFlow's graphs -------------------------------------------------------------------------------

# op: the function, and the parameters that its inputs are, and (after a bar) those that its attributes are
_NODES = {
    **{f"{op}": f"math.{name} x y" for op, name in {
        "Add": "add", "AddV2": "add", "Sub": "subtract", "Mul": "multiply", "RealDiv": "divide", "Div": "divide",
        "FloorDiv": "floordiv", "FloorMod": "floormod", "Pow": "pow", "Maximum": "maximum", "Minimum": "minimum",
        "DivNoNan": "divide_no_nan", "SquaredDifference": "squared_difference", "Equal": "equal",
        "NotEqual": "not_equal", "Less": "less", "LessEqual": "less_equal", "Greater": "greater",
        "GreaterEqual": "greater_equal", "LogicalAnd": "logical_and", "LogicalOr": "logical_or",
    }.items()},
    **{op: f"math.{name} x" for op, name in {
        "Abs": "abs", "Neg": "negative", "Sign": "sign", "Square": "square", "Sqrt": "sqrt", "Rsqrt": "rsqrt",
        "Exp": "exp", "Expm1": "expm1", "Log": "log", "Log1p": "log1p", "Sin": "sin", "Cos": "cos", "Tan": "tan",
        "Sinh": "sinh", "Cosh": "cosh", "Tanh": "tanh", "Asin": "asin", "Acos": "acos", "Atan": "atan",
        "Floor": "floor", "Ceil": "ceil", "Round": "round", "Rint": "rint", "Reciprocal": "reciprocal",
        "Inv": "reciprocal", "Erf": "erf", "Sigmoid": "sigmoid", "LogicalNot": "logical_not",
    }.items()},
    **{op: f"math.reduce_{op.lower()} input_tensor axis | keepdims=keep_dims" for op in (
        "Sum", "Mean", "Max", "Min", "Prod", "Any", "All",
    )},
    **{op: f"nn.{op.lower()} features" for op in ("Relu", "Relu6", "Elu", "Selu", "Softplus", "Softsign")},
    "LeakyRelu": "nn.leaky_relu features | alpha=alpha",
    "Softmax": "nn.softmax logits", "LogSoftmax": "nn.log_softmax logits",
    "BiasAdd": "nn.bias_add value bias", "Atan2": "math.atan2 y x",
    "ArgMax": "math.argmax input axis | output_type=output_type",
    "ArgMin": "math.argmin input axis | output_type=output_type",
    "Cumsum": "math.cumsum x axis | exclusive=exclusive reverse=reverse",
    "TopKV2": "math.top_k input k | sorted=sorted",
    "MatMul": "linalg.matmul a b | transpose_a=transpose_a transpose_b=transpose_b",
    "BatchMatMul": "linalg.matmul a b | transpose_a=adj_x transpose_b=adj_y",
    "BatchMatMulV2": "linalg.matmul a b | transpose_a=adj_x transpose_b=adj_y",
    "Cast": "cast x | dtype=DstT", "ClipByValue": "clip_by_value t clip_value_min clip_value_max",
    "Identity": "identity input", "StopGradient": "stop_gradient input", "ZerosLike": "zeros_like input",
    "OnesLike": "ones_like input", "Shape": "shape input | out_type=out_type", "Size": "size input",
    "Rank": "rank input", "Reshape": "reshape tensor shape", "BroadcastTo": "broadcast_to input shape",
    "Tile": "tile input multiples", "Fill": "fill dims value", "ExpandDims": "expand_dims input axis",
    "Squeeze": "squeeze input | axis=squeeze_dims", "Transpose": "transpose a perm", "Pack": "stack * | axis=axis",
    "Unpack": "unstack value | num=num axis=axis", "Split": "split axis value | num_or_size_splits=num_split",
    "SplitV": "split value num_or_size_splits axis", "ConcatV2": "concat * axis", "AddN": "math.add_n *",
    "ReverseV2": "reverse tensor axis", "Pad": "pad tensor paddings", "PadV2": "pad tensor paddings constant_values",
    "MirrorPad": "pad tensor paddings | mode=mode", "GatherV2": "gather params indices axis | batch_dims=batch_dims",
    "GatherNd": "gather_nd params indices", "Select": "where condition x y", "SelectV2": "where condition x y",
    "OneHot": "one_hot indices depth on_value off_value | axis=axis", "L2Normalize": "math.l2_normalize x",
    "StridedSlice": "__operators__.getitem tensor begin end strides | begin_mask=begin_mask end_mask=end_mask "
    "ellipsis_mask=ellipsis_mask new_axis_mask=new_axis_mask shrink_axis_mask=shrink_axis_mask",
    "ResizeBilinear": "image.resize images size | half_pixel_centers=half_pixel_centers align_corners=align_corners",
    "MaxPool": "nn.max_pool2d input | ksize=ksize strides=strides padding=padding data_format=data_format",
    "AvgPool": "nn.avg_pool2d input | ksize=ksize strides=strides padding=padding data_format=data_format",
    "DepthToSpace": "nn.depth_to_space input | block_size=block_size data_format=data_format",
    "SpaceToDepth": "nn.space_to_depth input | block_size=block_size data_format=data_format",
}  # fmt: skip

_DTYPES = {
    "DT_HALF": "float16", "DT_BFLOAT16": "bfloat16", "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_BOOL": "bool",
    "DT_STRING": "string", **{f"DT_{u}INT{n}": f"{u.lower()}int{n}" for u in ("", "U") for n in (8, 16, 32, 64)},
}  # fmt: skip


def node_call(config: Mapping[str, Any], inputs: list[Any]) -> tuple[str, Any, Given]:
    """The function, its first argument and the others by name, of a TensorFlowOpLayer called with tensors (Refs)."""
    node, constants = config.get("node_def"), config.get("constants") or {}
    if isinstance(node, str):
        try:
            node = json.loads(node)
        except ValueError:
            raise UnsupportedError(
                "a TensorFlowOpLayer with a binary node_def", hint="save it again with TF 2.4"
            ) from None
    if not isinstance(node, dict) or not isinstance(constants, dict):
        raise LoadError("a TensorFlowOpLayer has no node_def")
    op = str(node.get("op"))
    if op not in _NODES:
        raise UnsupportedError(f"the TensorFlow op {op} is not supported")
    given = list(inputs)
    for index in sorted(constants, key=int):
        given.insert(int(index), _number(constants[index]))
    (symbol, *names), attributes = (part.split() for part in (_NODES[op] + " | ").split("|")[:2])
    if "*" in names:  # all but those that have names after it
        after = len(names) - 1
        given = [given[: len(given) - after], *given[len(given) - after :]]
        names[0] = "values"
    named = dict(zip(names, given))
    attr = node.get("attr") or {}
    for pair in attributes:
        key, _, source = pair.partition("=")
        if source in attr:
            named[key] = _attribute(attr[source])
    if "begin" in named:
        named = {"tensor": named["tensor"], "slice_spec": _strided(named)}
    if symbol == "image.resize" and (named.pop("align_corners", False) or not named.pop("half_pixel_centers", False)):
        raise UnsupportedError(f"the TensorFlow op {op} without half_pixel_centers is not supported")
    first = {"split": "value"}.get(symbol, names[0])
    return symbol, named.pop(first), named


def _number(value: Any) -> Any:
    """A constant of a node: numbers, or an array as Keras serialises it."""
    if isinstance(value, dict):
        value = (value.get("config") or value).get("value")
    return value.tolist() if hasattr(value, "tolist") else value


def _attribute(value: Mapping[str, Any]) -> Any:
    """The value of an attribute in the JSON of protocol buffers: 64-bit numbers and bytes are strings."""
    found: Any
    kind, found = next(iter(value.items()), ("", None))
    if kind == "list":
        return [int(v) for v in found.get("i", [])]
    if kind == "i":
        return int(found)
    if kind == "s":
        return base64.b64decode(found).decode()
    return _DTYPES.get(found, found) if kind == "type" else found


def _strided(given: Given) -> list[Any]:
    """The key of a StridedSlice, whose masks have a bit for each entry of begin, end and strides."""
    bounds = (given["begin"], given["end"], given["strides"])
    if any(isinstance(v, Ref) for v in bounds):
        raise UnsupportedError("the bounds of a StridedSlice are tensors")
    key: list[Any] = []
    for i, (begin, end, step) in enumerate(zip(*bounds)):
        bits = {name: int(given.get(f"{name}_mask", 0)) >> i & 1 for name in
                ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}  # fmt: skip
        if bits["ellipsis"]:
            key.append(Ellipsis)
        elif bits["new_axis"]:
            key.append(None)
        elif bits["shrink_axis"]:
            key.append(begin)
        else:
            key.append(slice(None if bits["begin"] else begin, None if bits["end"] else end, step))
    return key
