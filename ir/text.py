"""The text of a graph, printed and parsed: `parse(str(g)) == g`.

    graph "sentiment" (%x: f32[N, 8]) -> (%probs: f32[N, 3]) {
      @dense.kernel: f32[8, 3] = sha256:0123456789abcdef
      @dense.bias: f32[3] = [0.5, -1.0, 0.0]
      %y: f32[N, 3] = matmul(%x, @dense.kernel, @dense.bias) {activation = linear, transpose_y = false}  // dense
      %probs: f32[N, 3] = softmax(%y) {axis = -1}  // dense
    }

`_` stands for an operand left out, `{shape = %s}` for an attribute known at run time, `//` brings the layer that a
node came from.  Small constants are written out, exactly; large ones by their digest: their elements are kept beside
the text (`Graph.weights`).  Attributes at their default are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import GraphError, TenunError
from . import dims, types
from .attributes import Activation
from .builder import Builder
from .dims import Dim, Expr
from .graph import Graph, Node, State, Var
from .op import lookup
from .types import DType, Tensor, Type

INLINE = 16  # constants of up to so many elements are written out

CONTAINERS = {t.word: t for t in (types.Sequence, types.Optional)}

_NAME = re.compile(r"[A-Za-z_0-9][\w./-]*\Z", re.ASCII)

# ---- printing ------------------------------------------------------------------------------------------------


def graph_text(graph: Graph, elements: Callable[[Var], str] | None = None) -> str:
    """The whole graph as text; `elements` writes what stands behind a constant's type."""
    names = {var: name for name, var in named_constants(graph).items()}
    return "\n".join(_graph_lines(graph, names, "", elements or constant_text))


def node_text(node: Node) -> str:
    """One node as text, with the names that the values suggest (not made unique)."""
    hints = {v: v.name for v in (*node.inputs, *node.outputs) if v is not None}
    return _node_line(node, _Labels(hints))


def node_lines(graph: Graph, nodes: Iterable[Node]) -> list[str]:
    """Some nodes of a graph as text, each on one line, with the names that they have in the text of the whole graph."""
    label = _Labels(value_names(graph, {var: name for name, var in named_constants(graph).items()}))
    return [_node_line(node, label) for node in nodes]


def named_constants(graph: Graph) -> dict[str, Var]:
    """All constants of the graph and its subgraphs by name, made unique in order of appearance."""
    found: dict[str, Var] = {}
    counts: dict[str, int] = {}
    for part in all_graphs(graph):
        for var in part.constants:
            found[_unused(var.name, found, counts)] = var
    return found


def all_graphs(graph: Graph) -> Iterator[Graph]:
    """The graph and all its subgraphs, outer ones first."""
    yield graph
    for node in graph.nodes:
        for sub in node.graphs.values():
            yield from all_graphs(sub)


def _unused(name: str, taken: Mapping[str, Any], counts: dict[str, int]) -> str:
    """The name, or with `_1`, `_2`, ... behind it; `counts` remembers how far that went, so many alike are quick."""
    base = name or "v"
    name, i = base, counts.get(base, 1)
    while name in taken:
        name, i = f"{base}_{i}", i + 1
    counts[base] = i
    return name


class _Labels:
    """How vars are written: `%name` or `@name`, quoted where the name has odd characters."""

    def __init__(self, names: Mapping[Var, str]) -> None:
        self.names = names

    def __call__(self, var: Var | None) -> str:
        if var is None:
            return "_"
        name = self.names.get(var, var.name)
        mark = "@" if var.constant is not None else "%"
        return mark + (name if _NAME.match(name) else json.dumps(name))


def value_names(graph: Graph, constants: Mapping[Var, str]) -> dict[Var, str]:
    """Names for every var of one graph, inputs first: theirs are part of the interface and stay."""
    names: dict[Var, str] = {v: constants[v] for v in graph.constants}
    taken: dict[str, None] = {}
    counts: dict[str, int] = {}
    for var in (*graph.inputs, *(out for node in graph.nodes for out in node.outputs)):
        names[var] = _unused(var.name, taken, counts)
        taken[names[var]] = None
    return names


