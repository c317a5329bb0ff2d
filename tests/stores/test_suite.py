"""The conformance suite finds stores that break the contract, and runs in other projects."""

import asyncio
import io
import textwrap
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import pytest

from aqrec.errors import AlreadyExistsError, ObjectNotFoundError, StorageError
from aqrec.stores import LocalStore, MemoryStore, ObjectInfo, Store, WrapperAppender, WrapperStore
from aqrec.stores._abc import Appender
from tests._support import run_script
from tests.stores.support import LocalHooks, MemoryHooks


class CreatesInTwoSteps(WrapperStore):
    async def create(self, key: str, data: bytes) -> None:
        try:
            await self.inner.head(key)
        except ObjectNotFoundError:
            await asyncio.sleep(0)
            await self.inner.put(key, data)
        else:
            raise AlreadyExistsError(f"{key} in {self.url}")


class CreatesOverOthers(WrapperStore):
    async def create(self, key: str, data: bytes) -> None:
        await self.inner.put(key, data)


class ListsByText(WrapperStore):
    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        async for info in self.inner.list():
            if info.key.startswith(prefix):
                yield info


class ListsOnePage(WrapperStore):
    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        number = 0
        async for info in self.inner.list(prefix):
            if (number := number + 1) <= 1000:
                yield info


class ListsAnewAfterEachPage(WrapperStore):
    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        at = 0
        while True:
            infos = [info async for info in self.inner.list(prefix)][at : at + 100]
            at += len(infos)
            for info in infos:
                yield info
            if not infos:
                return


class ListsFoldersUnsorted(WrapperStore):
    async def list_dir(self, prefix: str = "") -> Any:
        objects, folders = await self.inner.list_dir(prefix)
        return objects, folders[::-1]


class KeepsEmptyFolders(WrapperStore):
    seen: set[str]

    async def list_dir(self, prefix: str = "") -> Any:
        objects, folders = await self.inner.list_dir(prefix)
        self.seen = {*vars(self).get("seen", ()), *folders}
        return objects, sorted(self.seen)


class ForgetsTheEnd(WrapperStore):
    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        return await self.inner.get(key, start=start)


