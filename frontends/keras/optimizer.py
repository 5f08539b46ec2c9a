"""What Keras files say of the training: the arguments of `compile`, and the optimiser's variables."""

from __future__ import annotations

from typing import Any

from ...errors import LoadError
from .archive import H5, H5_ERRORS, errors_as


def compile_arguments(config: Any) -> dict[str, Any] | None:
    """The `training_config` of a `.h5` file as the arguments of `compile`."""
    if not isinstance(config, dict):
        return None
    found = {k: config.get(k) for k in ("loss", "loss_weights", "metrics", "weighted_metrics")}
    return {"optimizer": config.get("optimizer_config") or config.get("optimizer"), **found}


def numbered(h5: H5, path: str) -> list[Any]:
    """The datasets 0, 1, ... of a group, as `.keras` files hold variables; none where there is no group."""
    group = h5.node(path)
    if group is None:
        return []
    with errors_as("the optimizer's variables cannot be listed", H5_ERRORS, h5.file):
        count = len(group.keys())
    return [_array(h5, group, str(i)) for i in range(count)]


def listed(h5: H5) -> list[Any]:
    """The variables that a `.h5` file lists in its group optimizer_weights; none where there is no such group."""
    group = h5.node("optimizer_weights")
    if group is None:
        return []
    return [_array(h5, group, name) for name in h5.strings(group, "weight_names")]


def _array(h5: H5, group: Any, name: str) -> Any:
    dataset = h5.dataset(name, group)
    if dataset is None:
        raise LoadError(f"the file has no variable {name!r} of the optimizer, which it lists", file=h5.file)
    return h5.array(dataset)
