"""Optimisers: Keras' update rules, emitted as ops into the graph of a training step.

    adam = OPTIMIZERS.get("adam")
    new = adam.apply(b, states, [Trainable("dense.kernel", kernel, gradient, (64, 10), "float32")])

What an optimiser remembers is states of the graph: `optimizer/iterations`, `optimizer/learning_rate`, and slots,
`optimizer/dense.kernel/velocity`.  `first_states` gives their names and first values in the order of Keras'
`optimizer.variables`, in which files hold them.  A subclass has fields (in the order of Keras' constructor, the options
that all share left out), `slots`, scalars that are the same for all parameters (`scalars`) and the formula for one
parameter (`update`); clipping, weight decay, moving averages, accumulation and constraints are in the base for all.
"""

from __future__ import annotations

from .. import schedules
from .adagrad import Adadelta, Adafactor, Adagrad, Ftrl, RMSprop
from .adam import Adam, Adamax, AdamW, Lamb, Nadam, ScheduleFreeAdamW
from .base import OPTIONS, PREFIX, Optimizer, Scope, Slot, Trainable, path_of
from .muon import Muon
from .sgd import SGD, Lion
from .table import OPTIMIZERS, Optimizers, modern
from .wrappers import LossScaleOptimizer, MultiOptimizer, OptimizerMap

__all__ = [
    "OPTIMIZERS",
    "OPTIONS",
    "PREFIX",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "MultiOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "OptimizerMap",
    "Optimizers",
    "RMSprop",
    "ScheduleFreeAdamW",
    "Scope",
    "Slot",
    "Trainable",
    "modern",
    "path_of",
    "schedules",
]
