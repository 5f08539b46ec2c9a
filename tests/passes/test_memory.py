"""The memory plan, checked by an own overlap test."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tenun.passes.memory import ALIGN, Buffer, aligned, plan_memory

buffers = st.lists(
    st.builds(
        lambda size, first, length: Buffer(size, first, first + length),
        st.integers(0, 5000),
        st.integers(0, 30),
        st.integers(0, 9),
    ),
    max_size=40,
)


@given(buffers)
def test_no_two_live_buffers_overlap(found: list[Buffer]) -> None:
    plan = plan_memory(found)
    spans = [(o, o + b.size, b) for o, b in zip(plan.offsets, found)]
    for i, (start, end, a) in enumerate(spans):
        assert start % ALIGN == 0 and end <= plan.total
        for other, other_end, b in spans[:i]:
            together = a.first <= b.last and b.first <= a.last
            assert not (together and start < other_end and other < end)
    assert plan.bound <= plan.total <= plan.naive
    assert plan.naive == sum(aligned(b.size) for b in found)


def test_a_chain_needs_two_buffers() -> None:
    chain = [Buffer(1024, i, i + 1) for i in range(10)]
    assert plan_memory(chain).total == plan_memory(chain).bound == 2048
