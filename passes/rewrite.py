"""Rewriting by patterns, written in the language of the dump.

    rule("relu twice", "%y = relu(%x); %z = relu(%y)", "%z = relu(%x)")
    rule("bias into conv", "%c = conv(%x, %w); %y = add(%c, %b)", "%y = conv(%x, %w, %b)", when=per_channel)

In a pattern the last statement is the root.  `%name` stands for any value (the same value where it stands twice),
`@name` for a constant whose elements are known, a number for a constant of which every element is that number, `_` for
an operand left out.  `[trait]` in the place of an op is any op with that trait.  Attributes that are not named may be
anything; named ones have to be equal.  Results before the root must have no other reader and be no graph output, as
the rewrite takes them away (`shared=True` lifts that: they may stay).  The first two operands of an op that commutes
match in either order.

In a replacement a node takes over the attributes of the matched node of the same op; named attributes override.  The
replacement may also be `%x` alone, or a function (builder, match) -> values for the root's outputs; None: no match.
`when(match)` is the guard; it must not change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Union

from ..errors import GraphError
from ..ir.attributes import check
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.op import Op, lookup
from ..ir.rebuild import refine_readers
from ..ir.records import record
from ..ir.text import Parser
from ..ir.types import same

# What an operand is: made by an op, a constant whose elements are known, another value of nobody's, or left out.
Kin = Union[Op, str, None]
DATA, FREE = "data", "free"


@record
class Statement:
    """One line of a pattern: results, op (or trait), operands (names, numbers or None), attributes."""

    results: tuple[str, ...]
    op: str
    trait: bool
    operands: tuple[Any, ...]
    attrs: dict[str, Any]

    def is_op(self, op: Op) -> bool:
        """Whether an op is the one of this line, or has its trait."""
        return op.has(self.op) if self.trait else op.name == self.op

    def admits(self, node: Node) -> bool:
        """Whether a node may stand for this line, by its op and attributes."""
        if not self.is_op(node.op):
            return False
        return not self.attrs or all(k in node.attrs and node.attrs[k] == v for k, v in self.attrs.items())


@dataclass
class Match:
    """What a pattern found: values by name, and the nodes of its lines by the name of their first result."""

    graph: Graph
    vars: dict[str, Var] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Var:
        return self.vars[name]

    def used_once(self, name: str) -> bool:
        return self.graph.used_once(self.vars[name])


@record
class Rule:
    """A pattern, what takes its place, and the guard; both are text, read when a graph has an op like the root's."""

    name: str
    text: str
    into: str | Callable[[Builder, Match], Any]
    when: Callable[[Match], bool]
    shared: bool

    @cached_property
    def pattern(self) -> tuple[Statement, ...]:
        return _read(self.text)

    @cached_property
    def replacement(self) -> tuple[Statement, ...] | str | Callable[[Builder, Match], Any]:
        return _read(self.into) if isinstance(self.into, str) and "=" in self.into else self.into

    @property
    def root(self) -> Statement:
        return self.pattern[-1]

    def is_rooted_at(self, op: Op) -> bool:
        """Whether an op is the one of the root, or has its trait; the rest of the pattern need not be read for that."""
        word = self._root_word
        return op.has(word[1:-1]) if word[0] == "[" else op.name == word

    @cached_property
    def _root_word(self) -> str:
        return self.text.rpartition(";")[2].partition("=")[2].partition("(")[0].strip()

    @cached_property
    def _line_of(self) -> dict[str, tuple[int, int]]:
        """The line that makes each result, and which of its results that is."""
        return {name: (i, j) for i, line in enumerate(self.pattern) for j, name in enumerate(line.results)}

    def is_plausible(self, root: Op, operands: tuple[Kin, ...], repeats: bool) -> bool:
        """Whether a node of op `root` may match by its operands: what each is, and whether one stands there twice."""
        wanted, names = self.root.operands, [o for o in self.root.operands if isinstance(o, str)]
        missing = len(operands) - len(wanted)
        if missing < 0 or not self.root.is_op(root) or (len(set(names)) < len(names) and not repeats):
            return False
        orders = [operands, _exchanged(operands)] if root.has("commutes") else [operands]
        return any(all(map(self._may_be, (*wanted, *(None,) * missing), order)) for order in orders)

    def _may_be(self, want: Any, kin: Kin) -> bool:
        """Whether an operand may stand for a word of the pattern, by what it is."""
        if want is None or kin is None:
            return want is kin
        if not isinstance(want, str) or want.startswith("@"):
            return kin is DATA
        return want not in self._line_of or (isinstance(kin, Op) and self.pattern[self._line_of[want][0]].is_op(kin))

    def match(self, graph: Graph, root: Node) -> Match | None:
        """The match at a node, if there is one.

        Where the operands of an op that commutes fit in either order, one order after the other is tried: `swaps` are
        the decisions so far, in the order in which they were met; the last that was no is a yes the next time.
        """
        swaps: list[bool] = []
        while True:
            found = Match(graph)
            if self._fits(found, len(self.pattern) - 1, root, swaps, iter(tuple(swaps))) and self._admits(found):
                return found
            while swaps and swaps[-1]:
                swaps.pop()
            if not swaps:
                return None
            swaps[-1] = True

    def _fits(self, match: Match, i: int, node: Node, swaps: list[bool], decided: Iterator[bool]) -> bool:
        """Whether line i, and the lines that make its operands, fit a node; they are entered into `match`."""
        line, operands = self.pattern[i], node.operands
        missing = len(operands) - len(line.operands)
        if missing < 0 or node.dynamic or len(line.results) > len(node.outputs) or not line.admits(node):
            return False
        match.nodes[line.results[0]] = node
        match.vars.update(zip(line.results, node.outputs))
        if node.op.has("commutes"):
            swap = next(decided, None)
            if swap is None:
                swaps.append(False)
            elif swap:
                operands = _exchanged(operands)
        wanted = (*line.operands, *(None,) * missing) if missing else line.operands
        return all(self._fits_operand(match, want, var, swaps, decided) for want, var in zip(wanted, operands))

    def _fits_operand(
        self, match: Match, want: Any, var: Var | None, swaps: list[bool], decided: Iterator[bool]
    ) -> bool:
        if want is None or var is None:
            return want is var
        if not isinstance(want, str):
            return var.data is not None and var.data.size > 0 and bool((var.data == want).all())
        if want in match.vars:
            return match.vars[want] is var
        if want in self._line_of:
            i, place = self._line_of[want]
            maker = var.producer
            return maker is not None and var.index == place and self._fits(match, i, maker, swaps, decided)
        match.vars[want] = var
        return not want.startswith("@") or var.data is not None

    def _admits(self, match: Match) -> bool:
        """Whether a match is whole, and the guard has nothing against it."""
        return len(match.nodes) == len(self.pattern) and (self.shared or self._removable(match)) and self.when(match)

    def _removable(self, match: Match) -> bool:
        inner = [line.results[0] for line in self.pattern[:-1]]
        mine = set(map(id, match.nodes.values()))
        for name in inner:
            for out in match.nodes[name].outputs:
                if match.graph.is_output(out) or any(id(user) not in mine for user in out.users):
                    return False
        return True

    def apply(self, graph: Graph, root: Node, match: Match) -> bool:
        """Put the replacement in the root's place; False if a replacing function declined."""
        builder = Builder(graph, before=root, source=_merged_source(match))
        results = self._results(builder, match)
        if results is None:
            return False
        for old, new in zip(root.outputs, results):
            if new.producer is not None and graph.is_unused(new):  # made just now
                new.name = old.name
            graph.replace(old, new)
            if not same(old.type, new.type):
                refine_readers(new)
        erase_dead(graph, [root, *(match.nodes[line.results[0]] for line in reversed(self.pattern[:-1]))])
        return True

    def _results(self, builder: Builder, match: Match) -> Sequence[Var] | None:
        if callable(self.replacement):
            found = self.replacement(builder, match)
            return found if found is None or isinstance(found, (tuple, list)) else (found,)
        if isinstance(self.replacement, str):
            return (match.vars[self.replacement],)
        values = dict(match.vars)
        for line in self.replacement:
            like = next((n for n in match.nodes.values() if n.op.name == line.op), None)
            attrs = {**(like.attrs if like else {}), **line.attrs}
            operands = [values.get(o) if isinstance(o, str) else o for o in line.operands]
            node = builder.node(lookup(line.op), operands, attrs)
            values.update(zip(line.results, node.outputs))
        return node.outputs


