"""Mapping with worker processes."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fiftyone_plugin.common.parallel import (
    Threads,
    batched,
    one_thread,
    parallel_map,
    starting_workers,
    usable_cores,
)
from fiftyone_plugin.errors import PseudoMaskError


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_come_in_order(n_jobs):
    assert parallel_map(math.pow, [(i, 2) for i in range(20)], n_jobs) == [i**2 for i in range(20)]
    assert parallel_map(math.pow, [], n_jobs) == []
    assert parallel_map(math.pow, [(2, 3)], n_jobs) == [8.0]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_errors_of_workers_arrive(n_jobs):
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        parallel_map(math.sqrt, [(1,), (-1,), (4,)], n_jobs)
    assert parallel_map(math.sqrt, [(1,), (4,)], n_jobs) == [1.0, 2.0]  # and the workers are still there


def test_work_is_done_elsewhere_by_the_number_of_processes_asked_for():
    tasks = [()] * 40
    assert set(parallel_map(os.getpid, tasks, 1)) == {os.getpid()}
    workers = set(parallel_map(os.getpid, tasks, 2))
    assert os.getpid() not in workers
    assert 1 <= len(workers) <= 2
    again = set(parallel_map(os.getpid, tasks, 2))
    assert os.getpid() not in again
    assert len(workers | again) <= 2  # the same two, though one of them may have been quicker than the other


def test_signals_are_left_as_found():
    if not hasattr(signal, "pthread_sigmask"):
        pytest.skip("no signal masks here")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    parallel_map(os.getpid, [(), ()], 2)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_workers_hear_nothing_of_ctrl_c():
    """Ctrl-C reaches every process of a terminal's command; one traceback is enough, the caller's."""
    code = textwrap.dedent("""
        import os, signal, time
        from fiftyone_plugin.common.parallel import parallel_map
        parallel_map(time.sleep, [(0.1,)] * 4, 2)
        try:
            print("ready", flush=True)
            parallel_map(time.sleep, [(1,)] * 8, 2)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out == "interrupted\n"
    assert err == ""


def test_batches():
    assert list(batched(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched([], 3)) == []
    assert list(batched(iter("ab"), 5)) == [["a", "b"]]


def test_threads_give_results_in_order_and_the_first_error():
    def slowest_first(item):
        time.sleep(0.02 * (4 - item))
        if item == 3:
            raise ValueError(item)
        return item, threading.current_thread().name

    with Threads() as threads:
        found = threads.each(slowest_first, [0, 1, 2])
        assert [item for item, _ in found] == [0, 1, 2]
        assert threading.current_thread().name not in {name for _, name in found}
        assert threads.each(slowest_first, []) == []
        with pytest.raises(ValueError, match="3"):
            threads.each(slowest_first, [3, 0])


def test_threads_have_one_thread_of_blas_each_and_leave_as_many_as_before():
    def numbers(_):
        time.sleep(0.02)  # so that they end in any order
        return {pool["num_threads"] for pool in threadpool_info()}

    with threadpool_limits(limits=2), Threads() as threads:
        before = [pool["num_threads"] for pool in threadpool_info()]
        assert set().union(*threads.each(numbers, range(6))) == {1}
        assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_cores():
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_ctrl_c_waits_until_the_workers_have_been_started():
    """A thread that does not block the signal gets it, and the main thread handles it."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    handler = signal.getsignal(signal.SIGINT)
    finished = []

    def interrupted() -> None:
        with starting_workers():
            os.kill(os.getpid(), signal.SIGINT)
            done.wait(0.2)
            finished.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        done.set()
        other.join()
    assert finished
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_one_thread_inside_the_block_and_as_many_as_before_after_it():
    np.zeros((2, 2)) @ np.zeros((2, 2))
    with threadpool_limits(2):
        before = blas_threads()
        with one_thread():
            assert blas_threads() == {1}
            with one_thread():
                assert blas_threads() == {1}
            assert blas_threads() == {1}
        assert blas_threads() == before
        with pytest.raises(ValueError, match="stop"), one_thread():
            raise ValueError("stop")
        assert blas_threads() == before


def test_blocks_of_two_threads_that_overlap_leave_as_many_as_before():
    np.zeros((2, 2)) @ np.zeros((2, 2))
    entered, left = threading.Event(), threading.Event()
    inside: list[set[int]] = []

    def second() -> None:
        with one_thread():
            entered.set()
            left.wait(10)
            inside.append(blas_threads())

    with threadpool_limits(2):
        before = blas_threads()
        with one_thread():
            thread = threading.Thread(target=second)
            thread.start()
            entered.wait(10)
        left.set()
        thread.join()
        assert inside == [{1}]
        assert blas_threads() == before


def test_libraries_that_are_loaded_later_are_limited_too():
    script = (
        "from fiftyone_plugin.common.parallel import one_thread\n"
        "with one_thread():\n    pass\n"
        "import numpy\n"
        "from threadpoolctl import threadpool_info\n"
        "with one_thread():\n"
        "    print({pool['num_threads'] for pool in threadpool_info()})\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{1}"


BUSY = """
    import os, sys, time
    from fiftyone_plugin.common.parallel import parallel_map
    print("workers", *sorted(set(parallel_map(os.getpid, [()] * 40, 2))), flush=True)
    {then}
"""


def start(then: str, **options) -> tuple[subprocess.Popen, list[int]]:
    code = textwrap.dedent(BUSY).replace("{then}", then)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    assert process.stdout is not None
    return process, [int(word) for word in process.stdout.readline().split()[1:]]


WORK = "import os, time; os.write(1, b'at work\\n'); time.sleep(60)"  # of a worker, or of the process itself


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(done, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.05)
    return done()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("then", [f"parallel_map(exec, [({WORK!r},)] * 4, 2)", WORK], ids=["busy", "idle"])
def test_workers_end_with_a_killed_process(then):
    """Whether they are at work or idle; what they leave is tidied up, and nobody is told of it."""
    process, workers = start(then)
    assert workers
    assert all(map(is_alive, workers))
    assert process.stdout.readline() == "at work\n"
    process.kill()
    _, err = process.communicate(timeout=30)  # ends when the last process that can print is gone
    assert err == ""
    assert wait_until(lambda: not any(map(is_alive, workers)))
    shared = os.listdir("/dev/shm") if os.path.isdir("/dev/shm") else []
    assert not [name for name in shared if f"loky-{process.pid}" in name or f"_{process.pid}_" in name]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_worker_is_an_error_in_words():
    with pytest.raises(PseudoMaskError, match="a worker process was killed"):
        parallel_map(os._exit, [(1,)] * 6, 2)
    assert parallel_map(math.sqrt, [(1,), (4,)], 2) == [1.0, 2.0]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_ctrl_c_while_tasks_are_queued_prints_nothing():
    """At many moments, most of them in the milliseconds in which loky hands its workers their tasks."""
    code = textwrap.dedent("""
        import os, signal, sys, threading, time
        import joblib  # an import that is cut short is another matter
        from fiftyone_plugin.common.parallel import parallel_map
        for number in range(12):
            timer = threading.Timer(0.002 * number, os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                parallel_map(time.sleep, [(0.01,)] * 60, 2)
                time.sleep(1)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            timer.join()
    """)
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, start_new_session=True
    )
    assert process.stderr == ""
    assert process.stdout.split() == ["interrupted"] * 12
