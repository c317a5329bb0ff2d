"""What clients want to do when they are collected, and are kept from."""

import weakref

from aqrec.stores._finalizers import leave_alone


class Client:
    """Something that can be referred to weakly."""


def test_a_client_s_finalizers_are_taken_back_and_nobody_else_s() -> None:
    client, other = Client(), Client()
    called: list[str] = []
    finalizers = [weakref.finalize(client, called.append, name) for name in ("connections", "credentials")]
    kept = weakref.finalize(other, called.append, "other")
    reference = weakref.ref(client, lambda _: called.append("told"))
    leave_alone(client)
    assert [finalizer.alive for finalizer in finalizers] == [False, False]
    assert kept.alive
    del client, other
    assert reference() is None
    assert called == ["told", "other"]
