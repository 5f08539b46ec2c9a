"""`Value`, which differentiates itself: every operator and function that the report lists."""

from ..job import Experiment, Row
from ..values import EXPRESSIONS, ValueCheck

EXPERIMENT = Experiment(
    "value", "Value: operators and functions",
    "Elements, and gradients of their weighted sum by all operands (one of them broadcast), against TensorFlow's tape. "
    "`backward` is called twice, so that gradients accumulate. Errors are relative to the largest element.",
    tuple(Row(name, ValueCheck(name)) for name in EXPRESSIONS),
    (("operands with a gradient", "gradients", "d"), ("error of the elements", "keras.value", ".1e"),
     ("of the gradients", "keras.gradient", ".1e")),
)  # fmt: skip
