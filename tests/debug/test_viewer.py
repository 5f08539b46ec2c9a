"""The page of a model: its data, and that it is whole, alone, and safe whatever the names are.  No browser needed."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenun
from tenun.debug.viewer import LOADED, PLANNED, SCRIPTS, to_html, view_data
from tenun.ir import Builder, Graph, Tensor
from tenun.ir.types import f32
from tenun.tests.debug.models import HOSTILE, hostile, large, nested

DEMO = Path(tenun.__file__).parent / "demo"


class Page(HTMLParser):
    """The elements of a page with their attributes, and the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.elements[-1][0] if self.elements else "", data))

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag and text.strip()]


def data_of(model: Any, **options: Any) -> dict[str, Any]:
    return json.loads(json.dumps(view_data(tenun.compile(model), **{"rounds": 1, **options})))


@pytest.fixture(scope="module")
def digits() -> dict[str, Any]:
    return data_of(DEMO / "digits_cnn.keras")


# ---- the page


def test_the_page_is_alone() -> None:
    page = Page(to_html(tenun.compile(nested()), rounds=1))
    assert [script.get("type") for script in page.all("script")] == ["application/json", None]
    assert not [e for e in page.elements if {"src", "srcset", "style"} & e[1].keys()]
    assert [e["href"] for e in page.all("link")] == ["data:,"]
    policy = next(e["content"] for e in page.all("meta") if e.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    for text in (page.text("style")[0], page.text("script")[1]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text


def test_hostile_names_stay_in_the_data() -> None:
    exe = tenun.compile(hostile())
    plain, page = Page(to_html(tenun.compile(nested()), rounds=1)), Page(to_html(exe, rounds=1))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.text("title") == [f"{HOSTILE[0]} - tenun"]
    data = json.loads(page.text("script")[0])
    assert data["name"] == HOSTILE[0]
    labels = {name for name, _ in data["values"]} | {box["op"] for box in data["boxes"]}
    assert {f"@{HOSTILE[0]}", f"%{HOSTILE[1]}", HOSTILE[2]} <= labels


def test_the_script_writes_no_markup() -> None:
    files = list((Path(tenun.__file__).parent / "debug" / "viewer").glob("*.js"))
    assert {file.name for file in files} == set(SCRIPTS)
    script = "".join(file.read_text() for file in files)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "new Function",
        "fetch(",
        "import(",
    ):
        assert word not in script


def test_the_data_of_a_model_is_small() -> None:
    assert len(to_html(tenun.compile(DEMO / "digits_bilstm.keras"))) < 150_000


# ---- stages


def boxes(data: dict[str, Any], stage: int) -> dict[int, dict[str, Any]]:
    return {data["boxes"][i]["id"]: data["boxes"][i] for i in data["stages"][stage]["boxes"]}


def test_stages_are_the_passes_that_changed_something(digits: dict[str, Any]) -> None:
    exe = tenun.compile(DEMO / "digits_cnn.keras")
    changing = [record.name for record in exe.records if record.changes]
    assert [stage["pass"] for stage in digits["stages"]] == [LOADED, *changing, PLANNED]
    nodes = [r.nodes for r in exe.records if r.changes]
    counts = [sum(b["kind"] == "op" for b in boxes(digits, i).values()) for i in range(len(digits["stages"]))]
    assert counts[0] == len(exe.graph) and counts[1:-1] == nodes


@pytest.mark.parametrize("make", [nested, hostile], ids=lambda f: f.__name__)
def test_every_value_that_is_read_is_made_or_constant(make: Any) -> None:
    data = data_of(make())
    for stage in range(len(data["stages"])):
        found = boxes(data, stage)
        assert len(found) == len(data["stages"][stage]["boxes"])
        made = {v for box in found.values() for v in box["out"]}
        read = {v for box in found.values() for v in box["in"] if v is not None}
        assert {v for v in read - made if not data["values"][v][0].startswith("@")} == set()


def test_a_node_keeps_its_number_while_it_lives(digits: dict[str, Any]) -> None:
    """The second pooling is touched by no pass: it is one box from the file to the plan."""
    pools = [{i for i, b in boxes(digits, s).items() if b["op"] == "max_pool"} for s in range(len(digits["stages"]))]
    assert all(each == pools[0] for each in pools) and len(pools[0]) == 2


def test_what_a_pass_removes_is_gone(digits: dict[str, Any]) -> None:
    names = [stage["pass"] for stage in digits["stages"]]
    after = names.index("batchnorm")
    assert "batch_norm" in {b["op"] for b in boxes(digits, after - 1).values()}
    assert "batch_norm" not in {b["op"] for b in boxes(digits, after).values()}
    assert boxes(digits, 0).keys() - boxes(digits, after).keys()


def test_subgraphs_are_groups_of_their_node() -> None:
    data = data_of(nested(), rounds=0)
    loaded = boxes(data, 0)
    (branch,) = (b for b in loaded.values() if b["op"] == "if")
    inner = {b["op"]: b for b in loaded.values() if any(": then" in part for part in b["group"])}
    assert {"exp", "v"} <= inner.keys() and inner["v"]["id"] in branch["inner"]
    assert inner["exp"]["group"][:1] == ["branch"]
    planned = boxes(data, len(data["stages"]) - 1)
    assert {i for i, b in loaded.items() if b["op"] == "exp"} <= planned.keys()


# ---- weights, memory, time


def test_weights_have_statistics(digits: dict[str, Any]) -> None:
    by_name = {digits["values"][int(v)][0]: w for v, w in digits["weights"].items()}
    kernel = tenun.load(DEMO / "digits_cnn.keras").weights["dense.kernel"]
    found = by_name["@dense.kernel"]
    assert found["size"] == kernel.size and sum(found["histogram"]) == kernel.size
    np.testing.assert_allclose((found["min"], found["std"]), (kernel.min(), kernel.std()), rtol=1e-5)


def test_the_memory_plan_is_the_executables(digits: dict[str, Any]) -> None:
    exe = tenun.compile(DEMO / "digits_cnn.keras")
    plan, shown = exe.plan(np.zeros((1, 8, 8, 1), np.float32)), digits["memory"]
    assert (shown["total"], shown["bound"], shown["height"]) == (plan.memory.total, plan.memory.bound, plan.arena.peak)
    assert sum(shown["scratch"]) == sum(plan.arena.needs.values()) > 0
    assert len(shown["buffers"]) == len(plan.roots) and len(shown["nodes"]) == len(plan.graph)
    for i, a in enumerate(shown["buffers"]):
        assert a["offset"] >= 0 and a["offset"] + a["size"] <= shown["height"]
        for b in shown["buffers"][:i]:
            apart = a["last"] < b["first"] or b["last"] < a["first"]
            assert apart or a["offset"] + a["size"] <= b["offset"] or b["offset"] + b["size"] <= a["offset"]
    last = boxes(digits, len(digits["stages"]) - 1)
    assert {b["box"] for b in shown["buffers"] if b["op"] != "input"} <= last.keys()


def test_times_are_of_boxes_of_the_plan(digits: dict[str, Any]) -> None:
    last = boxes(digits, len(digits["stages"]) - 1)
    rows = digits["profile"]["nodes"]
    assert rows and all(last[row["box"]]["op"] == row["op"] for row in rows)
    assert sum(row["share"] for row in rows) == pytest.approx(1)


def test_what_cannot_be_planned_is_shown_all_the_same() -> None:
    b = Builder(Graph("unranked"))
    data = data_of(b.outputs(b.relu(b.input("x", Tensor(f32, None)))))
    assert "rank is not known" in data["missing"][0] and "memory" not in data
    assert data["stages"][0]["pass"] == LOADED


def test_a_batch_that_is_cut_and_a_state_are_shown() -> None:
    exe = tenun.compile(DEMO / "digits_cnn.keras")
    data = view_data(exe, {"image": np.zeros((512, 8, 8, 1), np.float32)}, rounds=1)
    assert data["profile"]["shards"] > 1 and not data["missing"]
    assert all(row["box"] is not None for row in data["profile"]["nodes"])


def test_a_profile_that_there_is_is_taken() -> None:
    exe = tenun.compile(DEMO / "digits_cnn.keras")
    inputs = {"image": np.zeros((2, 8, 8, 1), np.float32)}
    found = exe.profile(rounds=1, **inputs)
    assert view_data(exe, inputs, found=found)["profile"]["run_seconds"] == found.run_seconds
    assert "profile" not in view_data(exe, inputs, rounds=0)


def test_large_graphs_are_written_soon() -> None:
    graph = large(200)
    assert len(graph) == 1000
    assert len(to_html(tenun.compile(graph, pipeline=["dce"]), rounds=1)) < 2_000_000