def _graph_lines(
    graph: Graph, constants: Mapping[Var, str], indent: str, elements: Callable[[Var], str]
) -> Iterator[str]:
    label = _Labels(value_names(graph, constants))
    inputs = ", ".join(f"{label(v)}: {v.type}" for v in graph.inputs)
    outputs = ", ".join(_output_text(label, v, name) for v, name in zip(graph.outputs, graph.output_names))
    yield f"{indent}graph {json.dumps(graph.name)} ({inputs}) -> ({outputs}) {{"
    inner = indent + "  "
    if graph.metadata:
        yield f"{inner}metadata {json.dumps(graph.metadata, sort_keys=True)}"
    for var in graph.constants:
        yield f"{inner}{label(var)}: {var.type}{elements(var)}"
    for state in graph.state:
        yield f"{inner}state {label(state.input)} -> {state.output} = {label(state.first)}"
    for node in graph.nodes:
        line = inner + _node_line(node, label)
        if not node.graphs:
            yield line
            continue
        head, mark, comment = line.partition("  // ")
        yield head + " ["
        for name, sub in node.graphs.items():
            first, *rest = _graph_lines(sub, constants, inner + "  ", elements)
            yield f"{inner}  {name}: {first.lstrip()}"
            yield from rest
        yield f"{inner}]{mark}{comment}"
    yield indent + "}"


def _output_text(label: _Labels, var: Var, name: str) -> str:
    text = label(var)
    return f"{text}: {var.type}" if text == "%" + name else f"{json.dumps(name)} = {text}: {var.type}"


def _node_line(node: Node, label: _Labels) -> str:
    results = ", ".join(f"{label(v)}: {v.type}" for v in node.outputs)
    operands = [label(v) for v in node.operands]
    while len(operands) <= node.op.slots and operands and operands[-1] == "_":
        operands.pop()
    declared = node.op.attributes
    attrs = {k: value_text(v) for k, v in node.attrs.items() if not _is_default(v, declared[k].default)}
    attrs.update(zip(node.dynamic, (label(v) for v in node.inputs[len(node.operands) :])))
    inside = f" {{{', '.join(f'{k} = {v}' for k, v in attrs.items())}}}" if attrs else ""
    return f"{results} = {node.op.name}({', '.join(operands)}){inside}{_comment(node)}"


def _comment(node: Node) -> str:
    """`  // source`, and `  // note` behind it."""
    if not (node.source or node.note):
        return ""
    text = node.source
    plain = text.isprintable() and text == text.strip() and not text.startswith('"') and "  // " not in text
    note = f"  // {node.note}" if node.note else ""
    return f"  // {text if plain and text else json.dumps(text)}{note}"


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and repr(value) == repr(default)


def value_text(value: Any) -> str:
    """An attribute's value as text."""
    if isinstance(value, tuple):
        return f"({', '.join(map(value_text, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, Activation):
        inside = ", ".join(f"{k} = {value_text(v)}" for k, v in value.attrs)
        return f"{value.name}({inside})" if inside else value.name
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return f"dim {value}" if isinstance(value, Expr) else repr(value)


def constant_text(var: Var, most: float = INLINE) -> str:
    """` = ` and the elements of a constant: written out where they are `most` or less, else by their digest."""
    constant = var.constant
    assert constant is not None
    if constant.data is not None and constant.data.size <= most:
        text = _elements_text(constant.data)
        if text is not None:
            return f" = {text}"
    return f" = sha256:{constant.digest}"


