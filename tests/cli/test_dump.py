"""`tenun dump`: forms, passes, weights, parts, the page; what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import tenun
from tenun.cli import graphs
from tenun.cli.commands.dump import Format
from tenun.debug import profile as profile_module
from tenun.debug.listing import listing
from tenun.debug.part import around, layer
from tenun.debug.roofline import LEVELS, Machine

Command = Any
DEMO = Path(tenun.__file__).parent / "demo"
DIGITS = DEMO / "digits_cnn.keras"


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured, nothing kept."""
    figures = dict.fromkeys(LEVELS, (1000000000.0, 1000000000.0))
    monkeypatch.setattr(profile_module, "machine", lambda: Machine("test", 1, {"float32": (1e9, 1e9)}, figures))


def test_each_form(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    text = tenun_command("dump", model)
    assert text.status == 0 and tenun.parse(text.out, tenun.load(model).weights) == tenun.compile(model).optimized
    assert tenun_command("dump", model, "--format", "dot").out.startswith("digraph")
    assert tenun_command("dump", model, "--format", "mermaid").out.startswith("flowchart")
    assert json.loads(tenun_command("dump", model, "-f", "json").out)["name"] == "pixels"
    assert tenun_command("dump", model, "-f", "svg", "-o", tmp_path / "g.svg").out == ""
    ET.fromstring((tmp_path / "g.svg").read_bytes())


def test_raw_and_after(tenun_command: Command, model: Path) -> None:
    assert tenun.parse(tenun_command("dump", model, "--raw").out).outputs
    assert tenun_command("dump", model, "--after", "fold").out == tenun_command("dump", model, "--after", "fold:1").out
    assert tenun_command("dump", model, "--after", "dce:2").out == tenun_command("dump", model).out


@pytest.mark.parametrize("mode", ["none", "hash", "stats", "full"])
def test_weights(tenun_command: Command, model: Path, mode: str) -> None:
    graph = tenun.load(model)
    assert tenun_command("dump", model, "--raw", "--weights", mode).out == listing(graph, mode) + "\n"
    found = json.loads(tenun_command("dump", model, "--raw", "-f", "json", "--weights", mode).out)["constants"][0]
    assert ("statistics" in found, "elements" in found) == (mode == "stats", mode == "full")


def test_parts(tenun_command: Command) -> None:
    graph = tenun.load(DIGITS)
    assert tenun_command("dump", DIGITS, "--raw", "--layer", "dense").out == f"{layer(graph, 'dense')}\n"
    found = tenun_command("dump", DIGITS, "--raw", "--around", "pool_1", "--radius", 2).out
    assert found == f"{around(graph, 'pool_1', 2)}\n"
    assert tenun_command("dump", DIGITS, "--around", "conv_2", "-f", "dot").out.count(" -> ") == 4
    assert "hint: layers: conv_2, conv_1" in tenun_command("dump", DIGITS, "--layer", "conv_9").error
    assert "no value or layer is called 'x'" in tenun_command("dump", DIGITS, "--around", "x").error
    assert "exclude each other" in tenun_command("dump", DIGITS, "--around", "x", "--layer", "x").error


def test_a_terminal_gets_colours(tenun_command: Command, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = tenun_command("dump", model).out
    terminal = Console(force_terminal=True, width=40, color_system="standard", no_color=False, highlight=False)
    monkeypatch.setattr("tenun.cli.commands.dump.screen", lambda stderr=False: terminal)
    with terminal.capture() as captured:
        tenun_command("dump", model)
    shown = captured.get()
    assert "\x1b[" in shown and "\x1b[" not in plain
    assert "".join(part.partition("m")[2] if i else part for i, part in enumerate(shown.split("\x1b["))) == plain


def test_the_page(tenun_command: Command, tmp_path: Path) -> None:
    result = tenun_command("dump", DIGITS, "--html", tmp_path / "digits.html", "--batch", 3)
    assert result.status == 0 and result.out == f"wrote {tmp_path / 'digits.html'}\n"
    page = (tmp_path / "digits.html").read_text()
    assert page.startswith("<!doctype html>") and '"image":"float32[3, 8, 8, 1]"' in page
    tenun_command("profile", DIGITS, "--rounds", 1, "--html", tmp_path / "time.html")
    assert '"first":"profile"' in (tmp_path / "time.html").read_text()


def test_what_is_refused(tenun_command: Command, model: Path, tmp_path: Path) -> None:
    error = tenun_command("dump", model, "--after", "magic").error
    assert "pass 'magic' is not in the pipeline" in error and "hint: passes: fold, dce" in error
    assert "has 2 turns" in tenun_command("dump", model, "--after", "dce:9").error
    assert "exclude each other" in tenun_command("dump", model, "--after", "dce", "--raw").error
    assert "does not go with" in tenun_command("dump", model, "--weights", "stats", "-f", "dot").error
    assert "cannot write the file" in tenun_command("dump", model, "-o", tmp_path / "none" / "x").error
    assert "cannot write the file" in tenun_command("dump", model, "--html", tmp_path / "none" / "x.html").error
    assert "--html shows the whole model" in tenun_command("dump", model, "--html", "x.html", "--raw").error
    assert "--html shows the whole model" in tenun_command("dump", model, "--html", "x.html", "-o", "y.txt").error
    assert "--radius goes with --around" in tenun_command("dump", model, "--radius", 2).error
    assert "--batch goes with --html" in tenun_command("dump", model, "--batch", 2).error
    assert tenun_command("dump", model, "--weights", "some").status == 2


def test_forms_are_those_of_the_command() -> None:
    graph = tenun.load(DIGITS)
    assert all(graphs.rendered(graph, form.value, None) for form in Format)
