"""All callbacks of a run as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...errors import RunError
from .base import HOOKS, Callback, History, plain_logs
from .progress import ProgbarLogger


class CallbackList(Callback):
    """All callbacks of a run as one.

    callbacks: one, or a list, perhaps nested.  add_history, add_progbar: add a History and a ProgbarLogger if there is
    none.  `history` is one to add; `params` may be given as a dict too, and then a ProgbarLogger is added unless its
    verbose is 0.
    """

    def __init__(
        self, callbacks: Any = None, add_history: bool = False, add_progbar: bool = False, model: Any = None, *,
        history: History | None = None, params: Mapping[str, Any] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        found = list(_flat(callbacks))
        wrong = [c for c in found if isinstance(c, type) or not hasattr(c, "set_model")]
        if wrong:
            raise RunError(f"{wrong[0]!r} is no callback", hint="give objects of classes derived from Callback")
        recorders = [c for c in found if isinstance(c, History)]
        if history is not None or (add_history and not recorders):
            recorders = [history or History()]
            found += recorders
        add_progbar = add_progbar or (params or {}).get("verbose", 0) not in (0, None)
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in found):
            found.append(ProgbarLogger())
        self.callbacks: list[Callback] = sorted(found, key=lambda c: getattr(c, "rank", 0))
        self._history = recorders[-1] if recorders else None
        for each in self.callbacks:
            each.peers = self.callbacks
        if model is not None:
            self.set_model(model)
        self.set_params({**(params or {}), **more})

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for each in self.callbacks if params else ():
            each.set_params(params)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if self._history is not None:
            model.history = self._history
        for each in self.callbacks:
            each.set_model(model)


def _flat(callbacks: Any) -> Iterable[Any]:
    if isinstance(callbacks, CallbackList):
        callbacks = callbacks.callbacks
    if isinstance(callbacks, (list, tuple)):
        return [c for each in callbacks for c in _flat(each)]
    return [] if callbacks is None else [callbacks]


def _to_all(hook: str) -> Callable[..., None]:
    """A hook that calls that of all callbacks; they share the logs."""

    def numbered(self: CallbackList, number: int, logs: Any = None) -> None:
        shared = plain_logs(logs)
        for each in self.callbacks:
            getattr(each, hook)(number, shared)

    def simple(self: CallbackList, logs: Any = None) -> None:
        shared = plain_logs(logs)
        for each in self.callbacks:
            getattr(each, hook)(shared)

    return numbered if "epoch" in hook or "batch" in hook else simple


for _hook in HOOKS:
    setattr(CallbackList, _hook, _to_all(_hook))
