"""Any sequence of calls does to a store what it does to a dictionary."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aqrec.errors import AlreadyExistsError, ConflictError, ObjectNotFoundError
from aqrec.stores import Appender, LocalStore, MemoryStore, Store

T = TypeVar("T")

KEYS = st.sampled_from(["a", "a/b", "a/b/c", "a/d", "ab", "e/f", "e/g/h", "e", "i"])
FOLDERS = st.sampled_from(["", "a", "a/b", "ab", "e", "e/g", "missing/folder"])
DATA = st.binary(max_size=20)


class StoreMachine(RuleBasedStateMachine):
    """Calls on a store, and the same on a dictionary."""

    holds_object_and_folder = True

    def open(self) -> Store:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.model: dict[str, bytes] = {}
        self.appenders: dict[str, Appender] = {}
        self.store = self.open()

    def teardown(self) -> None:
        self.close_appenders()
        self.run(self.store.aclose())
        self.runner.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def close_appenders(self) -> None:
        for appender in self.appenders.values():
            appender.close()
        self.appenders.clear()

    def conflicts(self, key: str) -> bool:
        """Tell whether a file system cannot hold the key beside the others."""
        if self.holds_object_and_folder:
            return False
        return any(other.startswith(f"{key}/") or key.startswith(f"{other}/") for other in self.model)

    def write(self, key: str, data: bytes, call: Coroutine[Any, Any, Any]) -> None:
        if self.conflicts(key):
            with pytest.raises(ConflictError):
                self.run(call)
        else:
            self.run(call)
            self.model[key] = data
            if (appender := self.appenders.pop(key, None)) is not None:
                appender.close()

    @rule(key=KEYS, data=DATA)
    def put(self, key: str, data: bytes) -> None:
        self.write(key, data, self.store.put(key, data))

    @rule(key=KEYS, data=DATA)
    def put_stream(self, key: str, data: bytes) -> None:
        self.write(
            key, data, self.store.put_stream(key, lambda file: [file.write(data[:5]), file.write(data[5:])])
        )

    @rule(key=KEYS, data=DATA)
    def fail_to_stream(self, key: str, data: bytes) -> None:
        with pytest.raises(ZeroDivisionError):
            self.run(self.store.put_stream(key, lambda file: [file.write(data), 1 / 0]))

    @rule(key=KEYS, data=DATA)
    def create(self, key: str, data: bytes) -> None:
        if key in self.model:
            with pytest.raises(AlreadyExistsError):
                self.run(self.store.create(key, data))
        else:
            self.write(key, data, self.store.create(key, data))

    @rule(keys=st.lists(KEYS, max_size=4))
    def delete(self, keys: list[str]) -> None:
        self.run(self.store.delete(keys))
        for key in keys:
            self.model.pop(key, None)
            if (appender := self.appenders.pop(key, None)) is not None:
                appender.close()

    @rule(key=KEYS)
    def open_append(self, key: str) -> None:
        if key in self.model or self.conflicts(key):
            with pytest.raises(AlreadyExistsError if key in self.model else ConflictError):
                self.run(self.store.open_append(key))
        else:
            self.appenders[key] = self.run(self.store.open_append(key))
            self.model[key] = b""

    @precondition(lambda self: self.appenders)
    @rule(data=st.data(), written=DATA)
    def append(self, data: st.DataObject, written: bytes) -> None:
        key = data.draw(st.sampled_from(sorted(self.appenders)))
        self.appenders[key].write(written)
        self.model[key] += written

    @rule(key=KEYS, start=st.integers(0, 25), end=st.none() | st.integers(0, 25))
    def get(self, key: str, start: int, end: int | None) -> None:
        if key in self.model:
            assert self.run(self.store.get(key, start=start, end=end)) == self.model[key][start:end]
            assert self.run(self.store.get_stream(key, lambda file: file.read())) == self.model[key]
            assert self.run(self.store.head(key)).size == len(self.model[key])
        else:
            for call in (
                self.store.get(key, start=start, end=end),
                self.store.head(key),
                self.store.get_stream(key, lambda file: file.read()),
            ):
                with pytest.raises(ObjectNotFoundError):
                    self.run(call)

    @rule(folder=FOLDERS)
    def list_dir(self, folder: str) -> None:
        start = f"{folder}/" if folder else ""
        below = [key for key in self.model if key.startswith(start)]
        objects, folders = self.run(self.store.list_dir(folder))
        assert [i.key for i in objects] == sorted(key for key in below if "/" not in key[len(start) :])
        assert folders == sorted(
            {start + key[len(start) :].partition("/")[0] for key in below if "/" in key[len(start) :]}
        )

    @rule(folder=FOLDERS)
    def list(self, folder: str) -> None:
        start = f"{folder}/" if folder else ""
        assert self.run(_sizes(self.store, folder)) == {
            key: len(data) for key, data in self.model.items() if key.startswith(start)
        }

    @rule()
    def reopen(self) -> None:
        self.close_appenders()
        self.run(self.store.aclose())
        self.store = self.open()

    @invariant()
    def holds_what_the_dictionary_holds(self) -> None:
        if hasattr(self, "store"):
            assert self.run(_sizes(self.store, "")) == {key: len(data) for key, data in self.model.items()}


async def _sizes(store: Store, folder: str) -> dict[str, int]:
    infos = [info async for info in store.list(folder)]
    assert len({info.key for info in infos}) == len(infos)
    return {info.key: info.size for info in infos}


class LocalMachine(StoreMachine):
    holds_object_and_folder = False

    def open(self) -> Store:
        if not hasattr(self, "folder"):
            self.folder = tempfile.TemporaryDirectory(prefix="aqrec-")
        return LocalStore(Path(self.folder.name, "lab"))

    def teardown(self) -> None:
        super().teardown()
        left = {
            str(p.relative_to(self.folder.name)) for p in Path(self.folder.name).rglob("*") if p.is_file()
        }
        assert left == {f"lab/{key}" for key in self.model}
        self.folder.cleanup()


class MemoryMachine(StoreMachine):
    def open(self) -> Store:
        if not hasattr(self, "name"):
            self.name = uuid4().hex
        return MemoryStore(self.name)

    def teardown(self) -> None:
        super().teardown()
        MemoryStore.forget(self.name)


LocalMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30)
MemoryMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30)


@pytest.mark.usefixtures("unsynced")
class TestLocalStore(LocalMachine.TestCase):  # type: ignore[misc]
    pass


@pytest.mark.usefixtures("unsynced", "no_nameless_files")
class TestLocalStoreWithNamedTemporaryFiles(LocalMachine.TestCase):  # type: ignore[misc]
    pass


class TestMemoryStore(MemoryMachine.TestCase):  # type: ignore[misc]
    pass
