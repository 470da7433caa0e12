from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from benchmarks.machine import cpu_times, memory_bytes, pin, tree, two_cores, used_s

CHILD = """
import subprocess, sys
inner = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
print(inner.pid, flush=True)
input()
inner.communicate()
"""


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A child with a child of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        yield child.pid, int(child.stdout.readline())
        child.communicate("\n")


def test_descendants_belong_to_the_tree(family: tuple[int, int]) -> None:
    child, inner = family

    assert set(tree([child])) == {child, inner}
    rss, pss = memory_bytes([child])
    assert rss > memory_bytes([inner])[0] > 0
    assert pss is None or 0 < pss <= rss


def test_cpu_time_is_that_of_all_threads() -> None:
    def spin() -> None:
        sum(range(3_000_000))
        read.wait()

    read = threading.Event()
    before = cpu_times([os.getpid()])
    worker = threading.Thread(target=spin)
    start = os.times().user
    worker.start()
    while os.times().user - start < 0.05:
        sum(range(100_000))
    after = cpu_times([os.getpid()])
    read.set()
    worker.join()

    assert used_s(before, after) >= 0.04


def test_a_process_that_has_ended_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass

    assert cpu_times([child.pid]) == {}
    assert tree([child.pid]) == []


@pytest.mark.skipif(two_cores() is None, reason="there is one core only")
def test_a_pinned_tree_stays_on_its_core(family: tuple[int, int]) -> None:
    cores = two_cores()
    assert cores is not None

    pin([family[0]], cores[1])

    assert [os.sched_getaffinity(pid) for pid in family] == [{cores[1]}] * 2
    pin([family[0]], None)
    assert os.sched_getaffinity(family[0]) == {cores[1]}
