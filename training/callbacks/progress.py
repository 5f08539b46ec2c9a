"""The progress bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .base import Callback, Logs, say


def is_notebook() -> bool:
    return "ipykernel" in sys.modules


def is_terminal() -> bool:
    return hasattr(sys.stdout, "isatty") and sys.stdout.isatty()


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Progbar:
    """A line that says how far an epoch is, how long it takes, and its figures.

    On a terminal and in a notebook it is drawn over and over (verbose=1); elsewhere it is printed once, at the end.
    """

    width = 20
    interval = 0.05  # seconds between two drawings

    def __init__(self, target: int | None, verbose: int = 1) -> None:
        self.target, self.verbose = target, verbose
        self._start = time.perf_counter()
        self._first: float | None = None  # when the first step was done, which is no measure of the others
        self._drawn = 0.0
        self._figures: Logs = {}
        self._live: Any = None
        self._printed = 0
        self._animated = verbose == 1 and (is_terminal() or is_notebook())

    def update(self, current: int, figures: Mapping[str, Any], finalize: bool = False) -> None:
        """Steps done so far, and the figures to show."""
        self._figures.update(figures)
        now = time.perf_counter()
        step = self._step_time(current, now)
        if finalize or (self._animated and now - self._drawn >= self.interval):
            self._drawn = now
            self._draw(self._parts(current, now - self._start, step, finalize), finalize)

    def _step_time(self, current: int, now: float) -> float:
        """Seconds a step takes, without the first one where there are others."""
        if current > 1 and self._first is not None:
            return (now - self._first) / (current - 1)
        if current == 1:
            self._first = now
        return (now - self._start) / current if current else 0.0

    def _parts(self, current: int, elapsed: float, step: float, finalize: bool) -> list[tuple[str, str]]:
        """The line in pieces, each with its style."""
        parts = []
        if self.target:
            parts.append((f"{current:>{len(str(self.target))}}/{self.target} ", "bold"))
            if self.verbose == 1:
                full, empty = ("━", "━" if self._animated else " ") if _can_print("━") else ("=", ".")
                done = int(self.width * min(current / self.target, 1))
                parts += [(full * done, "green"), (empty * (self.width - done), "bright_black")]
        else:
            parts.append((f"{current:>7}/Unknown", "bold"))
        waiting = self.target and not finalize
        clock = _remaining(step * (self.target - current)) if waiting and self.target else f"{elapsed:.0f}s"
        parts += [(" " if self.verbose == 1 else "- ", ""), (clock, "bold")]
        parts.append(((" " if self.verbose == 1 else " - ") + _per_step(step), ""))
        parts += [(f" - {name}: {_figure(value)}", "") for name, value in self._figures.items()]
        return parts

    def _draw(self, parts: list[tuple[str, str]], finalize: bool) -> None:
        line = "".join(text for text, _ in parts)
        if not self._animated:
            say(line)
        elif is_notebook():
            print("\r" + line.ljust(self._printed), end="\n" if finalize else "", flush=True)
            self._printed = len(line)
        else:
            self._draw_on_terminal(parts, finalize)

    def _draw_on_terminal(self, parts: list[tuple[str, str]], finalize: bool) -> None:
        """Over the last drawing, which may have taken several lines; nothing to undo if training breaks off."""
        from rich.console import Console
        from rich.live_render import LiveRender
        from rich.text import Text

        if self._live is None:
            self._live = (Console(file=sys.stdout), LiveRender(""))
        console, live = self._live
        console.control(live.position_cursor())
        live.set_renderable(Text.assemble(*parts))
        console.print(live, end="")
        if finalize:
            console.print()


def _remaining(seconds: float) -> str:
    """As Keras writes it: 1:02:03, 2:03, 3s."""
    whole = int(seconds)
    if whole > 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}" if whole > 60 else f"{whole}s"


def _per_step(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s/step"
    return f"{seconds * 1e3:.0f}ms/step" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us/step"


def _figure(value: Any) -> str:
    try:
        mean = float(np.mean(value))
    except (TypeError, ValueError):
        return str(value)
    return f"{mean:.4f}" if abs(mean) > 1e-3 else f"{mean:.4e}"


class ProgbarLogger(Callback):
    """Prints progress and figures.  verbose 0: nothing, 1: a bar, 2: a line an epoch; validation is silent in `fit`."""

    def __init__(self) -> None:
        self.seen = 0
        self.progbar: Progbar | None = None
        self.target: int | None = None
        self.verbose: int = 1
        self.epochs = 1
        self._called_in_fit = False

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs, self.target = params.get("epochs", 1), params.get("steps")

    def on_train_begin(self, logs: Any = None) -> None:
        self._called_in_fit = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin()
        if self.verbose and self.epochs > 1:
            say(f"Epoch {epoch + 1}/{self.epochs}")

    def on_test_begin(self, logs: Any = None) -> None:
        if not self._called_in_fit:
            self._begin()

    def on_predict_begin(self, logs: Any = None) -> None:
        self._begin()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._update(batch, logs)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        if not self._called_in_fit:
            self._update(batch, logs)

    def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
        self._update(batch, None)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._finish(logs)

    def on_test_end(self, logs: Any = None) -> None:
        if not self._called_in_fit:
            self._finish(logs)

    def on_predict_end(self, logs: Any = None) -> None:
        self._finish(logs)

    def _begin(self) -> Progbar:
        self.seen = 0
        self.progbar = Progbar(self.target, self.verbose)
        return self.progbar

    def _update(self, batch: int, logs: Any) -> None:
        bar = self.progbar or self._begin()
        self.seen = batch + 1
        if self.verbose == 1:
            bar.update(self.seen, logs or {})

    def _finish(self, logs: Any) -> None:
        bar = self.progbar or self._begin()
        if self.target is None:
            self.target = bar.target = self.seen
        if self.verbose:
            bar.update(self.target, logs or {}, finalize=True)
