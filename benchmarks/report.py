"""Tables on the screen as figures come, and the records of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .measure import Timing
from .records import OURS, SECTIONS, Record, Results, machine


def headline() -> None:
    """What the figures are measured on."""
    print(" ".join(f"{name} {value}" for name, value in machine().items()), flush=True)


class Report:
    """Prints tables and keeps the figures; `threads` as in Record."""

    def __init__(self, threads: int = 0) -> None:
        self.results, self.threads = Results(), threads

    def timings(self, section: str, model: str, batch: int, found: Mapping[str, Timing | str]) -> None:
        """One table: milliseconds, samples a second, and the ratio to tenun (above 1: tenun is faster)."""
        ours = found.get(OURS)
        print(f"\n{model}, batch {batch}: {SECTIONS[section][0]}")
        print(f"{'':<16}{'median ms':>10}{'quartiles':>18}{'rounds':>8}{'samples/s':>11}{'ratio':>8}{'max diff':>10}")
        for peer, timing in found.items():
            key = section, model, batch, self.threads, peer
            if isinstance(timing, str):
                self.results.add([Record(*key, note=timing)])
                print(f"{peer:<16}  {timing}", flush=True)
                continue
            figures = (timing.median, timing.low, timing.high, timing.rounds, timing.difference)
            self.results.add([Record(*key, *figures)])
            ratio = f"{timing.median / ours.median:.2f}" if isinstance(ours, Timing) else "-"
            spread = f"{timing.low:.2f}-{timing.high:.2f}"
            rate = 1e3 * batch / timing.median
            samples = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
            print(
                f"{peer:<16}{timing.median:>10.2f}{spread:>18}{timing.rounds:>8}{samples:>11}{ratio:>8}"
                f"{timing.difference:>10.0e}",
                flush=True,
            )

    def figures(self, section: str, model: str, batch: int, values: Mapping[str, float | str]) -> None:
        """Names and numbers, or why there are none, one a line."""
        heading, unit, decimals = SECTIONS[section]
        print(f"\n{model}, batch {batch}: {heading}, {unit}")
        for name, value in values.items():
            key = section, model, batch, self.threads, name
            self.results.add([Record(*key, note=value) if isinstance(value, str) else Record(*key, value)])
            shown = value if isinstance(value, str) else f"{value:>10.{decimals}f}"
            print(f"{name:<28}{shown}", flush=True)

    def write(self, path: Path | None) -> None:
        """All of it into a JSON file, where that is wanted; figures of other things stay there."""
        if path:
            kept = Results.read(path)
            kept.replace(self.results.records.values())
            kept.write(path)
