"""Signals that come at an unlucky moment."""

import os
import signal

import pytest

from aqrec.engine import _exit
from aqrec.options import Options
from aqrec.sync import ExperimentManager
from tests._support import run_script


def test_a_signal_is_sent_again_until_it_is_handled(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes between the interpreter's last look at signals and a wait for a lock stays unseen."""
    sent: list[int] = []

    def kill(_pid: int, number: int) -> None:
        sent.append(number)
        if len(sent) == 3:
            _exit._exit.handled += 1

    monkeypatch.setattr(os, "kill", kill)
    _exit._signal_again(signal.SIGTERM, _exit._exit.handled)
    assert sent == [signal.SIGTERM] * 3


FORKS = """
    import multiprocessing, os, signal, sys, time, warnings
    from aqrec.options import Options
    from aqrec.sync import R

    def killed(work):
        child = os.fork()
        if child == 0:
            try:
                work()
                signal.pause()
            finally:
                os._exit(1)
        return child

    def ended(child):
        deadline = time.monotonic() + 60
        while True:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise AssertionError("a child does not die")
            time.sleep(0.0005)

    def log(key):
        for n in range(50):
            recorder.log_metrics(step=n, **{key: n})

    def compute():
        os.write(tell, b"c")
        sum(range(10**12))  # one call into C, which no handler of Python's interrupts

    if __name__ == "__main__":
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        R.configure(uri=sys.argv[1], options=Options(provenance=False))
        R.start_exp(experiment_name="e")
        recorder = R.get_recorder()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        for n in range(150):
            number = signal.SIGHUP if n % 5 == 0 else signal.SIGTERM
            child = killed((lambda: None, lambda: log("any"))[n % 2])
            sum(range(n * 97 % 4000))  # no two signals come at the same moment
            os.kill(child, number)
            assert ended(child) == -number, n
        ready, tell = os.pipe()
        child = killed(compute)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        assert ended(child) == -signal.SIGTERM
        context = multiprocessing.get_context("fork")
        for _ in range(10):
            pool = context.Pool(2)
            pool.terminate()
            pool.join()
        child = killed(lambda: (log("kept"), os.write(tell, b"r")))
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        assert ended(child) == -signal.SIGTERM
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        log("last")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
"""


def test_a_child_dies_of_a_signal_however_early_it_comes(tmp_path):
    """As a pool expects that terminates its workers; what a child has logged by then is stored, and its parent's run goes on."""
    done = run_script(FORKS, str(tmp_path), timeout=110)
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert done.stderr == ""
    with ExperimentManager(str(tmp_path), options=Options(provenance=False)) as manager:
        (recorder,) = manager.list_recorders(experiment_name="e").values()
        assert recorder.status == "FAILED"
        for key in ("kept", "last"):
            assert recorder.metric_history(key)["value"].tolist() == list(range(50)), key
