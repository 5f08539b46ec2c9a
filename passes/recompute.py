"""Recomputation: values are computed twice instead of kept, so that the arena fits a limit.

What the forward pass makes and the backward pass reads is alive in between, across the step at which most memory is
in use.  There, again and again, the value is dropped that is cheapest to have again: the one with the fewest
operations for each byte that its absence saves.  That orders by itself what is worth computing twice: views, then
elementwise ops, norms and pooling, then products.  The nodes that make it are copied to right before its first late
reader; operands that are gone by then are made again too, or kept if they are small.  Copies that are there already
are moved up instead of made once more, so that dropped neighbours become a segment which is computed as a whole
(Chen et al. 2016, "Training deep nets with sublinear memory cost"; the choice by cost and bytes is that of Kirisame et
al. 2021, "Dynamic tensor rematerialization").

Copies are the same ops on the same elements, so the results of the graph stay the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import Any

from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.rebuild import copy_node
from ..ir.records import record
from ..ir.types import Tensor, string
from .cost import flops, total_flops
from .dce import dce
from .manager import Context, register
from .memory import ALIGN, Life, aligned, plan_memory

KEPT = 8  # an operand of less than a KEPTth of the bytes that are saved is kept rather than made again
LONGEST = 64  # nodes copied for one value
NEAR = 32  # a near goal takes this part of the peak away
SMALL = 1000  # buffers of less than this part of the peak are not worth the search


@record
class Recomputation:
    """What `recompute` did: bytes of the arena before and after, nodes copied, operations of a run before and after."""

    limit: int
    before: int
    after: int
    nodes: int
    flops_before: int
    flops_after: int

    @property
    def fits(self) -> bool:
        return self.after <= self.limit

    def __str__(self) -> str:
        more = self.flops_after - self.flops_before
        return (
            f"arena {self.before:,} -> {self.after:,} bytes (limit {self.limit:,}): {self.nodes} nodes computed again, "
            f"{more:,} operations more (+{more / max(self.flops_before, 1):.1%})"
        )


@dataclass
class Budget:
    """`limit`: bytes that the arena may have; `lives(graph)`: the buffers of its plan; `report`: what came of it."""

    limit: int
    lives: Callable[[Graph], list[Life]]
    report: Recomputation | None = None


@register
def recompute(graph: Graph, context: Context) -> int:
    """Compute values again right before they are read, instead of keeping them, until the arena fits the budget.

    For graphs of concrete shapes; without a budget nothing is changed.  Left as they are: random ops and those with
    effects, what depends on data for its shape, and states that are changed before the late reader.  Where the budget
    cannot be met, the arena is made as small as it gets: `context.budget.report` tells.
    """
    if context.budget is None:
        return 0
    context.budget.report = report = _Search(graph, context.budget).run()
    return report.nodes


# ---- what is alive when ----------------------------------------------------------------------------------------


class _Schedule:
    """The nodes in order, and the values in their buffers."""

    def __init__(self, graph: Graph, lives: Sequence[Life]) -> None:
        self.nodes = list(graph.nodes)
        self.order = {node: i for i, node in enumerate(self.nodes)}
        self.outputs = set(graph.outputs)
        self.lives = [life for life in lives if not life.fixed]
        self.life_of = {v: life for life in lives for v in life.values}
        self.group_of = {v: group for life in lives for group in life.groups for v in group}
        self.alive = self._alive()
        self.amount = max(self.alive)
        self.peak = self.alive.index(self.amount) - 1

    def _alive(self) -> list[int]:
        """Bytes alive at each step; the first entry is that of step -1, the copying in of inputs."""
        change = [0] * (len(self.nodes) + 3)
        for life in self.lives:
            change[life.buffer.first + 1] += aligned(life.buffer.size)
            change[life.buffer.last + 2] -= aligned(life.buffer.size)
        return list(accumulate(change))[:-1]

    def excess(self, target: int) -> int:
        """Bytes above the target, summed over the steps."""
        return sum(max(amount - target, 0) for amount in self.alive)

    def total(self) -> int:
        """The bytes of the arena."""
        return plan_memory([life.buffer for life in self.lives]).total

    def made(self, var: Var) -> int:
        """The step that makes a value; -1 for inputs."""
        return -1 if var.producer is None else self.order[var.producer]

    def reads(self, var: Var) -> list[int]:
        """The steps that read a value."""
        return [self.order[use.node] for use in var.uses] + [len(self.nodes)] * (var in self.outputs)

    def until(self, var: Var) -> int:
        """The last step at which the elements of a value are read, if only through views."""
        return max((step for v in self.group_of[var] for step in self.reads(v)), default=-1)

    def overwritten(self, var: Var) -> int:
        """The step that writes another value over this one; a step after the end if none does."""
        groups = self.life_of[var].groups
        following = groups[groups.index(self.group_of[var]) + 1 :]
        return self.made(following[0][0]) if following else len(self.nodes) + 1


# ---- how a value can be had again ------------------------------------------------------------------------------


AGAIN, LATER = "again", "later"


@dataclass(eq=False)
class _Recipe:
    """How to have values again at a step.

    moved: copies that are there already, to be moved up; made: nodes to be copied (AGAIN), or moved down where nobody
    reads them before the step (LATER); now: where values are found then; needed, kept: identities of buffers that have
    to live up to the step, those that would not without it.  `saved`: bytes that are free at the peak then; `cost`:
    operations.
    """

    life: Life
    late: list[Var]
    step: int
    saved: int
    cost: int = 0
    moved: dict[Node, None] = field(default_factory=dict)
    made: dict[Node, str] = field(default_factory=dict)
    now: dict[Var, Var] = field(default_factory=dict)
    needed: set[int] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)

    @property
    def price(self) -> tuple[float, int]:
        return self.cost / self.saved, -self.saved

    @property
    def nodes(self) -> set[Node]:
        return {*self.moved, *self.made}

    def readers(self, schedule: _Schedule) -> list[Node]:
        """The nodes that will read the values from where they are then."""
        return [node for v in self.late for node in v.users if schedule.order[node] >= self.step]

    def gone(self, schedule: _Schedule) -> set[int]:
        """Identities of the buffers that are not there any more, or not as early."""
        later = [v for node, when in self.made.items() if when == LATER for v in node.outputs]
        return {id(self.life), *(id(schedule.life_of[v]) for v in later if v in schedule.life_of)}

    def snapshot(self) -> dict[str, Any]:
        """The fields, to go back to."""
        return {k: v.copy() if isinstance(v, (dict, set)) else v for k, v in vars(self).items()}


class _ImpossibleError(Exception):
    """A value cannot be had again."""


class _Cook:
    """Finds a recipe for the values of a buffer that idles across the peak."""

    def __init__(self, schedule: _Schedule, family: _Family, recipe: _Recipe) -> None:
        self.schedule, self.family, self.recipe = schedule, family, recipe
        self.refused: set[Var] = set()  # copying these does not help: tried once, as all ways through a graph are many

    def run(self) -> _Recipe | None:
        """The recipe; None where there is none that saves anything."""
        recipe = self.recipe
        try:
            for var in recipe.late:
                self.need(var)
        except _ImpossibleError:
            return None
        return recipe if recipe.saved > 0 else None

    def need(self, var: Var) -> None:
        """Provide for a value being there at the recipe's step."""
        if var.constant is not None or var in self.recipe.now:
            return
        for version in self.family.versions(var):
            if self._is_there(version):
                self._find(var, version)
                return
        for twin in self.family.twins(var):
            if self.schedule.made(twin) > self.recipe.step:
                self._move(twin)
                self.recipe.now[var] = twin
                return
        self._have(var)

    def _find(self, var: Var, version: Var) -> None:
        self.recipe.now[var] = version
        self.recipe.needed.add(id(self.schedule.life_of[version]))

    def _is_there(self, var: Var) -> bool:
        """Whether a value is computed before the step, and read after it anyway."""
        schedule, step = self.schedule, self.recipe.step
        life = schedule.life_of.get(var)
        if life is None or life is self.recipe.life or schedule.made(var) >= step:
            return False
        if life.fixed:
            return schedule.overwritten(var) > step
        return schedule.until(var) >= step

    def _move(self, twin: Var) -> None:
        """Compute a copy that is there already earlier."""
        node = twin.producer
        assert node is not None
        if node in self.recipe.moved:
            return
        for operand in node.inputs:
            if operand is None or operand.constant is not None:
                continue
            if self.schedule.life_of.get(operand) is self.recipe.life:
                raise _ImpossibleError
            if self.schedule.made(operand) >= self.recipe.step:
                if operand not in self.family:
                    raise _ImpossibleError
                self._move(operand)
        self.recipe.moved[node] = None
        self.recipe.cost += _elements(node)

    def _have(self, var: Var) -> None:
        """Make a value again, or let it live up to the step: what leaves more bytes at the peak, copies if in doubt."""
        recipe, size = self.recipe, self._size_kept(var)
        if size is None:
            self._copy(var)
        elif size * KEPT <= aligned(recipe.life.buffer.size) or not self._copy_saves(var, size):
            self._keep(var, size)

    def _copy_saves(self, var: Var, size: int) -> bool:
        """Copy a value, if that takes no more than `size` bytes at the peak."""
        before = self.recipe.snapshot()
        try:
            self._copy(var)
            if self.recipe.saved >= before["saved"] - size:
                return True
        except _ImpossibleError:
            pass
        self.refused.add(var)
        self.recipe.__dict__.update(before)
        return False

    def _size_kept(self, var: Var) -> int | None:
        """The bytes at the peak that it takes to keep a value until the step; None where it cannot be kept."""
        schedule, recipe = self.schedule, self.recipe
        life = schedule.life_of.get(var)
        if life is None or life.fixed or life is recipe.life or schedule.made(var) >= recipe.step:
            return None
        there = schedule.until(var) >= schedule.peak or id(life) in recipe.kept
        return 0 if there else aligned(life.buffer.size)

    def _keep(self, var: Var, size: int) -> None:
        self.recipe.kept.add(id(self.schedule.life_of[var]))
        self._find(var, var)
        self.recipe.saved -= size

    def _copy(self, var: Var) -> None:
        """Make a value again, and what that takes."""
        node, recipe = var.producer, self.recipe
        if not _is_pure(node) or len(recipe.made) >= LONGEST or var in self.refused:
            raise _ImpossibleError
        assert node is not None
        for operand in node.inputs:
            if operand is not None:
                self.need(operand)
        if node not in recipe.made:
            reads = [step for out in node.outputs for step in self.schedule.reads(out)]
            recipe.made[node] = LATER if min(reads) >= recipe.step else AGAIN
            recipe.cost += flops(node) if recipe.made[node] == AGAIN else 0


