"""Dtype policies as Keras serialises them, to and from their names (layers/policy.py)."""

from __future__ import annotations

import re
from typing import Any

from ...errors import LoadError, UnsupportedError
from ...layers.policy import MODES, policy

# mode: Keras' class, for those that have one of their own
_CLASSES = {
    "int4": "Int4DTypePolicy", "float8": "QuantizedFloat8DTypePolicy", "gptq": "GPTQDTypePolicy",
    "awq": "AWQDTypePolicy",
}  # fmt: skip

FLOATS = ("float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16")


def read_policy(value: Any, path: str) -> str | None:
    """The name of a policy: one that is named, a serialised object, or of a map what it holds for the layer at `path`.

    UnsupportedError for a policy that tenun does not have, LoadError for what is none.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return policy(value).name
    config = value.get("config") if isinstance(value, dict) else None
    if not isinstance(config, dict):
        raise LoadError(f"{value!r} is no dtype policy")
    if value.get("class_name") == "DTypePolicyMap":
        return _of_map(config, path)
    if "mode" not in config:
        if not isinstance(config.get("name"), str):
            raise UnsupportedError(f"dtype policy {value.get('class_name')} {config} is not supported")
        return policy(config["name"]).name
    numbers = [config["amax_history_length"]] if config.get("amax_history_length") is not None else []
    mode = "/".join([str(config["mode"]), *map(str, numbers)])
    return policy(f"{mode}_from_{config.get('source_name') or 'float32'}").name


def nearest_policies(value: Any) -> list[str]:
    """The names of policies that are most like one that tenun does not have; what it computes in comes first."""
    from difflib import get_close_matches

    config = value.get("config") if isinstance(value, dict) else None
    config = config if isinstance(config, dict) else {"name": value}
    if "mode" not in config:
        return get_close_matches(str(config.get("name")), FLOATS, 2) or ["float32"]
    source = config.get("source_name") or "float32"
    return [f"{mode}_from_{source}" for mode in get_close_matches(str(config["mode"]), MODES, 2)] or [str(source)]


def _of_map(config: dict[str, Any], path: str) -> str | None:
    """What a DTypePolicyMap holds for a path: an entry for it, one whose pattern fits, or the default."""
    entries = config.get("policy_map") or {}
    if not isinstance(entries, dict):
        raise LoadError(f"the policy_map of a DTypePolicyMap is {entries!r}")
    below = [key for key in entries if key.startswith(f"{path}/")]
    if below:
        raise UnsupportedError(
            f"the DTypePolicyMap has a policy for {below[0]!r}, a part of the layer {path!r}",
            hint="only policies of whole layers are supported",
        )
    fitting = [path] if path in entries else [key for key in entries if _fits(key, path)]
    if len(fitting) > 1:
        raise LoadError(f"several keys of the DTypePolicyMap fit {path!r}: {', '.join(fitting)}")
    return read_policy(entries[fitting[0]] if fitting else config.get("default_policy"), path)


def _fits(pattern: str, path: str) -> bool:
    """Whether a path matches a pattern of plain text and `.*`: no other pattern of a file is ever run."""
    pieces = pattern.split(".*")
    if any(re.escape(piece) != re.escape(re.sub(r"[^\w/-]", "", piece)) for piece in pieces):
        raise UnsupportedError(f"the key {pattern!r} of a DTypePolicyMap is not supported", hint="use names and `.*`")
    return re.fullmatch(".*".join(map(re.escape, pieces)), path) is not None


def write_policy(name: str | None) -> dict[str, Any]:
    """A policy as Keras 3 serialises it."""
    found = policy(name)
    if found.mode is None:
        return _serialised("keras", "DTypePolicy", {"name": found.source})
    own = {"amax_history_length": found.numbers[0]} if found.mode == "float8" else {}
    mode = found.mode if found.mode == "float8" else "/".join([found.mode, *map(str, found.numbers)])
    config = {"mode": mode, "source_name": found.source, **own}
    return _serialised("keras.dtype_policies", _CLASSES.get(found.mode, "QuantizedDTypePolicy"), config)


def _serialised(module: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": None}
