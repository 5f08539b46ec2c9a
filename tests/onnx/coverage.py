"""The page docs/onnx_coverage.md: what tenun does with each operator of the installed onnx.

    python -m tenun.tests.onnx.coverage

An operator's first case in ONNX's node suite is loaded, differentiated and written; its versions and dtypes are those
of its schemas.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import onnx
import onnx.defs
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

import tenun
from tenun.errors import TenunError
from tenun.frontends.onnx.functions import schema_with_function
from tenun.frontends.onnx.registry import find
from tenun.frontends.onnx.writer import proto_of_graph
from tenun.ir.graph import Graph
from tenun.ir.types import Tensor
from tenun.tests.onnx.suites import inputs_of

PAGE = Path(tenun.__file__).parent / "docs" / "onnx_coverage.md"
DOMAINS = {"": "ai.onnx", "ai.onnx.ml": "ai.onnx.ml", "ai.onnx.preview.training": "ai.onnx.preview.training",
           "ai.onnx.preview": "ai.onnx.preview"}  # fmt: skip
HEAD = """# Coverage of ONNX

Made by `python -m tenun.tests.onnx.coverage` with onnx {version}; a test says whether it is current.

- **opsets**: the versions at which the schema changed.  All of them run: a test checks it version by version.
- **dtypes**: what the newest schema allows for the first input; all of them run, unless `tests/onnx/test_operators.py`
  says why not.
- **run**: `row`: lowered to core ops by a row of `frontends/onnx/ops`; `definition`: by ONNX's own definition with
  other operators.
- **differentiate**, **write**: what happens to the operator's first case in ONNX's node suite; `-` where there is
  none, or no floats go in and out.  `yes, of a constant`: where the inputs of integers or scales are initialisers.
"""
WITHOUT_CASE: dict[str, dict[str, Any]] = {
    "RandomNormal": {"shape": [2]}, "RandomUniform": {"shape": [2]}, "RandomNormalLike": {}, "RandomUniformLike": {},
    "Multinomial": {}, "MaxRoiPool": {"pooled_shape": [2, 2]},
}  # fmt: skip
CASES: dict[str, Any] = {}  # the cases of the samples
SHORT = {"bfloat16": "bf16", "float16": "f16", "float": "f32", "double": "f64", "string": "str", "bool": "bool"}


def page() -> str:
    """The text of the page."""
    samples = _samples()
    lines = [HEAD.format(version=onnx.__version__)]
    schemas: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for schema in sorted(onnx.defs.get_all_schemas_with_history(), key=lambda s: s.since_version):
        schemas[schema.domain, schema.name].append(schema)
    for domain, title in DOMAINS.items():
        names = sorted(name for d, name in schemas if d == domain)
        lines += [f"## {title}: {len(names)} operators", ""]
        lines += ["| operator | opsets | dtypes | run | differentiate | write |", "|---|---|---|---|---|---|"]
        lines += [_row(schemas[domain, name], samples.get((domain, name))) for name in names]
        lines.append("")
    return "\n".join(lines)


def _with_constants(case: Any) -> ModelProto:
    """A case's model whose inputs but the first are initialisers."""
    proto = ModelProto.FromString(case.model.SerializeToString())
    names = [v.name for v in proto.graph.input]
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in list(zip(names, inputs_of(case)))[1:])
    del proto.graph.input[1:]
    return proto


def _samples() -> dict[tuple[str, str], ModelProto]:
    """The first case of each operator, the newest version first."""
    found: dict[tuple[str, str], ModelProto] = {}
    for case in load_model_tests(kind="node"):
        nodes = case.model.graph.node
        if len(nodes) == 1 and not case.name.endswith("_expanded"):
            found.setdefault((nodes[0].domain, nodes[0].op_type), case.model)
            CASES.setdefault(nodes[0].op_type, case)
    for name, attrs in WITHOUT_CASE.items():
        shapes = {"x": [1, 2, 5, 5], "r": [1, 5]} if name == "MaxRoiPool" else {"x": [2, 3]}
        schema = onnx.defs.get_schema(name)
        inputs = list(shapes)[: schema.max_input]
        given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shapes[n]) for n in inputs]
        one = helper.make_node(name, inputs, ["y"], **attrs)
        graph = helper.make_graph([one], "g", given, [helper.make_empty_tensor_value_info("y")])
        found["", name] = helper.make_model(graph, opset_imports=[helper.make_opsetid("", schema.since_version)])
    return found


def _row(schemas: list[Any], sample: ModelProto | None) -> str:
    newest = schemas[-1]
    versions = ", ".join(f"{s.since_version} (deprecated)" if s.deprecated else str(s.since_version) for s in schemas)
    cells = [newest.name, versions, _dtypes(next(s for s in reversed(schemas) if not s.deprecated)), _run(newest)]
    graph = None if sample is None else tenun.load(sample)
    cells += ["-", "-"] if graph is None else [_differentiate(graph), _write(graph)]
    late = "known at run time only" in cells[-2]
    if late and _differentiate(tenun.load(_with_constants(CASES[newest.name]))) == "yes":
        cells[-2] = "yes, of a constant"
    return "| " + " | ".join(cells) + " |"


def _dtypes(schema: Any) -> str:
    if not schema.inputs:
        return "-"
    kind = schema.inputs[0].type_str
    allowed = next((c.allowed_type_strs for c in schema.type_constraints if c.type_param_str == kind), [kind])
    names = [t[7:-1] for t in allowed if t.startswith("tensor(")]
    others = ["sequences"] if any(t.startswith("seq") for t in allowed) else []
    others += ["maps"] if any(t.startswith("map") for t in allowed) else []
    others += ["optionals"] if any(t.startswith("optional") for t in allowed) else []
    short = [SHORT.get(n, n.replace("uint", "u").replace("int", "i").replace("float", "f").replace("complex", "c"))
             for n in names]  # fmt: skip
    return " ".join([*sorted(short), *others])


def _run(schema: Any) -> str:
    if find(schema.domain, schema.name, schema.since_version) is not None:
        return "row"
    return "definition" if schema_with_function(schema.domain, schema.name, schema.since_version) else "no"


def _is_float(var: Any) -> bool:
    return isinstance(var.type, Tensor) and var.type.dtype.is_float and var.type.dtype.bits >= 16


def _differentiate(graph: Graph) -> str:
    outputs = [n for n, v in zip(graph.output_names, graph.outputs) if _is_float(v)]
    wrt = [v.name for v in graph.inputs if _is_float(v)]
    if not outputs or not wrt:
        return "-"
    try:
        tenun.grad(graph, outputs[:1], wrt[:1])
    except TenunError as error:
        return _reason(error)
    return "yes"


def _write(graph: Graph) -> str:
    try:
        proto_of_graph(graph, opset=onnx.defs.onnx_opset_version())
    except TenunError as error:
        return _reason(error)
    return "yes"


def _reason(error: TenunError) -> str:
    return "no: " + error.message.splitlines()[0].replace("|", "\\|")[:120]


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"written: {PAGE}")