def _is_pure(node: Node | None) -> bool:
    """Whether a node may be computed twice, with the same results, on arrays of known shapes."""
    if node is None or node.dynamic or (node.graphs and not node.op.has("elementwise")):
        return False
    if any(map(node.op.has, ("random", "effect", "opaque", "string"))):
        return False
    types = [v.type for v in (*node.inputs, *node.outputs) if v is not None]
    return all(isinstance(t, Tensor) and t.is_static and t.dtype is not string for t in types)


def _elements(node: Node) -> int:
    return sum(v.tensor.nbytes // v.tensor.dtype.numpy.itemsize for v in node.outputs)


class _Family:
    """Which values are copies of which."""

    def __init__(self) -> None:
        self._origin: dict[Var, Var] = {}
        self._twins: dict[Var, list[Var]] = {}

    def __contains__(self, var: Var) -> bool:
        return var in self._origin

    def twins(self, var: Var) -> list[Var]:
        """All copies of the value that this one is, or is a copy of."""
        return self._twins.get(self._origin.get(var, var), [])

    def versions(self, var: Var) -> Iterator[Var]:
        """The value itself, and all others with the same elements."""
        return iter(dict.fromkeys([var, self._origin.get(var, var), *self.twins(var)]))

    def add(self, var: Var, twin: Var) -> None:
        """Enter a copy."""
        origin = self._origin[twin] = self._origin.get(var, var)
        self._twins.setdefault(origin, []).append(twin)

    def forget(self, gone: Callable[[Var], bool]) -> None:
        """Take out what is in the graph no more."""
        self._twins = {o: [t for t in twins if not gone(t)] for o, twins in self._twins.items()}


def _independent(schedule: _Schedule, recipes: Sequence[_Recipe], bytes_wanted: int) -> list[_Recipe]:
    """The cheapest recipes that save so many bytes together; none needs what another one drops or moves."""
    chosen: list[_Recipe] = []
    gone: set[int] = set()  # buffers dropped, or computed later
    needed: set[int] = set()
    nodes: set[Node] = set()  # copied or moved
    readers: set[Node] = set()
    for recipe in recipes:
        own_gone, own_nodes, own_readers = recipe.gone(schedule), recipe.nodes, set(recipe.readers(schedule))
        pairs = ((own_gone, needed), (gone, recipe.needed), (own_nodes, nodes | readers), (nodes, own_readers))
        if chosen and recipe.price[0] > 2 * chosen[0].price[0]:
            break
        if any(a & b for a, b in pairs):
            continue
        chosen.append(recipe)
        gone |= own_gone
        needed |= recipe.needed
        nodes |= own_nodes
        readers |= own_readers
        if sum(r.saved for r in chosen) >= bytes_wanted:
            break
    return chosen


# ---- the search ------------------------------------------------------------------------------------------------


class _Search:
    """Drops one buffer after the other."""

    def __init__(self, graph: Graph, budget: Budget) -> None:
        self.graph, self.budget = graph, budget
        self.family = _Family()
        self.schedule = self._scheduled()

    def _scheduled(self) -> _Schedule:
        return _Schedule(self.graph, self.budget.lives(self.graph))

    def run(self) -> Recomputation:
        """Change the graph; the arena fits the limit, or nothing makes it smaller."""
        limit = self.budget.limit
        before, flops_before, nodes = self.schedule.total(), total_flops(self.graph), len(self.graph)
        after = before
        while after > limit and self._lower():
            if self.schedule.amount <= limit:
                after = self.schedule.total()  # which is more than the amount by what is lost between buffers
        if dce(self.graph, Context()):
            self.schedule = self._scheduled()
        after = self.schedule.total()
        return Recomputation(limit, before, after, len(self.graph) - nodes, flops_before, total_flops(self.graph))

    def _lower(self) -> bool:
        """Drop one buffer at the peak; False where nothing helps.

        The next goals are near ones: measured against the limit, a buffer that is moved from the peak to a quiet
        place would count as no gain.
        """
        amount = self.schedule.amount
        return any(self._improve(amount - part) for part in (amount // NEAR, ALIGN))

    def _improve(self, target: int) -> bool:
        """Drop the buffers that idle across the peak and are cheapest to have again; False if there are none.

        Several at once where they have nothing to do with each other, as to look at the whole graph takes time.
        """
        recipes = sorted(self._recipes(), key=lambda r: r.price)
        if not recipes:
            return False
        first = _independent(self.schedule, recipes, self.schedule.amount - target)
        return any(self._try(some, target) for some in [first, *([r] for r in recipes if [r] != first)])

    def _try(self, recipes: Sequence[_Recipe], target: int) -> bool:
        """Change the graph, if there are fewer bytes above the target then."""
        undo = [step for recipe in recipes for step in self._apply(recipe)]
        changed = self._scheduled()
        better = changed.excess(target) < self.schedule.excess(target)
        if better:
            self.schedule = changed
        else:
            for step in reversed(undo):
                step()
            self.family.forget(lambda v: v.producer is None or v.producer.graph is None)
        return better

    def _recipes(self) -> Iterator[_Recipe]:
        """Ways to drop a buffer at the peak."""
        schedule, peak = self.schedule, self.schedule.peak
        for life in schedule.lives:
            small = aligned(life.buffer.size) * SMALL < schedule.amount
            if small or not life.buffer.first < peak < life.buffer.last:
                continue
            steps = {v: schedule.reads(v) for v in life.values if schedule.made(v) <= peak}
            if any(peak in reads or schedule.made(v) == peak for v, reads in steps.items()):
                continue
            late = [v for v, reads in steps.items() if max(reads, default=-1) > peak]
            if not late or not schedule.outputs.isdisjoint(late):
                continue
            first = min(step for v in late for step in steps[v] if step > peak)
            recipe = _Recipe(life, late, first, aligned(life.buffer.size))
            found = _Cook(schedule, self.family, recipe).run()
            if found is not None:
                yield found

    def _apply(self, recipe: _Recipe) -> list[Callable[[], object]]:
        """Change the graph; returns what undoes it, to be called from the end."""
        graph, order = self.graph, self.schedule.order
        reader = self.schedule.nodes[recipe.step]
        late = [(node, node.inputs) for node in recipe.readers(self.schedule)]
        undo: list[Callable[[], object]] = []
        now = dict(recipe.now)
        for node in (*sorted(recipe.moved, key=order.__getitem__), *sorted(recipe.made, key=order.__getitem__)):
            inputs = node.inputs if node in recipe.moved else tuple(v and now.get(v, v) for v in node.inputs)
            if recipe.made.get(node) == AGAIN:
                undo.append(self._copy(node, inputs, reader, now))
                continue
            following = node._next
            assert following is not None  # the reader at least
            undo += [partial(graph.set_inputs, node, node.inputs), partial(graph.move, node, following)]
            graph.set_inputs(node, inputs)
            graph.move(node, before=reader)
        for node, inputs in late:
            undo.append(partial(graph.set_inputs, node, inputs))
            graph.set_inputs(node, [now.get(v, v) if v in recipe.late else v for v in node.inputs])
        return undo

    def _copy(self, node: Node, inputs: Sequence[Var | None], reader: Node, now: dict[Var, Var]) -> Callable[[], None]:
        """Put a copy of a node before the reader; returns what takes it out."""
        copy = copy_node(Builder(self.graph, before=reader), node, list(inputs), dict(node.attrs))
        for old, new in zip(node.outputs, copy.outputs):
            now[old] = new
            self.family.add(old, new)
        return partial(self.graph.erase, copy)