def _elements_text(data: np.ndarray[Any, Any]) -> str | None:
    """The elements written out; None where that would lose bits (NaN payloads) or the dtype has no literals."""
    dtype = types.dtype(data)
    if dtype.kind == "complex":
        return None
    if dtype.kind == "string":
        texts = data.tolist()
        plain = all(isinstance(s, str) for s in (texts if data.ndim else [texts]))
        return json.dumps(texts) if data.ndim <= 1 and plain else None
    wide = data.astype(np.float64) if dtype.is_float else data
    text = _nested(data if dtype.name in ("f32", "f64", "f16") else wide, dtype)
    again = np.array(
        json.loads(text.replace("nan", "NaN").replace("inf", "Infinity")), np.float64 if dtype.is_float else None
    )
    again = again.reshape(data.shape).astype(dtype.numpy)
    return text if again.tobytes() == data.tobytes() else None


def _nested(data: np.ndarray[Any, Any], dtype: DType) -> str:
    if data.ndim:
        return f"[{', '.join(_nested(row, dtype) for row in data)}]"
    if dtype.kind == "bool":
        return "true" if data else "false"
    return str(int(data)) if dtype.is_integer else str(data)


# ---- parsing -------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<comment>//[^\n]*)(?=\n|\Z)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<sha>sha256:[0-9a-f]+)
    |(?P<var>[%@](?:"(?:[^"\\]|\\.)*"|[A-Za-z_0-9][\w./-]*))
    |(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_?][\w.]*)
    |(?P<punct>->|//|[()\[\]{}<>,:=*%+-])""",
    re.VERBOSE | re.ASCII,
)
_COMMENT = re.compile(r"[ \t]*// ([^\n]*)")


def parse(text: str, weights: Mapping[str, np.ndarray[Any, Any]] | None = None) -> Graph:
    """The graph that the text describes; GraphError, with line and column, where it describes none.

    `weights` are the elements of constants by name; a constant without keeps its digest only.
    """
    parser = Parser(text, weights or {})
    try:
        graph = parser.graph()
        parser.skip()
        if parser.at < len(text):
            parser.fail("text after the graph")
    except RecursionError:
        raise GraphError("the text is nested too deeply") from None
    return graph


