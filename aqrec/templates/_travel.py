"""Templates as bytes: how they get to a worker that makes them there, in the same store."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import msgspec

from aqrec.errors import InvalidInputError, InvalidValueError
from aqrec.recording import ExperimentManager
from aqrec.recording._views import RunReference
from aqrec.templates._apart import nobody_waits
from aqrec.templates._plan import Template

__all__ = ["Parcel", "dumps", "make_parcel", "pack", "unpack"]


class Parcel(msgspec.Struct, frozen=True):
    """A template without its recorder, and how to open that again."""

    run: RunReference
    kind: type[Template]
    state: dict[str, Any]

    def template(self, recorder: object) -> Any:
        """Return the template, on a recorder of this process."""
        template = object.__new__(self.kind)
        vars(template).update(self.state, recorder=recorder)
        return template


def pack(template: Template, run: RunReference) -> bytes:
    """Return a template as bytes.

    Raises
    ------
    InvalidInputError
        Its store is in this process's memory.
    InvalidValueError
        One of its attributes cannot be pickled.
    """
    name = type(template).__name__
    if run.url.startswith("memory:"):
        raise InvalidInputError(
            f"{name}: the store {run.url} is in the memory of this process, where no other process can write; "
            'choose executor="threads", or a store that has a folder or a bucket'
        )
    state = {key: value for key, value in vars(template).items() if key != "recorder"}
    try:
        return dumps(Parcel(run, type(template), state))
    except Exception as error:
        for key, value in state.items():
            try:
                dumps(value)
            except Exception:  # noqa: BLE001 - whatever pickling it raises, it is the one
                raise InvalidValueError(
                    f"{name}: its attribute {key!r} ({type(value).__name__}) cannot be pickled, so no other process "
                    f'can make it; choose executor="threads", or mend the attribute ({error})'
                ) from error
        raise InvalidValueError(
            f"{name} cannot be pickled, so no other process can make it: {error}; define it in a module that the "
            "workers can import, or install aqrec[cloudpickle]"
        ) from error


def unpack(parcel: bytes) -> Parcel:
    """Return what `pack` was given; on a worker, from whoever submitted it."""
    found: Parcel = pickle.loads(parcel)
    return found


def dumps(obj: object) -> bytes:
    """Pickle, with cloudpickle if it is there: it knows classes and functions of a notebook, too."""
    try:
        import cloudpickle  # noqa: PLC0415 - optional
    except ImportError:
        return pickle.dumps(obj, protocol=5)
    packed: bytes = cloudpickle.dumps(obj, protocol=5)
    return packed


def make_parcel(parcel: bytes) -> None:
    """Make a template on a worker: open its store, generate, wait until all is durable."""
    nobody_waits.set(True)
    asyncio.run(_make(unpack(parcel)))


async def _make(parcel: Parcel) -> None:
    run = parcel.run
    async with ExperimentManager(
        run.url, options=run.options, storage_options=run.storage_options
    ) as manager:
        recorder = await manager.get_recorder(recorder_id=run.run_id)
        await parcel.template(recorder).generate()
        await recorder.flush()
