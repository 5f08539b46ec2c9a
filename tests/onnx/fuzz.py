"""Damaged models: each gives a TenunError or an answer, within bounds of time and memory.

    python -m tenun.tests.onnx.fuzz KIND SEED COUNT

makes COUNT models by seed, loads, compiles and runs them in this process, whose memory is limited, and prints what
became of them as JSON.  The first one that does anything else is printed and left as a file, and the exit status is 1.
Where ONNX's checker still takes a model, ONNX Runtime says whether the answer is right.
"""

from __future__ import annotations

import io
import json
import math
import re
import resource
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, TensorProto, helper

import tenun
from tenun.ir.types import Tensor

MEMORY = 6 << 30  # bytes of addresses
SECONDS = 10  # for one model
ELEMENTS = 1 << 16  # of an input
SUITES = Path(onnx.__file__).parent / "backend" / "test" / "data"
HUGE = (-1, 0, 1, 2, 7, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63))
LOOPS = {"Loop", "Scan"}  # a number of turns may be anything
UNLIKE = {
    "Bernoulli",
    "Dropout",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "TrainingDropout",
    "ImageDecoder",
    "Celu",
}  # fmt: skip  (x / alpha: 0 has no meaning)


class OutOfTime(BaseException):
    """A model took too long; no handler of exceptions takes this for an error of the model."""


# ---- damage --------------------------------------------------------------------------------------------------


def bits(r: np.random.Generator, data: bytes) -> bytes:
    """Some bits flipped."""
    found = np.frombuffer(data, np.uint8).copy()
    for place in r.integers(0, len(found), r.integers(1, 9)):
        found[place] ^= np.uint8(1 << r.integers(8))
    return found.tobytes()


def cut(r: np.random.Generator, data: bytes) -> bytes:
    """The end is missing, or something in the middle."""
    a, b = sorted(r.integers(0, len(data), 2))
    return data[:a] if r.integers(2) else data[:a] + data[b:]


def moved(r: np.random.Generator, data: bytes) -> bytes:
    """Two pieces swapped, or one written twice."""
    a, b, c = sorted(r.integers(0, len(data) + 1, 3))
    return data[:a] + data[b:c] + data[a:b] + data[c:] if r.integers(2) else data[:c] + data[a:b] + data[c:]


def filled(r: np.random.Generator, data: bytes) -> bytes:
    """Bytes replaced by such as make long numbers."""
    a, count = int(r.integers(0, len(data))), int(r.integers(1, 10))
    return data[:a] + bytes([int(r.choice([0, 127, 128, 255]))] * count) + data[a + count :]


def numbers(r: np.random.Generator, data: bytes) -> bytes:
    """A number among the first texts is another one."""
    found = some(r, re.finditer(rb"[0-9]+", data[:8192]))
    return data[: found.start()] + some(r, [b"0", b"-1", b"3", b"9" * 19, b"9" * 400, b""]) + data[found.end() :]  # type: ignore[no-any-return]


BYTES = (bits, cut, moved, filled)


def some(r: np.random.Generator, items: Any) -> Any:
    """One of the items; IndexError where there is none."""
    found = list(items)
    return found[int(r.integers(len(found)))] if found else [][0]


def all_dims(proto: ModelProto) -> list[Any]:
    """Lists of dimensions: of declared types and of tensors."""
    infos = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    tensors = [*proto.graph.initializer, *(a.t for n in proto.graph.node for a in n.attribute if a.HasField("t"))]
    return [*(v.type.tensor_type.shape.dim for v in infos), *(t.dims for t in tensors)]


def dims(r: np.random.Generator, proto: ModelProto) -> None:
    found = some(r, [d for d in all_dims(proto) if len(d)])
    place, size = int(r.integers(len(found))), int(r.choice(HUGE[:9]))
    if isinstance(found[place], int):
        found[place] = size
    elif r.integers(3):
        found[place].dim_value = size
    else:
        found[place].dim_param = some(r, ["", "N", "a b", "1", "N" * 1000])


def wires(r: np.random.Generator, proto: ModelProto) -> None:
    """An input of a node is another value: a cycle, a value of another type, one that is not there."""
    chosen = some(r, [n for n in proto.graph.node if n.input])
    names = [o for n in proto.graph.node for o in (*n.output, *n.input)] + ["", "nowhere"]
    chosen.input[int(r.integers(len(chosen.input)))] = some(r, names)