class ReadsInTwoRequests(WrapperStore):
    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        size = (await self.inner.head(key)).size
        first = await self.inner.get(key, start=start, end=size // 2)
        for _ in range(5):
            await asyncio.sleep(0)
        return first + await self.inner.get(key, start=size // 2, end=end)


class HasNoErrorForTheMissing(WrapperStore):
    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        try:
            return await self.inner.get(key, start=start, end=end)
        except ObjectNotFoundError:
            return b""


class HidesTheKey(WrapperStore):
    async def head(self, key: str) -> ObjectInfo:
        try:
            return await self.inner.head(key)
        except ObjectNotFoundError:
            raise ObjectNotFoundError("no such object") from None


class MissesTheMissing(WrapperStore):
    async def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self.inner.head(key)
            await self.inner.delete([key])


class DeletesBeforeItChecks(WrapperStore):
    async def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self.inner.delete([key])


class StoresHalves(WrapperStore):
    async def put_stream(self, key: str, write: Callable[[BinaryIO], Any]) -> Any:
        def keep(file: BinaryIO) -> tuple[Any, BaseException | None]:
            try:
                return write(file), None
            except BaseException as error:
                return None, error

        result, error = await self.inner.put_stream(key, keep)
        if error is not None:
            raise error
        return result


class ShowsTemporaryNames(WrapperStore):
    async def put_stream(self, key: str, write: Callable[[BinaryIO], Any]) -> Any:
        await self.inner.put(f"{key}.part", b"")
        try:
            return await self.inner.put_stream(key, write)
        finally:
            await self.inner.delete([f"{key}.part"])


class LeavesTemporaryNames(WrapperStore):
    async def put_stream(self, key: str, write: Callable[[BinaryIO], Any]) -> Any:
        await self.inner.put(f"{key}.part", b"")
        result = await self.inner.put_stream(key, write)
        await self.inner.delete([f"{key}.part"])
        return result


class ReturnsBeforeItsCallback(WrapperStore):
    async def put_stream(self, key: str, write: Callable[[BinaryIO], Any]) -> Any:
        return await asyncio.shield(asyncio.ensure_future(self.inner.put_stream(key, write)))

    async def get_stream(self, key: str, read: Callable[[BinaryIO], Any]) -> Any:
        return await asyncio.shield(asyncio.ensure_future(self.inner.get_stream(key, read)))


class HasItsEffectLater(WrapperStore):
    async def put(self, key: str, data: bytes) -> None:
        await asyncio.shield(asyncio.ensure_future(self._slowly(key, data)))

    async def _slowly(self, key: str, data: bytes) -> None:
        for _ in range(6):
            await asyncio.sleep(0)
        await self.inner.put(key, data)


class TakesTheWholeIntoMemory(WrapperStore):
    async def get_stream(self, key: str, read: Callable[[BinaryIO], Any]) -> Any:
        import io

        return read(io.BytesIO(await self.inner.get(key)))


class IsNeverClosed(WrapperStore):
    async def aclose(self) -> None:
        pass


class ClosesAtOnce(WrapperStore):
    async def aclose(self) -> None:
        self.inner._jobs._closed = True  # type: ignore[attr-defined]


class AppendsToOthers(WrapperStore):
    async def open_append(self, key: str) -> Appender:
        await self.inner.delete([key])
        return await self.inner.open_append(key)


class OpensInTwoSteps(WrapperStore):
    calls = 0

    async def open_append(self, key: str) -> Appender:
        self.calls += 1
        for _ in range(3 * self.calls):
            await asyncio.sleep(0)
        await self.inner.delete([key])
        return await self.inner.open_append(key)


class _Buffered(WrapperAppender):
    def __init__(self, inner: Appender) -> None:
        super().__init__(inner)
        self.buffer = b""

    def write(self, data: bytes) -> None:
        self.buffer += data

    def close(self) -> None:
        if self.buffer:
            self._inner.write(self.buffer)
            self.buffer = b""
        super().close()


class AppendsAtTheEnd(WrapperStore):
    async def open_append(self, key: str) -> Appender:
        return _Buffered(await self.inner.open_append(key))


class LeaksItsDriversErrors(WrapperStore):
    async def get(self, key: str, *, start: int = 0, end: int | None = None) -> bytes:
        try:
            return await self.inner.get(key, start=start, end=end)
        except StorageError as error:
            raise OSError(str(error)) from error


class SwallowsFailures(WrapperStore):
    async def list_dir(self, prefix: str = "") -> Any:
        try:
            return await self.inner.list_dir(prefix)
        except StorageError:
            return [], []


class RunsBackInTime(WrapperStore):
    async def head(self, key: str) -> ObjectInfo:
        info = await self.inner.head(key)
        return ObjectInfo(info.key, info.size, info.modified // 1000)


class CutsLongKeys(WrapperStore):
    async def put(self, key: str, data: bytes) -> None:
        await self.inner.put(key[:1024] if isinstance(key, str) else key, data)


class DoubtsItsBackend(WrapperStore):
    async def probe_create(self) -> bool:
        return False


class LeavesItsProbe(WrapperStore):
    async def probe_create(self) -> bool:
        await self.inner.put("probe", b"")
        return True


class ReadsOnInAnotherVersion(WrapperStore):
    async def get_stream(self, key: str, read: Callable[[Any], Any]) -> Any:
        loop = asyncio.get_running_loop()

        class Rest(io.RawIOBase):
            place = 0

            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                size = min(len(buffer), 1000)
                call = store.inner.get(key, start=self.place, end=self.place + size)
                try:
                    data = asyncio.run_coroutine_threadsafe(call, loop).result()
                except ObjectNotFoundError:
                    data = b""
                buffer[: len(data)] = data
                self.place += len(data)
                return len(data)

        store = self
        await self.inner.head(key)
        return await asyncio.to_thread(lambda: read(io.BufferedReader(Rest(), 1000)))


PROBE = "test_asking_whether_create_is_honoured_tells_the_truth_and_leaves_nothing"

BROKEN: list[tuple[type[WrapperStore], str]] = [
    (AppendsAtTheEnd, "test_each_write_is_visible_at_once"),
    (AppendsToOthers, "test_a_taken_key_is_never_appended_to"),
    (ClosesAtOnce, "test_closing_waits_for_what_is_under_way"),
    (CreatesInTwoSteps, "test_of_racing_creators_one_wins"),
    (CreatesOverOthers, "test_create_writes_a_free_key_only"),
    (CutsLongKeys, "test_keys_longer_than_there_is_room_are_refused"),
    (DeletesBeforeItChecks, "test_an_illegal_key_among_many_deletes_nothing"),
    (DeletesBeforeItChecks, "test_delete_refuses_a_single_string"),
    (DoubtsItsBackend, PROBE),
    (ForgetsTheEnd, "test_ranges_are_cut_at_the_end"),
    (HasItsEffectLater, "test_a_cancelled_put_has_its_whole_effect_or_none"),
    (HasNoErrorForTheMissing, "test_missing_objects_are_named"),
    (HasNoErrorForTheMissing, "test_nothing_lies_below_an_object"),
    (HidesTheKey, "test_missing_objects_are_named"),
    (IsNeverClosed, "test_a_closed_store_refuses_every_call"),
    (IsNeverClosed, "test_closing_the_store_ends_its_appenders"),
    (KeepsEmptyFolders, "test_a_folder_is_gone_with_its_last_object"),
    (LeaksItsDriversErrors, "test_failures_say_what_failed"),
    (LeavesItsProbe, PROBE),
    (LeavesTemporaryNames, "test_a_callback_that_raises_leaves_nothing"),
    (LeavesTemporaryNames, "test_a_cancelled_put_stream_stops_its_callback_and_stores_nothing"),
    (ListsAnewAfterEachPage, "test_objects_that_stay_are_listed_once_while_others_come_and_go"),
    (ListsByText, "test_list_shows_all_below_a_folder_and_nothing_beside_it"),
    (ListsFoldersUnsorted, "test_list_dir_shows_direct_children_sorted"),
    (ListsOnePage, "test_large_folders_are_listed_exactly"),
    (MissesTheMissing, "test_delete_removes_and_repeats"),
    (OpensInTwoSteps, "test_of_racing_openers_one_wins"),
    (ReadsInTwoRequests, "test_readers_see_old_or_new_bytes_but_never_both"),
    (ReadsOnInAnotherVersion, "test_a_reader_keeps_the_version_it_began_with"),
    (ReturnsBeforeItsCallback, "test_a_cancelled_get_stream_stops_its_callback"),
    (ReturnsBeforeItsCallback, "test_a_cancelled_put_stream_stops_its_callback_and_stores_nothing"),
    (RunsBackInTime, "test_head_tells_size_and_time"),
    (ShowsTemporaryNames, "test_an_unfinished_object_is_nowhere_to_be_seen"),
    (StoresHalves, "test_a_callback_that_raises_leaves_nothing"),
    (SwallowsFailures, "test_failures_say_what_failed"),
    (TakesTheWholeIntoMemory, "test_large_objects_pass_in_bounded_memory"),
]


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize(("broken", "test"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
async def test_the_suite_finds(broken: type[WrapperStore], test: str, tmp_path: Path) -> None:
    """A store that breaks one rule fails the test of that rule, which it passes unbroken."""
    local = test in {"test_failures_say_what_failed", "test_large_objects_pass_in_bounded_memory"}
    for kind in (WrapperStore, broken):
        name = f"test/{uuid4().hex}"
        suite = (LocalHooks if local else MemoryHooks)()
        suite.wrap = kind  # type: ignore[method-assign]
        store: Store = kind(LocalStore(tmp_path / name) if local else MemoryStore(name))
        try:
            await asyncio.wait_for(getattr(suite, test)(store), 20)
        except (Exception, pytest.fail.Exception):
            assert kind is broken
        else:
            assert kind is WrapperStore, "it passed"
        await store.aclose()
        if isinstance(store, IsNeverClosed):
            await store.inner.aclose()
        MemoryStore.forget(name)


def test_the_suite_runs_in_another_project(tmp_path: Path) -> None:
    """In pytest-asyncio's strict mode, from a class that only has a fixture and three hooks."""
    (tmp_path / "test_mine.py").write_text(
        textwrap.dedent(
            """
            from uuid import uuid4

            import pytest_asyncio

            from aqrec.stores import MemoryStore
            from aqrec.testing import StoreTests


            class TestMine(StoreTests):
                bounded_streams = False

                @pytest_asyncio.fixture
                async def store(self):
                    store = MemoryStore(uuid4().hex)
                    yield store
                    await store.aclose()

                async def raw_get(self, store, key):
                    other = await self.reopen(store)
                    try:
                        return await other.get(key)
                    except FileNotFoundError:
                        return None

                async def raw_put(self, store, key, data):
                    await (await self.reopen(store)).put(key, data)

                async def raw_list(self, store):
                    return {info.key async for info in (await self.reopen(store)).list()}
            """
        )
    )
    arguments = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=strict"]
    arguments += ["-o", "asyncio_default_fixture_loop_scope=function", "-W", "error", str(tmp_path)]
    code = f"import sys, pytest; sys.exit(pytest.main({arguments!r}))"
    result = run_script(code, cwd=tmp_path).check()
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout
    assert "warning" not in result.stdout
