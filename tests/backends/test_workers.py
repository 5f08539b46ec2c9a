"""Work side by side: results in order, errors, teams, forks, threads from the environment."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tenun.backends.numpy import workers
from tenun.backends.numpy.shards import default_threads
from tenun.backends.numpy.workers import GATES, IDLE, Gate, Parallel, Patience, Worker, cuts, each, several
from tenun.errors import RunError


def test_results_are_in_the_order_of_the_tasks() -> None:
    with several(3):
        assert each([lambda i=i: i * i for i in range(20)]) == [i * i for i in range(20)]
    assert each([lambda: 1]) == [1] and each([]) == []


def test_the_team_works_and_tasks_have_none() -> None:
    names = set()

    def task() -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.02)
        assert each([int, int]) == [0, 0]  # inside of a task: on the same thread

    with several(2):
        each([task] * 8)
    assert len(names) == 2 and "tenun-worker" in names


def test_errors_come_to_the_caller_and_the_team_goes_on() -> None:
    def fails() -> None:
        time.sleep(0.01)
        raise ValueError("here")

    with several(2):
        for _ in range(3):
            with pytest.raises(ValueError, match="here"):
                each([fails] * 4)
            assert each([int] * 4) == [0] * 4


def test_steps_of_a_branch_run_in_order() -> None:
    made: list[list[int]] = [[], [], []]
    step = Parallel([[lambda row=row, i=i: row.append(i) for i in range(5)] for row in made])
    with several(2):
        step()
    assert made == [[0, 1, 2, 3, 4]] * 3


def test_a_worker_keeps_off_the_core_of_its_caller() -> None:
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, and a system that tells")
    worker, seen = Worker(), []
    worker.start(lambda: seen.append(os.sched_getaffinity(0)))
    assert worker.finish() is None
    assert seen[0] < os.sched_getaffinity(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own_workers() -> None:
    with several(2):
        assert each([int, int]) == [0, 0]
    child = os.fork()
    if child == 0:
        with several(2):
            os._exit(0 if each([lambda: 1, lambda: 2]) == [1, 2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_cuts_cover_the_axis() -> None:
    for length in (1, 5, 16, 100):
        for flops in (0, 1 << 24, 1 << 30):
            parts = cuts(length, flops, unit=4)
            assert parts[0].start == 0 and parts[-1].stop == length
            assert all(a.stop == b.start for a, b in pairwise(parts))


def test_threads_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENUN_THREADS", "3")
    assert default_threads() == 3
    monkeypatch.delenv("TENUN_THREADS")
    assert default_threads() >= 1
    for bad in ("0", "many", "-1"):
        monkeypatch.setenv("TENUN_THREADS", bad)
        with pytest.raises(RunError, match="TENUN_THREADS"):
            default_threads()


@pytest.mark.skipif(not GATES, reason="the C library has no spin locks")
def test_a_gate_opens_once() -> None:
    """What is opened before somebody comes lets one through; the next waits for the next time."""
    gate, passed = Gate(), []

    def walk() -> None:
        for _ in range(2):
            gate.wait()
            passed.append(len(passed))

    gate.open()
    thread = threading.Thread(target=walk)
    thread.start()
    while not passed:
        pass
    thread.join(0.05)
    assert passed == [0] and thread.is_alive()
    gate.open()
    thread.join(10)
    assert passed == [0, 1]


@pytest.mark.skipif(not GATES, reason="the C library has no spin locks")
def test_a_gate_that_is_not_opened_is_left_after_a_while() -> None:
    gate = Gate()
    begun = time.perf_counter()
    assert not gate.wait_a_while() and time.perf_counter() - begun < 1
    for opening in (gate.open, gate.let_in):
        opening()
        assert gate.wait_a_while() and not gate.wait_a_while()
    gate.let_in()
    gate.wait()
    other = Gate()
    gate.open()
    assert gate.pass_on(other) and other.wait_a_while()
    assert not gate.pass_on(other) and other.wait_a_while()


@pytest.mark.skipif(not GATES, reason="the C library has no spin locks")
def test_a_worker_watches_as_long_as_tasks_come_and_then_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Patience()
    judged: list[float] = []
    monkeypatch.setattr(patience, "judge", lambda seconds, running: judged.append(seconds))
    monkeypatch.setattr(workers, "PATIENCE", patience)
    worker, done = Worker(), []
    worker.wakeful = True
    for number in range(48):
        worker.start(lambda number=number: done.append(number), alert=True)
        assert worker.finish() is None
        if number % 10 == 0:  # somewhere about the moment at which it leaves
            time.sleep(1e-3)
    assert done == [*range(48)] and len(judged) == 48 // workers.JUDGED
    until(lambda: not worker._awake)
    worker.expect()
    until(lambda: not worker._awake)
    worker.start(lambda: done.append(-1))
    assert worker.finish() is None and done[-1] == -1


@pytest.mark.skipif(not GATES, reason="the C library has no spin locks")
def test_a_worker_that_watches_comes_to_a_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", Patience())
    worker, served = Worker(), threading.Event()

    class Board:
        def serve(self, stop: object) -> None:
            served.set()

    worker.wakeful = True
    worker.start(int, alert=True)
    assert worker.finish() is None
    worker.stand_by(Board())
    assert served.wait(10)
    worker.start(int, alert=True)
    assert worker.finish() is None


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that is to come in less than ten seconds."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(1e-3)


def test_patience_ends_where_cores_are_lost() -> None:
    patience = Patience()
    assert all(patience.lasts() for _ in range(10))
    patience.judge(10e-3, 9e-3)  # a tenth is what others need
    assert patience.lasts()
    for times in (1, 2):
        patience.judge(10e-3, 5e-3)
        assert [patience.lasts() for _ in range(times * Patience.LEAST)] == [False] * (times * Patience.LEAST)
        assert patience.lasts()


@pytest.mark.parametrize("alert", [True, False])
def test_workers_alert_and_asleep(alert: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are done, errors come, and a worker that rests wakes up again, whichever way they are handed over."""
    monkeypatch.setattr(workers, "GATES", alert and GATES)
    monkeypatch.setattr(workers, "PATIENCE", Patience())
    monkeypatch.setattr(workers, "cores", lambda: 3)

    def fail() -> None:
        raise ValueError("here")

    for _ in range(3):
        with several(3):
            for number in range(50):
                assert each([lambda n=number, i=i: n + i for i in range(4)]) == [number + i for i in range(4)]
            with pytest.raises(ValueError, match="here"):
                each([fail, fail, fail])


def test_no_more_workers_may_be_alert_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "cores", lambda: 3)
    with several(5), several(4):
        assert len(IDLE._wakeful) == (2 if GATES else 0)
    assert not IDLE._wakeful
