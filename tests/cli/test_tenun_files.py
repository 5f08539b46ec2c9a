"""`.tenun` files: round trips, damage, atomic writes, memory-mapped weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import tenun
from tenun.errors import LoadError, TenunError, UnsupportedError
from tenun.files import write_atomically
from tenun.ir import Builder, Graph, Tensor, symbol
from tenun.ir.types import f32

N = symbol("N")


def network(seed: int = 0) -> Graph:
    b = Builder(Graph("net"))
    x = b.input("x", Tensor(f32, (N, 30)))
    data = np.random.default_rng(seed).standard_normal((30, 40)).astype(np.float32)
    return b.outputs(b.relu(b.matmul(x, b.constant(data, "dense.kernel"))), names=["y"])


def zoo() -> Graph:
    """Constants of many dtypes, more than the text writes out."""
    b = Builder(Graph("zoo"))
    numbers = np.arange(40) % 2
    kinds = ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64"]
    values = [b.constant(numbers.astype(k), k) for k in kinds]
    values += [b.constant(numbers.astype(getattr(ml_dtypes, k)), k) for k in ("bfloat16", "int4", "float8_e4m3fn")]
    values.append(b.constant(np.array([f"s{i} ä\n" for i in range(40)], object).reshape(5, 8), "strings"))
    values.append(b.constant(np.zeros((0, 3), np.float32), "nothing"))
    return b.outputs(*values)


@pytest.mark.parametrize("make", [network, zoo])
def test_round_trip(tmp_path: Path, make: Any) -> None:
    graph = make()
    tenun.save(graph, tmp_path / "g.tenun")
    for again in (tenun.load(tmp_path / "g.tenun"), tenun.load((tmp_path / "g.tenun").read_bytes())):
        assert again == graph
        for name, data in graph.weights.items():
            assert again.weights[name].dtype == data.dtype
            np.testing.assert_array_equal(again.weights[name], data)
    tenun.save(again, tmp_path / "again.tenun")
    assert (tmp_path / "again.tenun").read_bytes() == (tmp_path / "g.tenun").read_bytes()


def test_an_executable_is_saved_as_loaded(tmp_path: Path) -> None:
    tenun.save(tenun.compile(network()), tmp_path / "g.tenun")
    assert tenun.load(tmp_path / "g.tenun") == network()


def test_the_file_is_a_safetensors_file(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    graph = network()
    tenun.save(graph, tmp_path / "g.tenun")
    found = numpy.load_file(tmp_path / "g.tenun")
    np.testing.assert_array_equal(found["dense.kernel"], graph.weights["dense.kernel"])


def test_weights_are_memory_mapped_aligned_and_read_only(tmp_path: Path) -> None:
    for make in (network, zoo):
        tenun.save(make(), tmp_path / "g.tenun")
        weights = tenun.load(tmp_path / "g.tenun").weights
        assert all(w.flags.aligned and not w.flags.writeable for w in weights.values())
    tenun.save(network(), tmp_path / "g.tenun")
    base: Any = tenun.load(tmp_path / "g.tenun").weights["dense.kernel"]
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_a_file_that_is_replaced_does_not_disturb_its_readers(tmp_path: Path) -> None:
    tenun.save(network(0), tmp_path / "g.tenun")
    first = tenun.load(tmp_path / "g.tenun")
    tenun.save(network(1), tmp_path / "g.tenun")
    assert first == network(0) and tenun.load(tmp_path / "g.tenun") == network(1)


def saved(tmp_path: Path) -> bytes:
    tenun.save(network(), tmp_path / "g.tenun")
    return (tmp_path / "g.tenun").read_bytes()


@pytest.mark.broken_graphs
def test_truncated_files(tmp_path: Path) -> None:
    whole = saved(tmp_path)
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        (tmp_path / "cut.tenun").write_bytes(whole[:length])
        with pytest.raises(LoadError) as caught:
            tenun.load(tmp_path / "cut.tenun")
        assert caught.value.file == str(tmp_path / "cut.tenun")


def with_header(whole: bytes, change: Any) -> bytes:
    """The file with another header: `change` takes and returns the parsed one."""
    length = int.from_bytes(whole[:8], "little")
    header = json.dumps(change(json.loads(whole[8 : 8 + length]))).encode()
    return len(header).to_bytes(8, "little") + header + whole[8 + length :]


def entry(**changes: Any) -> Any:
    def change(header: dict[str, Any]) -> dict[str, Any]:
        return {**header, "dense.kernel": {**header["dense.kernel"], **changes}}

    return change


def metadata(value: Any) -> Any:
    return lambda header: {**header, "__metadata__": value}


DAMAGES = {
    "offset beyond the end": entry(data_offsets=[0, 1 << 40]),
    "offsets backwards": entry(data_offsets=[4800, 0]),
    "negative offset": entry(data_offsets=[-4800, 0]),
    "offsets shifted": entry(data_offsets=[4, 4804]),
    "one offset": entry(data_offsets=[0]),
    "offsets are words": entry(data_offsets=["a", "b"]),
    "too small for its shape": entry(data_offsets=[0, 400]),
    "another shape": entry(shape=[40, 30]),
    "negative shape": entry(shape=[-30, -40]),
    "huge shape": entry(shape=[1 << 62, 1 << 62]),
    "unknown dtype": entry(dtype="F7"),
    "another dtype": entry(dtype="I32"),
    "no object": lambda header: {**header, "dense.kernel": 5},
    "no graph": metadata({}),
    "no metadata": metadata(None),
    "metadata is a word": metadata("graph"),
    "graph is a number": metadata({"graph": 5}),
    "graph is nonsense": metadata({"graph": "graph of nonsense"}),
    "graph is cut": metadata({"graph": 'graph "g" (%x: f32[2]'}),
}


@pytest.mark.broken_graphs
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_headers(tmp_path: Path, damage: str) -> None:
    (tmp_path / "bad.tenun").write_bytes(with_header(saved(tmp_path), DAMAGES[damage]))
    with pytest.raises(TenunError) as caught:
        tenun.load(tmp_path / "bad.tenun")
    assert caught.value.file == str(tmp_path / "bad.tenun")


@pytest.mark.broken_graphs
@pytest.mark.parametrize(
    "header", [b"{" + b"[" * 5000, b'{"a": ' * 20000, b"{}", b"{\xff\xfe}", b'{"a": NaN'], ids=range(5)
)
def test_garbage_headers(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "bad.tenun").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(LoadError):
        tenun.load(tmp_path / "bad.tenun")


@pytest.mark.broken_graphs
def test_a_missing_weight_is_noticed(tmp_path: Path) -> None:
    broken = with_header(saved(tmp_path), lambda h: {k: v for k, v in h.items() if k != "dense.kernel"})
    (tmp_path / "bad.tenun").write_bytes(broken)
    with pytest.raises(LoadError, match=r"dense\.kernel"):
        tenun.load(tmp_path / "bad.tenun")
    with pytest.raises(LoadError, match=r"@dense\.kernel: f32\[30, 40\] are missing"):
        tenun.save(tenun.parse(str(network())), tmp_path / "g.tenun")


def test_saving_refuses(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="cannot write '.txt' files"):
        tenun.save(network(), tmp_path / "g.txt")
    with pytest.raises(LoadError, match="folder does not exist"):
        tenun.save(network(), tmp_path / "none" / "g.tenun")


# ---- atomic writes


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tenun.save(network(0), tmp_path / "g.tenun")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TenunError, match="No space left on device") as caught:
        tenun.save(network(1), tmp_path / "g.tenun")
    assert caught.value.file == str(tmp_path / "g.tenun")
    assert [p.name for p in tmp_path.iterdir()] == ["g.tenun"]
    assert tenun.load(tmp_path / "g.tenun") == network(0)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(source: Any, target: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"data")
    assert not list(tmp_path.iterdir())


def test_links_folders_and_devices(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"new"
    write_atomically(os.devnull, b"data")
    with pytest.raises(TenunError, match="cannot write"):
        write_atomically(tmp_path, b"data")


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "x", b"data")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode
