"""Tasks on several threads: everything runs, after what it waits for, and the main line on the caller's thread."""

from __future__ import annotations

import random
import threading
import time

import pytest

from tenun.backends.numpy.flow import Flow, Tasks
from tenun.backends.numpy.workers import several


def random_tasks(seed: int, done: list[int], where: dict[int, int]) -> Tasks:
    """Tasks that wait for some of those before them; they note that they ran, and on which thread."""
    rng, tasks = random.Random(seed), Tasks()
    for i in range(40):

        def step(i: int = i) -> None:
            time.sleep(rng.random() * 1e-4)
            where[i] = threading.get_ident()
            done.append(i)

        after = rng.sample(range(i), min(i, rng.randrange(3)))
        tasks.enter([step], after, main=rng.random() < 0.3)
    return tasks


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_order(threads: int, seed: int) -> None:
    done: list[int] = []
    where: dict[int, int] = {}
    tasks = random_tasks(seed, done, where)
    flow = Flow(tasks)
    for _ in range(3):
        done.clear()
        with several(threads):
            flow()
        assert sorted(done) == list(range(len(tasks)))
        place = {number: i for i, number in enumerate(done)}
        for number, task in enumerate(tasks):
            assert all(place[other] < place[number] for other in task.after)
        line = [number for number in done if tasks[number].main]
        assert line == sorted(line)
        assert {where[number] for number in line} == {threading.get_ident()}
        if threads == 1:
            assert done == sorted(done)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("main", [True, False])
def test_an_error_ends_it_and_the_next_run_is_whole(threads: int, main: bool) -> None:
    tasks, done, broken = Tasks(), list[int](), [True]

    def fails() -> None:
        if broken[0]:
            raise ValueError("no")

    first = tasks.enter([fails], [], main=main)
    tasks.enter([lambda: done.append(1)], [first], main=not main)
    tasks.enter([lambda: done.append(2)], [first], main=main)
    flow = Flow(tasks)
    with several(threads):
        with pytest.raises(ValueError, match="no"):
            flow()
        assert not done
        broken[0] = False
        flow()
        assert sorted(done) == [1, 2]


def test_as_steps() -> None:
    tasks, done = Tasks(), list[int]()
    tasks.enter([lambda: done.append(1), lambda: done.append(2)], [])
    tasks.enter([lambda: done.append(3)], [0], main=True)
    for step in tasks.as_steps(flowing=False):
        step()
    (flow,) = tasks.as_steps(flowing=True)
    flow()
    assert done == [1, 2, 3] * 2