def _merged_source(match: Match) -> str:
    """The layers that the matched nodes came from; the first one alone if the others are inside it."""
    return merge_sources(node.source for node in reversed(match.nodes.values()))


def merge_sources(sources: Iterable[str]) -> str:
    """Layer paths joined by ` + `, each once."""
    parts = [part for source in sources if source for part in source.split(" + ")]
    return " + ".join(dict.fromkeys(parts))


def erase_dead(graph: Graph, nodes: Iterable[Node]) -> None:
    """Take out those of the nodes (users before producers) whose results nobody needs."""
    for node in nodes:
        if node.graph is graph and all(graph.is_unused(v) for v in node.outputs):
            graph.erase(node)


def _exchanged(operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first two in the other order."""
    first, second, *rest = operands
    return (second, first, *rest)


# ---- reading rules -------------------------------------------------------------------------------------------


def _read(text: str) -> tuple[Statement, ...]:
    return tuple(_read_statement(part.strip()) for part in text.split(";"))


def _read_statement(text: str) -> Statement:
    made, _, call = text.partition("=")
    word, _, rest = call.partition("(")
    inside, closed, braces = rest.partition(")")
    trait, name = word.strip().startswith("["), word.strip().strip("[]")
    assert closed and name.isidentifier(), f"no pattern: {text!r}"
    operands = [_operand(o.strip()) for o in inside.split(",") if o.strip()]
    attrs: dict[str, Any] = {}
    if braces:
        parser = Parser(braces, {})
        parser.expect("{")
        attrs = dict(parser.several("}", parser.pair))
    results = tuple(r.strip() for r in made.split(","))
    if not trait:
        op = lookup(name)
        attrs = {k: check(op.attributes[k], v) for k, v in attrs.items()}
    return Statement(results, name, trait, tuple(operands), attrs)


def _operand(text: str) -> Any:
    if text == "_":
        return None
    return text if text[0] in "%@" else float(text)


def _always(match: Match) -> bool:
    return True


def rule(
    name: str,
    pattern: str,
    replacement: str | Callable[[Builder, Match], Any],
    *,
    when: Callable[[Match], bool] = _always,
    shared: bool = False,
) -> Rule:
    """A rule from text; see the module's doc for the language."""
    return Rule(name, pattern, replacement, when, shared)


def apply_rules(graph: Graph, rules: Sequence[Rule], limit: int = 50) -> int:
    """Apply rules until none matches any more; returns how often one did.

    GraphError names the rules that alternate if there is no end after `limit` sweeps.
    """
    key, total, plausible = (id(rules), len(rules)), 0, _plausible(rules)
    for _ in range(limit):
        version = graph.version
        if graph.settled.get(key) == version:
            return total
        applied: list[str] = []
        for node in graph.nodes:
            if plausible.roots[node.op] and node.graph is graph:
                applied += _apply_at(graph, node, plausible.at(node))
        total += len(applied)
        if not applied:
            break
    else:
        raise GraphError(f"rewriting does not end: rules {sorted(set(applied))} alternate")
    total += sum(apply_rules(sub, rules, limit) for sub in graph.subgraphs)
    graph.settled[key] = graph.version
    return total


class _Roots(dict[Op, list[Rule]]):
    """The rules that may match at nodes of an op; `most`: operands that the longest root of those asked for names."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self.rules, self.most = rules, 0

    def __missing__(self, op: Op) -> list[Rule]:
        self[op] = [r for r in self.rules if r.is_rooted_at(op)]
        self.most = max([self.most, *(len(r.root.operands) for r in self[op])])
        return self[op]


class _Plausible(dict[tuple[Op, tuple[Kin, ...], bool], list[Rule]]):
    """The rules that may match at a node, in order, by its op and what its operands are: of a hundred few do."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self.count, self.roots = len(rules), _Roots(rules)

    def at(self, node: Node) -> Sequence[Rule]:
        """The rules to be tried at a node."""
        operands = node.operands
        if any(operands[self.roots.most :]):
            return ()
        kin = tuple([None if v is None else v.producer.op if v.producer else _kind(v) for v in operands])
        return self[node.op, kin, len(set(operands)) < len(operands)]

    def __missing__(self, key: tuple[Op, tuple[Kin, ...], bool]) -> list[Rule]:
        self[key] = [r for r in self.roots[key[0]] if r.is_plausible(*key)]
        return self[key]


def _kind(var: Var) -> str:
    return FREE if var.data is None else DATA


_KNOWN: dict[int, tuple[Sequence[Rule], _Plausible]] = {}  # by the identity of the list of rules


def _plausible(rules: Sequence[Rule]) -> _Plausible:
    """The table of a list of rules, filled as graphs ask."""
    known = _KNOWN.get(id(rules))
    if known is None or known[1].count != len(rules):
        known = _KNOWN[id(rules)] = rules, _Plausible(rules)
    return known[1]


def _apply_at(graph: Graph, node: Node, rules: Sequence[Rule]) -> list[str]:
    for r in rules:
        match = r.match(graph, node)
        if match is not None and r.apply(graph, node, match):
            return [r.name]
    return []
