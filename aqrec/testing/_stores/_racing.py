"""Calls at the same time, on one loop and in several processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import pytest

from aqrec.errors import AlreadyExistsError, ObjectNotFoundError

from ._base import StoreHooks, keys_below

if TYPE_CHECKING:
    from aqrec.stores import Store

__all__ = ["RacingTests"]

RACERS = 12
PROCESSES = 3


class RacingTests(StoreHooks):
    """What holds however calls interleave."""

    @pytest.mark.asyncio
    async def test_of_racing_creators_one_wins(self, store: Store) -> None:
        """Through one store object and several; the others are told, and the winner's bytes stay."""
        other = await self.reopen(store)
        for number in range(self.race_rounds):
            key = f"race/{number}/head"
            results = await asyncio.gather(
                *((store, other)[racer % 2].create(key, b"%d" % racer * 100) for racer in range(RACERS)),
                return_exceptions=True,
            )
            winners = [racer for racer, result in enumerate(results) if result is None]
            assert len(winners) == 1
            losses = [type(result) for result in results if result is not None]
            assert losses == [AlreadyExistsError] * (RACERS - 1)
            assert await self.raw_get(store, key) == b"%d" % winners[0] * 100
        await other.aclose()
        assert await self.raw_list(store) == {f"race/{number}/head" for number in range(self.race_rounds)}

    @pytest.mark.asyncio
    async def test_of_creators_in_several_processes_one_wins(self, store: Store) -> None:
        """The race that decides who writes a head."""
        if not self.shared_between_processes:
            return
        rounds = 4 * self.race_rounds
        options = json.dumps(dict(self.storage_options))
        command = (sys.executable, "-m", "aqrec.testing._racer", store.url, options)
        pipe = asyncio.subprocess.PIPE
        racers = [
            await asyncio.create_subprocess_exec(*command, str(number), str(rounds), stdin=pipe, stdout=pipe)
            for number in range(PROCESSES)
        ]
        try:
            for racer in racers:
                assert racer.stdout is not None
                assert await racer.stdout.readline() == b"ready\n"
            outputs = await asyncio.gather(*(racer.communicate(b"go\n") for racer in racers))
        finally:
            for racer in racers:
                if racer.returncode is None:
                    racer.kill()
                    await racer.wait()
        won = [json.loads(output) for output, _ in outputs]
        assert sorted(number for numbers in won for number in numbers) == list(range(rounds))
        for racer_number, numbers in enumerate(won):
            for number in numbers:
                assert await store.get(f"race/{number // 10}/{number}") == b"%d" % racer_number
        assert len(await keys_below(store)) == rounds

    @pytest.mark.asyncio
    async def test_many_calls_run_at_once(self, store: Store) -> None:
        """Each does its own work, as if it were alone."""
        await self.raw_put(store, "shared", b"shared")

        async def work(number: int) -> None:
            key, data = f"many/{number % 5}/{number}", b"%d" % number
            await store.create(key, data)
            assert await store.get("shared") == b"shared"
            assert await store.get(key) == data
            await store.put_stream(key, lambda file: file.write(data * 2))
            assert (await store.head(key)).size == 2 * len(data)
            assert await store.get_stream(key, lambda file: file.read()) == data * 2
            assert key in await keys_below(store, f"many/{number % 5}")
            if number % 2:
                await store.delete([key])

        await asyncio.gather(*(work(number) for number in range(60)))
        left = {f"many/{number % 5}/{number}" for number in range(0, 60, 2)}
        assert await self.raw_list(store) == left | {"shared"}

    @pytest.mark.asyncio
    async def test_readers_see_old_or_new_bytes_but_never_both(self, store: Store) -> None:
        """While an object is replaced again and again."""
        sizes = (1, 300_000, 70_000)
        await self.raw_put(store, "key", b"\0" * sizes[0])
        done = False

        async def replace() -> None:
            nonlocal done
            for number in range(1, 3 * self.race_rounds):
                data = bytes([number % 256]) * sizes[number % 3]
                if number % 2:
                    await store.put("key", data)
                else:
                    await store.put_stream("key", partial(_write_halves, data))
            done = True

        async def read() -> None:
            while not done:
                for data in (await store.get("key"), await store.get_stream("key", _read_in_pieces)):
                    assert set(data) == {data[0]}
                    assert len(data) == sizes[data[0] % 3]
                assert (await store.head("key")).size in sizes

        await asyncio.gather(replace(), read(), read())

    @pytest.mark.asyncio
    async def test_a_folder_that_comes_and_goes_loses_nothing(self, store: Store) -> None:
        """Writers and deleters of one folder do not take it away under each other."""

        async def come_and_go(number: int) -> None:
            for _ in range(self.race_rounds):
                await store.put(f"deep/folder/goes-{number}", b"x")
                await store.delete([f"deep/folder/goes-{number}"])
            await store.put(f"deep/folder/stays-{number}", b"x")

        async def list_meanwhile() -> None:
            for _ in range(self.race_rounds):
                await keys_below(store)
                await store.list_dir("deep")
                with contextlib.suppress(ObjectNotFoundError):
                    await store.get("deep/folder/goes-0")

        await asyncio.gather(*(come_and_go(number) for number in range(4)), list_meanwhile())
        assert await self.raw_list(store) == {f"deep/folder/stays-{number}" for number in range(4)}

    @pytest.mark.asyncio
    async def test_the_last_of_racing_writers_stays_whole(self, store: Store) -> None:
        """One of the values is stored, and no mixture."""
        values = [bytes([number]) * (1 + number * 10_000) for number in range(8)]
        for _ in range(self.race_rounds // 4 + 1):
            await asyncio.gather(*(store.put("key", value) for value in values))
            assert await self.raw_get(store, "key") in values
        assert await self.raw_list(store) == {"key"}


def _write_halves(data: bytes, file: BinaryIO) -> None:
    file.write(data[: len(data) // 2])
    file.write(data[len(data) // 2 :])


def _read_in_pieces(file: BinaryIO) -> bytes:
    pieces: list[bytes] = []
    while piece := file.read(20_000):
        pieces.append(piece)
    return b"".join(pieces)
