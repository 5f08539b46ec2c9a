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

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..errors import GraphError
from ..ir.builder import Builder
from ..ir.graph import Graph, Node, Var
from ..ir.op import Op, lookup
from ..ir.rebuild import refine_readers
from ..ir.text import Parser
from ..ir.types import same


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Rule:
    """A pattern, what takes its place, and the guard."""

    name: str
    pattern: tuple[Statement, ...]
    replacement: tuple[Statement, ...] | str | Callable[[Builder, Match], Any]
    when: Callable[[Match], bool]
    shared: bool

    @property
    def root(self) -> Statement:
        return self.pattern[-1]

    @cached_property
    def _makers(self) -> tuple[Statement, ...]:
        """The lines that make operands of the last one."""
        return tuple(line for line in self.pattern[:-1] if set(line.results) & set(self.root.operands))

    @cached_property
    def _constants(self) -> int:
        """How many operands of the last line have to be constants."""
        return sum(isinstance(o, float) or str(o).startswith("@") for o in self.root.operands)

    @cached_property
    def _given(self) -> int:
        """How many operands the last line has."""
        return sum(o is not None for o in self.root.operands)

    def is_plausible(self, root: Op, given: int, constants: int, made: Collection[Op]) -> bool:
        """Whether a node of op `root` may match by its operands: how many there are, constants, and what makes them."""
        fits = given == self._given and constants >= self._constants and self.root.is_op(root)
        return fits and all(any(line.is_op(op) for op in made) for line in self._makers)

    def match(self, graph: Graph, root: Node) -> Match | None:
        """The match at a node, if there is one."""
        found = Match(graph)
        for _ in _match_line(found, self.pattern, len(self.pattern) - 1, root):
            if len(found.nodes) == len(self.pattern) and (self.shared or self._removable(found)) and self.when(found):
                return found
        return None

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


def _match_line(match: Match, lines: Sequence[Statement], i: int, node: Node) -> Iterator[None]:
    """Enter into `match` each way in which line i (and the lines that make its operands) fits the node, in turn."""
    line = lines[i]
    missing = len(node.operands) - len(line.operands)
    if not line.admits(node) or node.dynamic or len(line.results) > len(node.outputs) or missing < 0:
        return
    match.nodes[line.results[0]] = node
    match.vars.update(zip(line.results, node.outputs))
    wanted = (*line.operands, *(None,) * missing)
    for operands in _orders(node):
        yield from _match_operands(match, lines, wanted, operands)
    del match.nodes[line.results[0]]
    for name in line.results:
        del match.vars[name]


def _orders(node: Node) -> Iterator[tuple[Var | None, ...]]:
    yield node.operands
    if node.op.has("commutes"):
        first, second, *rest = node.operands
        yield (second, first, *rest)


def _match_operands(
    match: Match, lines: Sequence[Statement], wanted: Sequence[Any], operands: Sequence[Var | None]
) -> Iterator[None]:
    if not wanted:
        yield
        return
    for _ in _match_operand(match, lines, wanted[0], operands[0]):
        yield from _match_operands(match, lines, wanted[1:], operands[1:])


def _match_operand(match: Match, lines: Sequence[Statement], want: Any, var: Var | None) -> Iterator[None]:
    if want is None or var is None:
        if want is None and var is None:
            yield
        return
    if isinstance(want, (int, float)):
        if var.data is not None and var.data.size and bool((var.data == want).all()):
            yield
        return
    if want in match.vars:
        if match.vars[want] is var:
            yield
        return
    if want.startswith("@") and var.data is None:
        return
    producer = next((i for i, line in enumerate(lines) if want in line.results), None)
    if producer is None:
        match.vars[want] = var
        yield
        del match.vars[want]
    elif var.producer is not None and var.producer.outputs[lines[producer].results.index(want)] is var:
        yield from _match_line(match, lines, producer, var.producer)


# ---- reading rules -------------------------------------------------------------------------------------------

_STATEMENT = re.compile(r"(?P<results>[^=]+)=\s*(?P<op>\[?\w+\]?)\s*\((?P<operands>[^)]*)\)\s*(?P<attrs>\{.*\})?\s*\Z")


def _read(text: str) -> tuple[Statement, ...]:
    return tuple(_read_statement(part.strip()) for part in text.split(";"))


def _read_statement(text: str) -> Statement:
    found = _STATEMENT.match(text)
    assert found is not None, f"no pattern: {text!r}"
    word = found["op"]
    operands = [_operand(o.strip()) for o in found["operands"].split(",") if o.strip()]
    parser = Parser(found["attrs"] or "{}", {})
    parser.expect("{")
    attrs = dict(parser.several("}", parser.pair))
    trait = word.startswith("[")
    results = tuple(r.strip() for r in found["results"].split(","))
    name = word.strip("[]")
    if not trait:
        op = lookup(name)
        from ..ir.attributes import check

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
    into: Any = replacement
    if isinstance(replacement, str):
        into = replacement if "=" not in replacement else _read(replacement)
    return Rule(name, _read(pattern), into, when, shared)


def apply_rules(graph: Graph, rules: Sequence[Rule], limit: int = 50) -> int:
    """Apply rules until none matches any more; returns how often one did.

    GraphError names the rules that alternate if there is no end after `limit` sweeps.
    """
    total, plausible = 0, _plausible(rules)
    for _ in range(limit):
        applied: list[str] = []
        for node in graph.nodes:
            if node.graph is graph:
                applied += _apply_at(graph, node, plausible.at(node))
        total += len(applied)
        if not applied:
            break
    else:
        raise GraphError(f"rewriting does not end: rules {sorted(set(applied))} alternate")
    for node in graph.nodes:
        for sub in node.graphs.values():
            total += apply_rules(sub, rules, limit)
    return total


_Surroundings = tuple[Op, int, int, frozenset[Op]]


class _Plausible(dict[_Surroundings, list[Rule]]):
    """The rules that may match at a node, in order, by its op and what makes its operands: of a hundred few do."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self.rules, self.count = rules, len(rules)
        self.roots: dict[Op, bool] = {}

    def at(self, node: Node) -> Sequence[Rule]:
        """The rules to be tried at a node."""
        op = node.op
        if op not in self.roots:
            self.roots[op] = any(r.root.is_op(op) for r in self.rules)
        if not self.roots[op]:
            return ()
        operands = [v for v in node.operands if v is not None]
        made = frozenset([v.producer.op for v in operands if v.producer is not None])
        return self[op, len(operands), sum([v.data is not None for v in operands]), made]

    def __missing__(self, key: _Surroundings) -> list[Rule]:
        self[key] = [r for r in self.rules if r.is_plausible(*key)]
        return self[key]


_KNOWN: dict[int, _Plausible] = {}  # by the identity of the list of rules, which they keep alive


def _plausible(rules: Sequence[Rule]) -> _Plausible:
    """The table of a list of rules, filled as graphs ask."""
    found = _KNOWN.get(id(rules))
    if found is None or found.count != len(rules):
        found = _KNOWN[id(rules)] = _Plausible(rules)
    return found


def _apply_at(graph: Graph, node: Node, rules: Sequence[Rule]) -> list[str]:
    for r in rules:
        match = r.match(graph, node)
        if match is not None and r.apply(graph, node, match):
            return [r.name]
    return []
