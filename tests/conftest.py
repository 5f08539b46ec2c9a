"""What every test has: each graph made in it must survive printing and parsing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from tenun.ir.graph import Graph
from tenun.ir.text import parse
from tenun.ir.verify import difference

# A busy machine is no failure, and CI tries the same examples every time; elsewhere new ones are tried.
hypothesis.settings.register_profile("tenun", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("tenun")


@pytest.fixture(autouse=True)
def round_trip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """parse(str(g)) == g for every graph made in the test (those marked `broken_graphs` make others on purpose)."""
    made: list[Graph] = []
    start = Graph.__init__

    def recording(self: Graph, *args: Any, **kwargs: Any) -> None:
        start(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(Graph, "__init__", recording)
    yield
    monkeypatch.undo()
    if request.node.get_closest_marker("broken_graphs"):
        return
    for graph in made:
        if graph.outputs:
            again = parse(str(graph), graph.weights)
            assert difference(graph, again) is None, difference(graph, again)
