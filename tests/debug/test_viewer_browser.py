"""The page in a real browser: it loads without an error, and click, keys, search and slider do what they should."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tenun
from tenun.debug.viewer import to_html
from tenun.tests.debug.models import HOSTILE, hostile, large, nested

DEMO = Path(tenun.__file__).parent / "demo"
Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a model; at the end, nothing may have gone wrong in it and nothing been asked of a network."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    wrong: list[str] = []

    def open_page(model: Any, pipeline: Any = "inference", **options: Any) -> Any:
        file = tmp_path / "model.html"
        exe = tenun.compile(model, pipeline=pipeline)
        file.write_text(to_html(exe, **{"rounds": 1, **options}), encoding="utf-8")
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=20_000)
        return page

    yield open_page
    context.close()
    assert wrong == []


def items(page: Any) -> dict[str, Any]:
    return {item["label"]: item for item in page.evaluate("tenun.items()")}


def click(page: Any, label: str, **options: Any) -> None:
    item = items(page)[label]
    header = min(item["h"] / 2, 8) if item["open"] else item["h"] / 2
    place = {"x": item["x"] + item["w"] / 2, "y": item["y"] + header}
    page.locator("#canvas").click(position=place, **options)


def details(page: Any) -> str:
    return page.locator("#details").inner_text()


def colours(png: bytes) -> int:
    """How many different lines of pixels a PNG has: an empty picture has one."""
    at, parts = 8, []
    while at < len(png):
        (length,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        parts += [png[at + 8 : at + 8 + length]] if kind == b"IDAT" else []
        at += 12 + length
    return len(set(zlib.decompress(b"".join(parts))))


def test_a_click_shows_a_node(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    assert colours(page.screenshot()) > 50
    click(page, "max_pool")
    text = details(page)
    assert text.startswith("max_pool") and "f32[1, " in text and "pool_" in text
    for part in ("result", "kernel", "time", "operands", "attributes", "window", "memory", "read by"):
        assert part in text
    page.locator("#details button", has_text="relu").first.click()  # the operand's maker
    assert details(page).startswith("conv + relu") and "elements" in details(page)
    assert page.locator("#details svg.histogram rect").count() >= 32


def test_the_slider_goes_through_the_passes(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    stages = page.evaluate("tenun.data.stages.map((s) => s.pass)")
    slider = page.locator("#stage")
    slider.fill("0")
    assert "as loaded" in page.locator("#stage-name").inner_text() and page.evaluate("tenun.marks()") == {}
    assert "batch_norm" in items(page)
    slider.fill(str(stages.index("batchnorm")))
    marks = page.evaluate("tenun.marks()")
    assert set(marks.values()) == {"added", "changed"} and "batch_norm" not in items(page)
    assert "removed: 4" in details(page)
    page.locator("#old").check()
    assert "removed" in page.evaluate("tenun.marks()").values() and "batch_norm" in items(page)
    page.keyboard.press("b")
    page.keyboard.press("[")
    assert page.locator("#stage").input_value() == "0"


def test_a_changed_node_tells_what_changed(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    stage = page.evaluate("tenun.data.stages.findIndex((s) => s.pass === 'batchnorm')")
    page.evaluate(f"tenun.setStage({stage})")
    changed = page.evaluate("Number(Object.entries(tenun.marks()).find(([, mark]) => mark === 'changed')[0])")
    page.evaluate(f"tenun.reveal({changed})")
    assert "changed by batchnorm" in details(page) and page.locator("#details del").count() >= 1


def test_search_finds_layers_ops_values_and_weights(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    for words, found in (
        ("dense.kernel", "matmul"),
        ("conv_2", "conv"),
        ("softmax", "softmax"),
        ("f32[1, 2, 2", "max_pool"),
    ):
        page.locator("#canvas").press("/")
        page.keyboard.type(words)
        assert page.locator("#hits [role=option]").count() >= 1
        page.keyboard.press("Enter")
        assert details(page).startswith(found)
        page.locator("#search").fill("")
    page.locator("#search").fill("no such thing")
    assert page.locator("#hits").inner_text() == "0 found"


def test_layers_close_and_open(opened: Open) -> None:
    page = opened(nested(), pipeline=["dce"])
    assert {"outer", "inner", "dense"} <= items(page).keys() and items(page)["outer"]["open"]
    page.keyboard.press("c")
    found = items(page)
    assert not found["outer"]["open"] and "inner" not in found
    assert sorted(map(tuple, page.evaluate("tenun.edges()"))).count(("#0", "/outer")) == 1
    click(page, "outer")
    assert "nodes" in details(page) and "weights" in details(page)
    page.locator("#canvas").press("Enter")
    assert items(page)["outer"]["open"] and not items(page)["inner"]["open"]
    click(page, "inner", click_count=2)
    assert items(page)["inner"]["open"]
    page.keyboard.press("e")
    assert all(item["open"] for item in items(page).values() if item["label"] in ("outer", "inner", "dense", "again"))


def test_boxes_do_not_overlap_and_lie_in_their_layer(opened: Open) -> None:
    page = opened(nested(), pipeline=["dce"])
    found = page.evaluate("tenun.items()")
    closed = [item for item in found if not item["open"]]
    for i, a in enumerate(closed):
        for b in closed[:i]:
            aside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert aside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)
    outer = next(item for item in found if item["key"] == "/outer")
    for item in found:
        if item["key"].startswith("/outer/"):
            assert outer["x"] <= item["x"] and item["x"] + item["w"] <= outer["x"] + outer["w"]
            assert outer["y"] <= item["y"] and item["y"] + item["h"] <= outer["y"] + outer["h"]


def test_keys_walk_along_edges_zoom_and_choose_nothing(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    click(page, "image")
    page.locator("#canvas").press("ArrowDown")
    assert details(page).startswith("conv")
    page.locator("#canvas").press("ArrowUp")
    assert details(page).startswith("input image")
    before = page.evaluate("tenun.state.zoom")
    page.keyboard.press("+")
    assert page.evaluate("tenun.state.zoom") > before
    page.keyboard.press("Escape")
    assert page.evaluate("tenun.state.selected") is None and details(page).startswith("planned")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()


def test_dragging_and_the_wheel_move_the_picture(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    x, y, zoom = page.evaluate("[tenun.state.x, tenun.state.y, tenun.state.zoom]")
    page.mouse.move(100, 300)
    page.mouse.down()
    page.mouse.move(160, 340, steps=4)
    page.mouse.up()
    assert page.evaluate("[tenun.state.x, tenun.state.y]") == [x + 60, y + 40]
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"tenun.state.zoom > {zoom}")


def test_memory_and_time_are_drawn(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    page.locator("#tab-memory").click()
    shapes = page.locator("#view-memory rect.shape")
    assert shapes.count() == page.evaluate("tenun.data.memory.buffers.length")
    shapes.first.click()
    assert details(page).startswith("buffer")
    page.keyboard.press("p")
    rows = page.evaluate("tenun.data.profile.nodes.length")
    assert page.locator("#view-profile .flame rect").count() > rows
    assert 0 < page.locator("#view-profile circle").count() <= rows
    page.locator("#view-profile td button").first.click()
    assert page.locator("#view-graph").is_visible() and "kernel" in details(page)


def test_light_and_dark(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras", first="profile")
    assert page.locator("#view-profile").is_visible()
    shade = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]", timeout=5000)
    assert page.evaluate(shade) == "rgb(18, 22, 28)"
    page.keyboard.press("t")
    assert page.evaluate(shade) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="light")
    page.emulate_media(color_scheme="dark")  # what was chosen by hand stays
    assert page.evaluate(shade) == "rgb(255, 255, 255)"


def test_the_map_shows_where_one_is_and_leads_elsewhere(opened: Open) -> None:
    page = opened(DEMO / "digits_cnn.keras")
    place = page.locator("#map").bounding_box()
    assert place["width"] >= 40 and place["height"] >= 40  # a long chain, too, can be hit with a pointer
    page.keyboard.press("+")
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + 2)
    page.mouse.down()
    above = page.evaluate("tenun.state.y")
    page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] - 2)
    page.mouse.up()
    assert page.evaluate("tenun.state.y") < above


def test_hostile_names_are_only_shown(opened: Open) -> None:
    page = opened(hostile())
    for view in ("memory", "profile", "graph"):
        page.locator(f"#tab-{view}").click()
    page.locator("#search").fill("script")
    for stage in range(page.evaluate("tenun.data.stages.length")):
        page.evaluate(f"tenun.setStage({stage})")
        for item in page.evaluate("tenun.items()"):
            page.evaluate("(key) => tenun.select(key)", item["key"])
    page.evaluate("tenun.setStage(0); tenun.reveal(tenun.data.boxes.find((b) => b.op === 'matmul').id)")
    assert HOSTILE[0] in details(page)
    assert page.evaluate("window.broken") is None
    assert page.locator("img, svg[onload]").count() == 0 and page.locator("script").count() == 2


@pytest.mark.parametrize(
    "text",
    [
        'graph "empty" (%x: f32[2]) -> (%x: f32[2]) {\n}',
        'graph "alone" () -> (%c: f32[2]) {\n  @a: f32[2] = [1.0, 2.0]\n  %c: f32[2] = exp(@a)\n}',
        'graph "unranked" (%x: f32[*]) -> (%y: f32[*]) {\n  %y: f32[*] = relu(%x)\n}',
    ],
)
def test_odd_graphs_are_shown(opened: Open, text: str) -> None:
    page = opened(tenun.parse(text))
    for view in ("memory", "profile", "graph"):
        page.locator(f"#tab-{view}").click()
        assert page.locator(f"#view-{view}").is_visible()
    for stage in range(page.evaluate("tenun.data.stages.length")):
        page.evaluate(f"tenun.setStage({stage})")
        for item in page.evaluate("tenun.items()"):
            assert all(abs(item[key]) < 1e6 for key in ("x", "y", "w", "h"))  # numbers, and not NaN


@pytest.mark.slow
def test_densenet_opens_in_three_seconds(browser: Any, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    file = tmp_path / "densenet.html"
    keras.applications.DenseNet121(weights=None).save(tmp_path / "densenet.keras")
    file.write_text(to_html(tenun.compile(tmp_path / "densenet.keras"), rounds=1), encoding="utf-8")
    assert file.stat().st_size < 15_000_000
    page = browser.new_page()
    start = time.perf_counter()
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]")
    assert time.perf_counter() - start < 3
    assert colours(page.screenshot()) > 50
    page.close()


def test_five_thousand_nodes_are_shown_soon(opened: Open) -> None:
    start = time.perf_counter()
    page = opened(large(1000), pipeline=["dce"], rounds=0)
    assert time.perf_counter() - start < 60
    assert page.evaluate("tenun.data.stages[0].boxes.length") > 5000
    first = page.evaluate("tenun.items().length")
    assert 10 < first < 600  # layers are closed as long as there would be too many boxes
    took = page.evaluate("(() => { const t = performance.now(); tenun.setStage(0); return performance.now() - t; })()")
    assert took < 20_000  # no more than a bound on what is quadratic
    page.keyboard.press("e")
    assert page.evaluate("tenun.items().length") > 5000
    page.keyboard.press("0")
    assert colours(page.screenshot()) > 10
