"""The conformance suite of stores, a module for each part of the contract."""

from __future__ import annotations

from ._appending import AppendingTests
from ._cancelling import CancellingTests
from ._keys import KeyTests
from ._lifecycle import LifecycleTests
from ._listing import ListingTests
from ._objects import ObjectTests
from ._racing import RacingTests
from ._streams import StreamTests

__all__ = ["StoreTests"]


class StoreTests(
    KeyTests,
    ObjectTests,
    ListingTests,
    StreamTests,
    RacingTests,
    CancellingTests,
    AppendingTests,
    LifecycleTests,
):
    """Every sentence of the contract in `aqrec.stores.Store`, as tests.

    Derive a class named ``Test…`` from it and give it

    - the fixture ``store``: an empty, open store, closed afterwards;
    - ``raw_get``, ``raw_put`` and ``raw_list``, which reach the backend past the store;
    - where needed, ``raw_put_many``, ``reopen``, ``failing_store`` and the switches below.

    Attributes
    ----------
    bounded_streams
        Whether streams take bounded memory. False for a store that itself lives in memory.
    shared_between_processes
        Whether `open_store` in another process opens the same store by its URL: adds a race between
        processes.
    honours_create
        What `probe_create` has to answer. The tests of `create` are for stores that keep its promise.
    keeps_replaced
        Whether a reader of `get_stream` keeps the version it began with, although it is replaced meanwhile. Else
        it must get `StorageError`, never bytes of both.
    stream_memory
        Bytes that a stream may take in memory, however large the object.
    key_room
        Bytes that the store's URL leaves for keys, if the backend's limit holds for both together.
    many
        How many objects are a great number: more than a page of the backend's listing holds, and than one of its
        requests deletes.
    storage_options
        Handed to `open_store` by `reopen` and in other processes.
    race_rounds
        How often each race is run.
    """
