"""What every test has: the same random numbers in any order; and its graphs survive printing and parsing."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest

import tenun.tests  # noqa: F401 - what it sets
from tenun.ir.graph import Graph
from tenun.ir.text import parse
from tenun.ir.verify import difference
from tenun.training.seeds import set_random_seed

# A busy machine is no failure, and CI tries the same examples every time; elsewhere new ones are tried.
hypothesis.settings.register_profile("tenun", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("tenun")


@pytest.fixture(autouse=True)
def same_numbers(request: pytest.FixtureRequest) -> None:
    """Weights (Keras takes its seeds from `random`), dropout and data are the same, whichever tests ran before."""
    random.seed(0)
    np.random.seed(0)
    set_random_seed(0)
    for each in vars(request.module).values():
        if isinstance(each, np.random.Generator):
            each.bit_generator.state = type(each.bit_generator)(0).state


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
