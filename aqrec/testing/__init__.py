"""Tests that other packages can run on their own stores: needs pytest and pytest-asyncio.

::

    class TestMyStore(StoreTests):
        @pytest_asyncio.fixture
        async def store(self):
            store = MyStore(...)
            yield store
            await store.aclose()

        async def raw_get(self, store, key): ...
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("aqrec.testing._stores")

from ._stores import StoreTests  # noqa: E402 - to be imported after its rewriting is ordered

__all__ = ["StoreTests"]
