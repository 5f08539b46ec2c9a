"""The layout keeps its promises: imports point one way, `import tenun` is light, every op has its rows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tenun
from tenun.backends.numpy.registry import KERNELS
from tenun.ir.op import OPS

ROOT = Path(tenun.__file__).parent

# part: what it may import.  Where `ir` needs a later part there is an error in the design.
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "files": {"errors"},
    "ir": {"errors"},
    "passes": {"errors", "ir"},
    "layers": {"errors", "ir"},
    "frontends": {"errors", "files", "ir", "passes", "layers", "value"},
    "backends": {"errors", "ir", "passes"},
    "executable": {"errors", "ir", "passes", "backends", "debug"},
    "debug": {"errors", "files", "ir", "passes", "backends", "executable"},
    "training": {"errors", "files", "ir", "passes", "layers", "frontends", "backends", "executable", "debug"}
    | {"value"},
    "value": {"errors", "ir", "passes", "backends", "executable"},
    "estimators": {"errors", "layers", "training"},
    "api": {"errors", "ir", "passes", "frontends", "backends", "executable", "training", "debug"},
    "demo": {"errors", "files", "ir", "passes", "debug", "executable", "api"},
    "cli": {"errors", "files", "ir", "passes", "frontends", "backends", "executable", "debug", "training", "api"}
    | {"demo", "__version__"},
    "__main__": {"cli"},
    "__init__": {"api", "executable", "ir", "errors", "layers", "training", "value", "estimators"},
}

# An adapter for the test runner of onnx: it stands beside the reader, but on top of everything.
ON_TOP = {"frontends/onnx/backend.py": {"api", "executable"}}

# Third-party modules that a part may import at the top of a module; all others inside the functions that need them.
TOP_LEVEL = {"numpy"}
ALLOWED_ABOVE = {
    "backends/numba": {"numba", "llvmlite"},
    "cli": {"typer"},
    "frontends/keras": {"h5py"},
    "frontends/onnx": {"onnx", "google"},
}


def modules() -> list[Path]:
    parts = set(LAYERS)
    return sorted(p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0].removesuffix(".py") in parts)


def imported(path: Path) -> set[str]:
    """The parts of tenun that a module imports, wherever in it."""
    relative = path.relative_to(ROOT)
    package = list(relative.parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = base + (node.module.split(".") if node.module else [])
            found |= {target[0]} if target else {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tenun":
            found.add("absolute import of tenun")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    wrong = imported(path) - LAYERS[part] - {part} - ON_TOP.get(str(path.relative_to(ROOT)), set())
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}; {part} may import {LAYERS[part]}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_are_imported_where_they_are_used(path: Path) -> None:
    allowed = set(TOP_LEVEL)
    for prefix, extra in ALLOWED_ABOVE.items():
        if str(path.relative_to(ROOT)).removesuffix(".py").startswith(prefix):
            allowed |= extra
    top = ast.parse(path.read_text()).body
    names = {a.name for n in top if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module for n in top if isinstance(n, ast.ImportFrom) and not n.level and n.module}
    foreign = {n.split(".")[0] for n in names} - set(sys.stdlib_module_names)
    assert foreign <= allowed, f"{path.relative_to(ROOT)} imports {foreign - allowed} at its top"


HEAVY = (
    "onnx h5py networkx rich typer safetensors threadpoolctl ml_dtypes tensorflow keras sklearn matplotlib scipy numba"
)


def test_importing_tenun_imports_nothing_heavy() -> None:
    code = f"import sys, tenun; tenun.compile; print([m for m in {HEAVY.split()} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_keras_file_runs_without_keras_tensorflow_or_onnx() -> None:
    code = (
        "import sys, tenun, pathlib; p = pathlib.Path(tenun.__file__).parent / 'demo' / 'digits_cnn.keras';"
        "tenun.compile_and_run(p);"
        "print([m for m in ('onnx', 'tensorflow', 'keras', 'networkx', 'rich', 'typer') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# What a small CNN has no use for: neither its own parts that serve other models, nor slow modules of the library.
NEEDLESS = {
    "ir.ops": "attention quant random sequence signal string vision ml",
    "backends.numpy.kernels": "attention chains ml quant random recurrent resize sequence signal string vision",
    "layers": "augmentation conv_recurrent features lookup operations recurrent symbolic text wrappers",
    "frontends.onnx.ops": "attention contrib contrib_other control index ml quant recurrent trees vision",
    "passes": "recompute interpret selfcheck autodiff",
}
SLOW = {
    "keras": "onnx tensorflow keras numpy.random scipy difflib secrets hashlib",
    "onnx": "onnx h5py numpy.random scipy difflib secrets hashlib logging tempfile random zipfile",
}
MOST = {"keras": 130, "onnx": 115}  # modules of tenun: 122 and 107 when this was written


@pytest.mark.parametrize("suffix", SLOW)
def test_a_first_result_imports_little(suffix: str, tmp_path: Path) -> None:
    """Half the time from nothing to a first result goes by with imports, so no family is imported that is not used."""
    path = ROOT / "demo" / "digits_cnn.keras"
    if suffix == "onnx":
        tenun.save(tenun.load(path), tmp_path / "model.onnx")
        path = tmp_path / "model.onnx"
    shape = (1, *tenun.load(path).inputs[0].tensor.dims[1:])
    code = (
        f"import sys, numpy; x = numpy.zeros({shape}, 'f'); before = set(sys.modules);"
        "import tenun; tenun.compile(sys.argv[1])(x); print(*(set(sys.modules) - before))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    found = set(out.stdout.split())
    needless = {f"tenun.{part}.{name}" for part, names in NEEDLESS.items() for name in names.split()}
    assert found & (needless | set(SLOW[suffix].split())) == set()
    own = [name for name in found if name.startswith("tenun.")]
    assert len(own) <= MOST[suffix], (len(own), sorted(own))


TABLES = ("ir.op.OPS", "backends.numpy.registry.KERNELS", "layers.base.LAYERS", "frontends.onnx.registry.ROWS")


@pytest.mark.parametrize("table", TABLES)
def test_contents_of_tables_say_where_rows_are(table: str) -> None:
    """Each row is found by its name alone, with all there is of it, and the contents list no others."""
    module, _, name = table.rpartition(".")
    code = f"""
