"""`tenun run`: every kind of input and output, and what is said about bad ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Command = Any


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 4, 6, 3)).astype(np.uint8)


def sums_of(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64).sum((1, 2))


def outputs(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def test_npy(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(3))
    result = tenun_command("run", model, tmp_path / "x.npy", "-o", tmp_path / "out.npz")
    assert result.status == 0 and "sums: float32[3, 3]" in result.out and not result.err
    np.testing.assert_allclose(outputs(tmp_path / "out.npz")["sums"], sums_of(images(3)), rtol=1e-6)


def test_one_sample_needs_no_batch_axis(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(1)[0])
    assert tenun_command("run", model, tmp_path / "x.npy", "-o", tmp_path / "out.npy").status == 0
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), sums_of(images(1)), rtol=1e-6)


def test_npz_and_scale_and_batches(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", train=images(2), test=images(7))
    arguments = (f"{tmp_path / 'x.npz'}:test", "--scale", 0.5, "--batch", 3, "-o", tmp_path / "out.npz")
    assert tenun_command("run", model, *arguments).status == 0
    np.testing.assert_allclose(outputs(tmp_path / "out.npz")["sums"], sums_of(images(7)) / 2, rtol=1e-6)


@pytest.mark.parametrize("heading", ["", "a,b,c\n"])
def test_csv(tenun_command: Command, model: Path, tmp_path: Path, heading: str) -> None:
    lines = "\n".join(",".join(map(str, row)) for row in images(2).reshape(2, -1))
    (tmp_path / "x.csv").write_text(heading + lines + "\n")
    assert tenun_command("run", model, tmp_path / "x.csv", "-o", tmp_path / "out.npz").status == 0
    np.testing.assert_allclose(outputs(tmp_path / "out.npz")["sums"], sums_of(images(2)), rtol=1e-6)


def test_images_are_samples(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for i, pixels in enumerate(images(2)):
        image.fromarray(pixels).save(tmp_path / f"{i}.png")
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    assert tenun_command("run", model, *files, "-o", tmp_path / "out.npz").status == 0
    np.testing.assert_allclose(outputs(tmp_path / "out.npz")["sums"], sums_of(images(2)) / 255, rtol=1e-5)


def test_images_take_the_size_and_mode_of_the_input(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (60, 40), 51).save(tmp_path / "grey.jpg")
    assert tenun_command("run", model, tmp_path / "grey.jpg", "-o", tmp_path / "out.npz").status == 0
    np.testing.assert_allclose(outputs(tmp_path / "out.npz")["sums"], np.full((1, 3), 24 * 0.2), rtol=1e-5)


def test_images_need_pillow(tenun_command: Command, model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    assert "hint: pip install pillow" in tenun_command("run", model, tmp_path / "x.png").error


def test_inputs_by_name(tenun_command: Command, two: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([[0, 1], [4, 2]]))
    np.save(tmp_path / "x.npy", np.ones((2, 2), np.float32))
    arguments = ("-i", f"x={tmp_path / 'x.npy'}", "--input", f"tokens={tmp_path / 't.npy'}")
    assert tenun_command("run", two, *arguments, "-o", tmp_path / "out.npz").status == 0
    assert outputs(tmp_path / "out.npz")["sum"].tolist() == [[1, 11], [41, 21]]
    assert outputs(tmp_path / "out.npz")["file"].tolist() == [[0, 10], [40, 20]]
    assert tenun_command("run", two, tmp_path / "t.npy", tmp_path / "x.npy").status == 0


def test_one_npz_serves_all_inputs(tenun_command: Command, two: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", x=np.ones((2, 2), np.float32), tokens=np.array([[0, 1], [4, 2]]))
    assert tenun_command("run", two, tmp_path / "all.npz", "-o", tmp_path / "out.npz").status == 0
    assert outputs(tmp_path / "out.npz")["sum"].tolist() == [[1, 11], [41, 21]]


def test_random_inputs_are_seeded(tenun_command: Command, two: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        arguments = ("--random", "--batch", 4, "--seed", seed, "-o", tmp_path / f"{name}.npz")
        assert tenun_command("run", two, *arguments).status == 0
    a, b, c = (outputs(tmp_path / f"{name}.npz")["sum"] for name in "abc")
    assert a.shape == (4, 2) and (a == b).all() and (a != c).any()


def test_one_input_given_and_one_made_up(tenun_command: Command, two: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    arguments = ("-i", f"x={tmp_path / 'x.npy'}", "-i", "tokens=random", "-o", tmp_path / "out.npz")
    assert tenun_command("run", two, *arguments).status == 0
    assert outputs(tmp_path / "out.npz")["sum"].shape == (3, 2)


def test_tables_labels_and_times(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue [x]\n")
    (tmp_path / "labels.json").write_text(json.dumps(["rot", "gruen", "blau"]))
    x = np.zeros((12, 4, 6, 3), np.float32)
    x[..., 2], x[..., 0] = 2, 1
    np.save(tmp_path / "x.npy", x)
    table = tenun_command("run", model, tmp_path / "x.npy", "--labels", tmp_path / "labels.txt", "--top-k", 2, "--time")
    assert table.status == 0
    assert "blue [x]  48" in table.out and "red  24" in table.out and "green" not in table.out
    assert "2 more samples" in table.out and "median" in table.out and "compile" in table.out
    assert "blau  48" in tenun_command("run", model, tmp_path / "x.npy", "--labels", tmp_path / "labels.json").out
    plain = tenun_command("run", model, tmp_path / "x.npy", "--threads", 1)
    assert "sums: float32[12, 3]  min 0  mean 24  max 48" in plain.out


def test_bad_inputs(tenun_command: Command, model: Path, two: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wrong.npy", np.ones((2, 5, 6, 3), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}, []], object), allow_pickle=True)
    np.savez(tmp_path / "several.npz", a=np.ones(1), b=np.ones(1))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "wrong.npy").read_bytes()[:150])
    (tmp_path / "no.npz").write_bytes(b"PK nonsense")
    (tmp_path / "words.csv").write_text("one,two\nthree,four\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "x.txt").write_text("1")

    def error(*arguments: object) -> str:
        return str(tenun_command("run", *arguments).error)

    assert "no file for input 'image'" in error(model)
    assert "image: f32[N, 4, 6, 3]" in error(model)
    assert "the file does not exist" in error(model, tmp_path / "none.npy")
    assert "expected f32[N, 4, 6, 3], got f32[2, 5, 6, 3]" in error(model, tmp_path / "wrong.npy")
    assert "no input 'picture'" in error(model, "-i", f"picture={tmp_path / 'wrong.npy'}")
    assert "no input 'picture'" in error(model, "-i", "picture=random")
    assert "not of the form NAME=FILE" in error(model, "-i", "image")
    assert "given twice" in error(model, "-i", "image=random", "-i", "image=random")
    assert "cannot read the .npy file" in error(model, tmp_path / "objects.npy")
    assert "cannot read the .npy file" in error(model, tmp_path / "cut.npy")
    assert "cannot read the .npz file" in error(model, tmp_path / "no.npz")
    assert "several arrays" in error(model, tmp_path / "several.npz")
    assert "no array 'c'" in error(model, f"{tmp_path / 'several.npz'}:c")
    assert "cannot read the .csv file" in error(model, tmp_path / "words.csv")
    assert "cannot read the .csv file" in error(model, tmp_path / "empty.csv")
    assert "cannot read inputs from .txt files" in error(model, tmp_path / "x.txt")
    assert "3 files for 2 inputs" in error(two, *[tmp_path / "wrong.npy"] * 3)
    assert "no file for input 'x'" in error(two, "-i", "tokens=random")


def test_bad_outputs_and_labels(tenun_command: Command, model: Path, two: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    made = ("--random", "--batch", 1)
    assert "cannot write the file" in tenun_command("run", model, *made, "-o", tmp_path / "none" / "out.npz").error
    assert "use .npz" in tenun_command("run", model, *made, "-o", tmp_path / "out.xls").error
    assert "use .npz" in tenun_command("run", two, *made, "-o", tmp_path / "out.npy").error
    assert "2 labels for the 3 classes" in tenun_command("run", model, *made, "--labels", tmp_path / "labels.txt").error
    assert "cannot read the labels" in tenun_command("run", model, *made, "--labels", tmp_path / "none.txt").error


def test_a_broken_image(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert "cannot read the .png file" in tenun_command("run", model, tmp_path / "x.png").error
