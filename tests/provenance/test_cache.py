from __future__ import annotations

import os
import threading

import pytest

from aqrec.provenance import collect
from aqrec.provenance._cache import RecentValues


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_value_is_kept_for_its_age():
    clock, made = Clock(), iter("abc")
    values = RecentValues(clock)

    assert values.get("k", lambda: next(made), 2.0) == "a"
    clock.now += 1.9
    assert values.get("k", lambda: next(made), 2.0) == "a"
    clock.now += 0.1
    assert values.get("k", lambda: next(made), 2.0) == "b"


def test_age_counts_from_the_end():
    """A value that took longer to make than it is kept is still served once."""
    clock = Clock()
    values = RecentValues(clock)

    def slow():
        clock.now += 10
        return clock.now

    assert values.get("k", slow, 2.0) == values.get("k", slow, 2.0)


def test_keys_are_independent():
    values = RecentValues()

    assert [values.get(key, lambda key=key: key, 60) for key in "abab"] == list("abab")


def test_failure_is_not_remembered():
    values = RecentValues()

    with pytest.raises(ZeroDivisionError):
        values.get("k", lambda: 1 // 0, 60)

    assert values.get("k", lambda: 1, 60) == 1


def test_one_maker_at_a_time():
    """Callers that come while a value is made wait for it; other keys do not wait."""
    values, started, release, results = RecentValues(), threading.Event(), threading.Event(), []

    def make():
        started.set()
        assert release.wait(30)
        return object()

    threads = [threading.Thread(target=lambda: results.append(values.get("k", make, 60))) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    assert values.get("other", lambda: 1, 60) == 1
    release.set()
    for thread in threads:
        thread.join()

    assert len(results) == 5
    assert len({id(result) for result in results}) == 1


def test_number_of_keys_is_bounded():
    values = RecentValues()

    for number in range(1000):
        values.get(str(number), lambda: 0, 60)

    assert len(values._entries) <= 32


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_is_not_stuck(repository, monkeypatch):
    """A child forked while another thread looks at git neither waits for that thread nor uses its memory."""
    from aqrec.provenance import _collect

    started, release = threading.Event(), threading.Event()

    def hang():
        started.set()
        assert release.wait(30)

    root = str(repository.root)
    thread = threading.Thread(target=_collect._git_states.get, args=(root, hang, 0))
    thread.start()
    assert started.wait(30)
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if collect(root, max_age=600).git.branch == "main" else 1)
        finally:
            os._exit(2)
    try:
        assert _exit_code(pid) == 0
    finally:
        release.set()
        thread.join()


def _exit_code(pid):
    waiter = threading.Timer(20, os.kill, (pid, 9))
    waiter.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        waiter.cancel()
        waiter.join()