from tenun.{module} import {name} as table
size = lambda row: len(row) if isinstance(row, list) else 1
found = {{key: size(table[key]) for key in table.homes}}
assert {{key: size(row) for key, row in table.items()}} == found, set(table) ^ set(found)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_op_has_a_row_in_every_table() -> None:
    """Prints the matrix op × concern (pytest -s shows it) and fails on a hole that is not declared."""
    from tenun.passes.autodiff.rules import NOT_DIFFERENTIABLE, RULES

    tables = {
        "doc": {n: "x" for n, op in OPS.items() if op.doc},
        "kernel": dict.fromkeys(KERNELS, "x"),
        "gradient": {**dict.fromkeys(RULES, "x"), **dict.fromkeys(NOT_DIFFERENTIABLE, "none")},
    }
    print(f"{'op':<24}{'family':<14}" + "".join(f"{c:<10}" for c in tables))
    for name, op in sorted(OPS.items(), key=lambda item: (item[1].family, item[0])):
        marks = "".join(f"{rows.get(name, 'HOLE')[:40]:<10}" for rows in tables.values())
        print(f"{name:<24}{op.family:<14}{marks}")
    for concern, rows in tables.items():
        assert set(rows) == set(OPS), f"{concern}: {set(rows) ^ set(OPS)}"


def test_ops_and_kernels_mirror_each_other() -> None:
    """The kernel of an op stands in the file that is called as the op's family."""
    homes = {name: row.call.__module__.rpartition(".")[2] for name, row in KERNELS.items()}
    apart = {"resize": "resize", "max_pool_indices": "pool_indices"}  # long kernels with a file of their own
    apart |= dict.fromkeys(("lstm_grad", "gru_grad", "rnn_grad"), "recurrent_grad")
    apart |= dict.fromkeys(("max_pool_record", "max_pool_grad", "max_pool_pick", "avg_pool_grad"), "pool_grad")
    apart |= {"conv_weight_grad": "conv_grad", "resize_grad": "resize", "cast": "casts", "bit_cast": "casts"}
    apart |= {"chain": "chains"}
    wrong = {
        name: (op.family, homes[name])
        for name, op in OPS.items()
        if name in homes and homes[name] not in (op.family, apart.get(name)) and not homes[name].startswith("_")
    }
    assert not {n: w for n, w in wrong.items() if w[1] not in ("registry", "functools")}, wrong