class Parser:
    """Recursive descent over the text; `at` is the place of the next token."""

    def __init__(self, text: str, weights: Mapping[str, np.ndarray[Any, Any]]) -> None:
        self.text, self.at, self.weights = text, 0, weights

    # tokens

    def fail(self, message: str) -> Any:
        line = self.text.count("\n", 0, self.at) + 1
        column = self.at - self.text.rfind("\n", 0, self.at)
        found = self.text[self.at : self.at + 20].partition("\n")[0]
        raise GraphError(f"line {line}, column {column}: {message}, found {found!r}")

    def skip(self) -> None:
        """Go past blanks, and past comments that stand on a line of their own."""
        while (m := re.compile(r"[ \t\r\n]+|//[^\n]*").match(self.text, self.at)) is not None:
            self.at = m.end()

    def peek(self) -> tuple[str, str]:
        self.skip_blanks()
        match = _TOKEN.match(self.text, self.at)
        return ("end", "") if match is None else (match.lastgroup or "", match.group())

    def skip_blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def next(self, kind: str, what: str = "") -> str:
        found, token = self.peek()
        if found != kind:
            self.fail(f"expected {what or kind}")
        self.at += len(token)
        return token

    def take(self, token: str) -> bool:
        """Go past the token if it is the next one."""
        self.skip_blanks()
        if not self.text.startswith(token, self.at):
            return False
        end = self.at + len(token)
        if token[-1].isalnum() and end < len(self.text) and (self.text[end].isalnum() or self.text[end] in "_."):
            return False
        self.at = end
        return True

    def expect(self, token: str) -> None:
        if not self.take(token):
            self.fail(f"expected {token!r}")

    def string(self) -> str:
        return str(json.loads(self.next("string")))

    def var_name(self) -> tuple[str, str]:
        token = self.next("var", "a value")
        mark, name = token[0], token[1:]
        return mark, str(json.loads(name)) if name.startswith('"') else name

    def several(self, close: str, item: Callable[[], Any]) -> list[Any]:
        """Items between commas up to the closing token, which is consumed; a last comma is allowed."""
        found = []
        while not self.take(close):
            found.append(item())
            if not self.take(","):
                self.expect(close)
                break
        return found

    # types and values

    def type(self) -> Type:
        word = self.next("word", "a type")
        if word in CONTAINERS:
            self.expect("<")
            element = self.type()
            self.expect(">")
            return CONTAINERS[word](element)
        if word == types.Map.word:
            self.expect("<")
            key = self.dtype(self.next("word", "a dtype"))
            self.expect(",")
            element = self.type()
            self.expect(">")
            return types.Map(element, key)
        self.dtype(word)
        self.expect("[")
        if self.take("*"):
            self.expect("]")
            return Tensor(types.DTYPES[word], None)
        return Tensor(types.DTYPES[word], tuple(self.several("]", self.dim)))

    def dtype(self, word: str) -> DType:
        if word not in types.DTYPES:
            self.fail(f"unknown dtype {word!r}")
        return types.DTYPES[word]

    def dim(self) -> Dim:
        total = self.dim_product()
        while True:
            if self.take("+"):
                total = total + self.dim_product()
            elif self.take("-"):
                total = total - self.dim_product()
            else:
                return total

    def dim_product(self) -> Dim:
        total = self.dim_atom()
        while True:
            if self.take("*"):
                total = total * self.dim_atom()
            elif self.take("//"):
                total = dims.floor_div(total, self.dim_atom())
            elif self.take("%"):
                total = dims.remainder(total, self.dim_atom())
            else:
                return total

    def dim_atom(self) -> Dim:
        if self.take("("):
            inner = self.dim()
            self.expect(")")
            return inner
        if self.take("-"):
            return -self.dim_product()
        if self.peek()[0] == "number":
            return int(self.next("number"))
        name = self.next("word", "a dimension")
        if name in ("max", "min") and self.take("("):
            a, b = self.several(")", self.dim)
            return dims.call(name, a, b)
        return dims.symbol(name)

    def value(self) -> Any:
        """An attribute's value."""
        kind, token = self.peek()
        if kind == "string":
            return self.string()
        if self.take("("):
            return tuple(self.several(")", self.value))
        if kind == "number" or token == "-":
            return self.number()
        word = self.next("word", "a value")
        if word == "dim":
            return self.dim()
        if word in _WORDS:
            return _WORDS[word]
        if word in types.DTYPES:
            return types.DTYPES[word]
        attrs = dict(self.several(")", self.pair)) if self.take("(") else {}
        return Activation(word, tuple(attrs.items()))

    def number(self) -> Any:
        sign = -1 if self.take("-") else 1
        if self.peek()[0] == "word":
            return sign * _WORDS[self.next("word")]
        token = self.next("number")
        return sign * (int(token) if token.isdigit() else float(token))

    def pair(self) -> tuple[str, Any]:
        name = self.next("word", "a name")
        self.expect("=")
        return name, self.value()

    def elements(self) -> Any:
        if self.take("["):
            return self.several("]", self.elements)
        return self.value()

    # graphs

    def graph(self) -> Graph:
        self.skip()
        self.expect("graph")
        builder = Builder(Graph(self.string()))
        scope: dict[str, Var] = {}
        self.expect("(")
        for name, type in self.several(")", self.typed):
            scope["%" + name] = builder.input(name, type)
        self.expect("->")
        self.expect("(")
        outputs = self.several(")", self.output)
        self.expect("{")
        while not self.take("}"):
            self.statement(builder, scope)
        for _, key, type in outputs:
            if key not in scope or scope[key].type != type:
                self.fail(f"output {key}: {type} is {scope.get(key, 'not defined')}")
        builder.graph.set_outputs([scope[key] for _, key, _ in outputs], [name for name, _, _ in outputs])
        return builder.graph

    def typed(self) -> tuple[str, Type]:
        _, name = self.var_name()
        self.expect(":")
        return name, self.type()

    def output(self) -> tuple[str, str, Type]:
        given = self.string() if self.peek()[0] == "string" else None
        if given is not None:
            self.expect("=")
        mark, name = self.var_name()
        self.expect(":")
        return given if given is not None else name, mark + name, self.type()

    def statement(self, builder: Builder, scope: dict[str, Var]) -> None:
        self.skip()
        if self.take("}"):
            self.at -= 1
        elif self.take("metadata"):
            self.skip_blanks()
            builder.graph.metadata, length = json.JSONDecoder().raw_decode(self.text[self.at :])
            self.at += length
        elif self.take("state"):
            self.state(builder, scope)
        elif self.peek()[1].startswith("@"):
            self.constant(builder, scope)
        else:
            self.node(builder, scope)

    def operand(self, scope: dict[str, Var]) -> Var | None:
        if self.peek()[1] == "_":
            self.next("word")
            return None
        key = "".join(self.var_name())
        if key not in scope:
            self.fail(f"{key} is not defined")
        return scope[key]

    def state(self, builder: Builder, scope: dict[str, Var]) -> None:
        state_input = self.operand(scope)
        self.expect("->")
        output = int(self.next("number"))
        self.expect("=")
        first = self.operand(scope)
        assert state_input is not None and first is not None
        builder.graph.state.append(State(state_input, output, first))

    def constant(self, builder: Builder, scope: dict[str, Var]) -> None:
        _, name = self.var_name()
        self.expect(":")
        type = self.type()
        self.expect("=")
        if not isinstance(type, Tensor) or not type.is_static:
            self.fail(f"constant @{name} has no static tensor type")
        assert isinstance(type, Tensor)
        digest, data = None, self.weights.get(name)
        if self.peek()[0] == "sha":
            digest = self.next("sha").partition(":")[2]
        else:
            literal = self.elements()
            data = np.array(literal, object if type.dtype is types.string else None).astype(type.dtype.numpy)
            data = data.reshape(type.static)
        if data is not None and types.type_of(data) != type:
            self.fail(f"the weight for @{name} is {types.type_of(data)}, not {type}")
        digest = digest if data is None else None
        scope["@" + name] = builder.graph.add_constant(data, name, type=type, digest=digest)

    def node(self, builder: Builder, scope: dict[str, Var]) -> None:
        results: list[tuple[str, Type]] = []
        while not results or self.take(","):
            results.append(self.typed())
        self.expect("=")
        word = self.next("word", "an op")
        try:
            op = lookup(word)
        except KeyError:
            self.fail(f"unknown op {word!r}")
        self.expect("(")
        operands = self.several(")", lambda: self.operand(scope))
        attrs = dict(self.several("}", lambda: self.attribute(scope))) if self.take("{") else {}
        graphs = {}
        if self.take("["):
            while not self.take("]"):
                name = self.next("word")
                self.expect(":")
                graphs[name] = self.graph()
                self.skip_blanks()
        source, note = self.source()
        try:
            node = builder.node(op, operands, attrs, graphs=graphs, names=[n for n, _ in results], source=source)
            node.note = note
        except TenunError as error:
            self.fail(str(error))
        if [t for _, t in results] != [v.type for v in node.outputs]:
            self.fail(f"{word} gives {', '.join(str(v.type) for v in node.outputs)}, the text says otherwise")
        scope.update({"%" + name: var for (name, _), var in zip(results, node.outputs)})

    def attribute(self, scope: dict[str, Var]) -> tuple[str, Any]:
        name = self.next("word", "an attribute")
        self.expect("=")
        return name, self.operand(scope) if self.peek()[0] == "var" else self.value()

    def source(self) -> tuple[str, str]:
        """The source of a node, and its note."""
        match = _COMMENT.match(self.text, self.at)
        if match is None:
            return "", ""
        self.at = match.end()
        text = match.group(1)
        if not text.startswith('"'):
            source, _, note = text.partition("  // ")
            return source, note
        source, end = json.JSONDecoder().raw_decode(text)
        return str(source), text[end:].removeprefix("  // ")


_WORDS: dict[str, Any] = {
    "true": True, "false": False, "none": None, "nan": float("nan"), "inf": float("inf"),
}  # fmt: skip
