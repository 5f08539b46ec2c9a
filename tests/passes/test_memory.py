"""The memory plan, checked by an own overlap test and against the best plan there is."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenun.passes.memory import ALIGN, FITS, ORDERS, Buffer, MemoryPlan, _Search, aligned, plan_memory, with_scratch

buffers = st.lists(
    st.builds(
        lambda size, first, length: Buffer(size, first, first + length),
        st.integers(0, 5000),
        st.integers(0, 30),
        st.integers(0, 9),
    ),
    max_size=40,
)
needs = st.dictionaries(st.integers(0, 30), st.integers(1, 9000), max_size=20)


def meet(a: Buffer, b: Buffer) -> bool:
    return a.first <= b.last and b.first <= a.last


def assert_apart(found: list[Buffer], plan: MemoryPlan) -> None:
    spans = [(o, o + b.size, b) for o, b in zip(plan.offsets, found)]
    for i, (start, end, a) in enumerate(spans):
        assert start % ALIGN == 0 and end <= plan.total
        for other, other_end, b in spans[:i]:
            assert not (meet(a, b) and start < other_end and other < end)


@given(buffers)
def test_no_two_live_buffers_overlap(found: list[Buffer]) -> None:
    plan = plan_memory(found)
    assert_apart(found, plan)
    assert plan.bound <= plan.total <= plan.naive
    assert plan.naive == sum(aligned(b.size) for b in found)
    assert plan == plan_memory(found)


@given(buffers, needs)
def test_scratch_has_a_gap_at_its_step(found: list[Buffer], scratch: dict[int, int]) -> None:
    plan = with_scratch(found, scratch)
    assert len(plan.offsets) == len(found)
    assert_apart(found, plan)
    for step, size in scratch.items():
        taken = sorted((o, o + aligned(b.size)) for o, b in zip(plan.offsets, found) if b.first <= step <= b.last)
        gaps = zip([0, *(end for _, end in taken)], [*(start for start, _ in taken), plan.total])
        assert max(stop - start for start, stop in gaps) >= size


def test_a_chain_needs_two_buffers() -> None:
    chain = [Buffer(1024, i, i + 1) for i in range(10)]
    assert plan_memory(chain).total == plan_memory(chain).bound == 2048


def test_no_buffers() -> None:
    assert plan_memory([]) == MemoryPlan((), 0, 0, 0)


# ---- how near the best -----------------------------------------------------------------------------------------


def optimum(found: list[Buffer]) -> int:
    """The smallest arena, by branch and bound.

    Pushed down as far as they go, the buffers of a best plan can be put down one by one in the order of their offsets,
    each on top of those that it meets.
    """
    sizes, bound = [aligned(b.size) for b in found], plan_memory(found).bound
    best = sum(sizes)

    def search(ends: dict[int, int], lowest: int, total: int) -> None:
        nonlocal best
        if total >= best or best == bound:
            return
        if len(ends) == len(found):
            best = total
            return
        for i in range(len(found)):
            if i not in ends:
                offset = max((end for j, end in ends.items() if meet(found[i], found[j])), default=0)
                if offset >= lowest:
                    search({**ends, i: offset + sizes[i]}, offset, max(total, offset + sizes[i]))

    search({}, 0, 0)
    return best


def small_case(random: Random, count: int) -> list[Buffer]:
    """Buffers of which many are alive at once."""
    starts = [random.randrange(count) for _ in range(count)]
    return [Buffer(64 * random.randint(1, 12), s, s + random.randint(1, count // 2)) for s in starts]


def test_the_solver_on_cases_done_by_hand() -> None:
    assert optimum([Buffer(64 * s, 0, 1) for s in (1, 2, 3)]) == 6 * 64
    assert optimum([Buffer(64, i, i + 1) for i in range(6)]) == 2 * 64
    assert optimum([Buffer(128, 0, 1), Buffer(64, 1, 2), Buffer(192, 2, 3), Buffer(64, 0, 3)]) == 5 * 64


def test_plans_of_small_graphs_are_the_best_or_nearly() -> None:
    random = Random(1)
    cases = [small_case(random, random.randint(5, 9)) for _ in range(150)]
    ratios = [plan_memory(case).total / optimum(case) for case in cases]
    assert ratios.count(1.0) >= 0.97 * len(cases)
    assert min(ratios) == 1.0 and max(ratios) <= 1.1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_no_plan_is_better_than_the_best(seed: int) -> None:
    case = small_case(Random(seed), 6)
    assert plan_memory(case).bound <= optimum(case) <= plan_memory(case).total


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_gives_a_plan(order: str, fit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenun.passes.memory.ORDERS", {order: ORDERS[order]})
    monkeypatch.setattr("tenun.passes.memory.FITS", {fit: FITS[fit]})
    random = Random(2)
    for _ in range(20):
        case = small_case(random, 20)
        assert_apart(case, plan_memory(case))


def test_the_search_ends() -> None:
    """Buffers by the thousand get the two orders that always are tried, and no more."""
    random = Random(3)
    case = small_case(random, 1000)
    search = _Search(case, 0)
    before = search.effort
    search.run()
    pairs = sum(map(len, search.meets)) + len(case)
    assert search.effort == before - 2 * pairs
