"""Signals that come at an unlucky moment."""

import os
import signal

import pytest

from aqrec.engine import _exit


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
