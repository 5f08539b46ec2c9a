"""Results as Markdown tables: figures with ratios, geometric means, targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .fresh import ENGINES
from .models import CASES, FAMILIES
from .records import OURS, SECTIONS, Record, Results
from .targets import NUMBA, geometric_mean, outcomes, ratios


def text(results: Results) -> str:
    """All tables, for every number of threads."""
    return "\n".join(line for threads in results.values("threads") for line in _all(results, threads))


def _all(results: Results, threads: int) -> Iterator[str]:
    yield f"\n# Threads: {threads or 'the default of each peer'}"
    for family, title in FAMILIES.items():
        models = _models(results, "latency", threads, family)
        if models:
            yield f"\n## {title}: a call of a warm engine, ms (ratio to tenun)"
            yield from figures(results, "latency", threads, models, lambda peer: OURS)
    for section in AGAINST:
        models = _models(results, section, threads)
        if models:
            heading, unit, _ = SECTIONS[section]
            yield f"\n## {heading}, {unit}"
            yield from figures(results, section, threads, models, AGAINST[section])
    yield from means(results, threads)
    yield from targets(results, threads)


def _same_file(peer: str) -> str:
    return ENGINES[peer].against


# for every section what a peer's figure is divided by
AGAINST: dict[str, Callable[[str], str]] = {
    "training": lambda peer: OURS,
    "training memory": lambda peer: peer,
    "first call": _same_file,
    "memory": _same_file,
    "plan": lambda peer: "lower bound" if peer == "arena" else peer,
}


def _models(results: Results, section: str, threads: int, family: str | None = None) -> list[str]:
    """The models that have figures in a section, in the order of CASES."""
    there = results.values("model", section=section, threads=threads)
    return [name for name in CASES if name in there and family in (None, CASES[name].family)]


def figures(
    results: Results, section: str, threads: int, models: Sequence[str], against: Callable[[str], str]
) -> Iterator[str]:
    """A line for each model and batch, a column for each peer; below it why figures are not there."""
    records = [r for r in results.select(section=section, threads=threads) if r.model in models]
    peers = [peer for peer in dict.fromkeys(r.peer for r in records) if any(r.value for r in records if r.peer == peer)]
    rows = []
    for model in models:
        for batch in sorted({r.batch for r in records if r.model == model}):
            keys = [(section, model, batch, threads, peer) for peer in peers]
            rows.append([model, str(batch), *(_cell(results, key, against(key[-1])) for key in keys)])
    yield from table(["model", "batch", *peers], rows)
    yield from notes(records)


def _cell(results: Results, key: tuple[str, str, int, int, str], ours: str) -> str:
    """A figure with the ratio to ours, in bold where the peer is ahead."""
    record = results.records.get(key)
    if record is None or record.value is None:
        return "–"
    value = f"{record.value:.{SECTIONS[key[0]][2]}f}"
    ratio = results.ratio(*key, ours)
    if ratio is None or record.peer == ours:
        return value
    return f"{value} ({ratio:.2f})" if ratio >= 1 else f"{value} (**{ratio:.2f}**)"


def notes(records: Sequence[Record]) -> Iterator[str]:
    """Why figures are not there, one line a reason and its models."""
    models: dict[tuple[str, str], dict[str, None]] = {}
    for record in records:
        if record.note:
            models.setdefault((record.note, record.peer), {})[record.model] = None
    peers: dict[tuple[str, str], list[str]] = {}
    for (note, peer), names in models.items():
        peers.setdefault((note, ", ".join(names)), []).append(peer)
    if peers:
        yield ""
    for (note, where), who in peers.items():
        yield f"- {', '.join(who)}: {note} ({where})"


def means(results: Results, threads: int) -> Iterator[str]:
    """Geometric means over the batch sizes of the ratios to each backend of ours."""
    for ours in (OURS, NUMBA):
        peers = [p for p in results.values("peer", section="latency", threads=threads) if p != ours]
        rows = []
        for model in _models(results, "latency", threads):
            found = [list(ratios(results, "latency", model, threads, peer, ours).values()) for peer in peers]
            if any(found):
                rows.append([model, *(f"{geometric_mean(values):.2f}" if values else "–" for values in found)])
        if rows:
            yield f"\n## Geometric means over the batch sizes: times of peers / time of {ours}"
            yield from table(["model", *peers], rows)


def targets(results: Results, threads: int) -> Iterator[str]:
    """What was aimed at and what was reached."""
    rows = [
        [o.model, str(o.target), f"{o.target.least:.2f}", f"{o.got:.2f}", "held" if o.held else "**missed**"]
        for o in outcomes(results)
        if o.threads == threads
    ]
    if rows:
        held = sum(row[-1] == "held" for row in rows)
        yield f"\n## Targets: {held} of {len(rows)} held"
        yield from table(["model", "ratio", "at least", "reached", ""], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