def attributes(r: np.random.Generator, proto: ModelProto) -> None:
    chosen = some(r, [a for n in proto.graph.node for a in n.attribute])
    if chosen.type == AttributeProto.INT:
        chosen.i = int(r.choice(HUGE))
    elif chosen.type == AttributeProto.INTS:
        values = [int(r.choice(HUGE)) if not r.integers(3) else v for v in chosen.ints]
        chosen.ints[:] = values[: len(values) - int(r.integers(2))]
    elif chosen.type == AttributeProto.FLOAT:
        chosen.f = float(r.choice([0, 0.5, 1, 3]))
    elif chosen.type == AttributeProto.STRING:
        chosen.s = some(r, [b"", b"SAME_UPPER", b"\xff\xfe", b"constant", b"x" * 5000])
    else:
        chosen.type = int(r.integers(0, 15))


def operators(r: np.random.Generator, proto: ModelProto) -> None:
    chosen = some(r, proto.graph.node)
    chosen.op_type = some(r, [s.name for s in onnx.defs.get_all_schemas()])
    if r.integers(2):
        del chosen.attribute[:]


def elements(r: np.random.Generator, proto: ModelProto) -> None:
    """Another element type."""
    infos = [v.type.tensor_type for v in (*proto.graph.input, *proto.graph.output)]
    chosen, code = some(r, [*infos, *proto.graph.initializer]), int(r.integers(0, 28))
    if isinstance(chosen, TensorProto):
        chosen.data_type = code
    else:
        chosen.elem_type = code


def nodes(r: np.random.Generator, proto: ModelProto) -> None:
    """A node is missing, there twice, or they are in another order."""
    place, how = int(r.integers(len(proto.graph.node))), r.integers(3)
    if how == 0:
        del proto.graph.node[place]
    elif how == 1:
        proto.graph.node.add().CopyFrom(proto.graph.node[place])
    else:
        order = [n.SerializeToString() for n in proto.graph.node]
        r.shuffle(order)
        del proto.graph.node[:]
        for text in order:
            proto.graph.node.add().ParseFromString(text)


def versions(r: np.random.Generator, proto: ModelProto) -> None:
    some(r, proto.opset_import).version = int(some(r, [1, 5, 7, 9, 11, 13, 17, 21, 24, 1000, -3]))


def values(r: np.random.Generator, proto: ModelProto) -> None:
    """Numbers of an initialiser, such as give shapes and axes."""
    chosen = some(r, [t for t in proto.graph.initializer if t.data_type == TensorProto.INT64])
    array = onnx.numpy_helper.to_array(chosen).copy()
    array.reshape(-1)[int(r.integers(array.size))] = int(r.choice(HUGE))
    chosen.CopyFrom(onnx.numpy_helper.from_array(array, chosen.name))


def nesting(r: np.random.Generator, proto: ModelProto) -> None:
    """The graph inside a branch, that inside another, and so on; or a function that calls itself."""
    if not r.integers(3):
        call = helper.make_node("Own", [], ["o"], domain="own")
        proto.functions.append(helper.make_function("own", "Own", [], ["o"], [call], [helper.make_opsetid("own", 1)]))
        proto.opset_import.append(helper.make_opsetid("own", 1))
        proto.graph.node.insert(0, call)
        return
    condition = helper.make_tensor("deep", TensorProto.BOOL, [], [True])
    graph = proto.graph
    inner = onnx.GraphProto()
    inner.CopyFrom(graph)
    del inner.input[:], inner.initializer[:]
    for _ in range(int(r.integers(1, 24))):
        names = [o.name for o in graph.output]
        node = helper.make_node("If", ["deep"], names, then_branch=inner, else_branch=inner if not r.integers(5) else
                                helper.make_graph([], "none", [], []))  # fmt: skip
        outer = helper.make_graph([node], "g", [], list(graph.output))
        inner = outer
    del graph.node[:]
    graph.node.extend(inner.node)
    graph.initializer.append(condition)


FIELDS = (dims, wires, attributes, operators, elements, nodes, versions, values, nesting)


# ---- models --------------------------------------------------------------------------------------------------


def models() -> list[bytes]:
    """Small models of the suites that onnx has as files."""
    return [p.read_bytes() for p in sorted(SUITES.glob("*/*/model.onnx")) if p.stat().st_size < 1 << 15]


def damaged_fields(r: np.random.Generator, data: bytes) -> bytes:
    proto = ModelProto.FromString(data)
    for _ in range(int(r.integers(1, 3))):
        try:
            some(r, FIELDS)(r, proto)
        except (IndexError, ValueError, TypeError, DecodeError):  # this model has nothing of the kind
            continue
    return bytes(proto.SerializeToString())


def onnx_case(r: np.random.Generator) -> bytes:
    data = some(r, ONNX_MODELS)
    return some(r, BYTES)(r, data) if not r.integers(4) else damaged_fields(r, data)  # type: ignore[no-any-return]


def whole_file(suffix: str) -> bytes:
    """A small trained model as a file."""
    layers = tenun.layers
    x = tenun.Input((6, 4))
    y = layers.Dense(3)(layers.LSTM(5)(layers.Conv1D(4, 3, activation="relu")(x)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"m{suffix}"
        tenun.save(tenun.Model(x, y), path)
        return path.read_bytes()


def changed_text(r: np.random.Generator, text: str) -> str:
    """A word or number of a text replaced by another."""
    words = text.split(" ")
    words[int(r.integers(len(words)))] = some(r, ["null", "-1", "1e999", '"x"', "[", "{}", "%y", "9" * 40, *words])
    return " ".join(words)


def file_case(suffix: str) -> Callable[[np.random.Generator], bytes]:
    whole = whole_file(suffix)

    def case(r: np.random.Generator) -> bytes:
        if not zipfile.is_zipfile(io.BytesIO(whole)):
            return some(r, (*BYTES, numbers))(r, whole)  # type: ignore[no-any-return]
        if not r.integers(3):
            return some(r, BYTES)(r, whole)  # type: ignore[no-any-return]
        result = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(result, "w") as new:
            for name in old.namelist():
                data = old.read(name)
                if not r.integers(2):
                    readable = name.endswith((".json", ".txt"))
                    data = changed_text(r, data.decode()).encode() if readable else some(r, BYTES)(r, data)
                new.writestr(name, data)
        return result.getvalue()

    return case


ONNX_MODELS: list[bytes] = []


def node_models() -> list[bytes]:
    """The cases of the node suite, which onnx makes in a few seconds."""
    from onnx.backend.test.loader import load_model_tests

    made = (case.model.SerializeToString() for case in load_model_tests(kind="node"))
    return [data for data in made if len(data) < 1 << 15]


def maker(kind: str) -> Callable[[np.random.Generator], bytes]:
    """What makes a damaged file: `onnx`, `node` (suites of onnx), or a suffix."""
    if kind in ("onnx", "node"):
        ONNX_MODELS[:] = models() if kind == "onnx" else node_models()
        return onnx_case
    return file_case(kind)


# ---- what becomes of them ------------------------------------------------------------------------------------


def inputs_of(graph: Any, r: np.random.Generator) -> dict[str, Any] | None:
    """Small inputs; None where the model asks for others."""
    found = {}
    for var in graph.inputs:
        t = var.type
        if not isinstance(t, Tensor) or t.shape is None:
            return None
        shape = [d if isinstance(d, int) else 2 for d in t.shape]
        if math.prod(shape) > ELEMENTS:
            return None
        if t.dtype.kind == "string":
            found[var.name] = np.full(shape, "ab", object)
        else:
            found[var.name] = r.integers(0, 3, shape).astype(t.dtype.numpy)
    return found


def became(data: bytes, r: np.random.Generator) -> str:
    """What became of a model."""
    try:
        graph = tenun.load(data)
        executable = tenun.compile(graph)
        given = inputs_of(graph, r)
        if given is None:
            return "loaded"
        got = executable.run(given)
    except tenun.TenunError:
        return "refused"
    return compared(data, given, got)


def compared(data: bytes, given: dict[str, Any], got: dict[str, Any]) -> str:
    """Whether ONNX Runtime gives the same, if the model is a valid one for which it gives anything."""
    import onnxruntime

    try:
        onnx.checker.check_model(data, full_check=True)
        proto = ModelProto.FromString(data)
        if UNLIKE & {n.op_type for n in proto.graph.node} or not all(np.size(v) for v in given.values()):
            return "ran"  # (a mean of nothing is nothing that ONNX defines)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        want = dict(zip([o.name for o in session.get_outputs()], session.run(None, given)))
    except Exception:  # it has its own opinion of what it takes
        return "ran"
    for name, array in want.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
            continue
        found = np.asarray(got[name])
        if found.dtype != array.dtype:  # small floats, which it gives as bytes
            continue
        assert found.shape == array.shape, (name, found.shape, array.shape)
        np.testing.assert_allclose(found, array, 1e-2, 1e-3, err_msg=name)
    return "right"


def loops(data: bytes) -> bool:
    return any(name.encode() in data for name in LOOPS)


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise OutOfTime


def main(kind: str, seed: int, count: int) -> int:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    make = maker(kind)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _out_of_time)
    results: Counter[str] = Counter()
    for i in range(count):
        r = np.random.default_rng([seed, i])
        data = make(r)
        signal.alarm(SECONDS)
        try:
            results[became(data, r)] += 1
        except BaseException as error:
            if isinstance(error, OutOfTime) and loops(data):
                results["endless"] += 1
                continue
            left = Path(tempfile.gettempdir()) / f"fuzz-{kind.strip('.')}-{seed}-{i}"
            left.write_bytes(data)
            traceback.print_exc()
            print(f"number {i} of seed {seed}, kept as {left}", file=sys.stderr)
            return 1
        finally:
            signal.alarm(0)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
