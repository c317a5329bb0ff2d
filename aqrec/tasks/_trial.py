"""Records made on trial: whether a class of the user's takes what the workflow will give it cannot always be told otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aqrec.tasks._records import is_async, record_arguments

__all__ = ["tried"]

_MISMATCH = re.compile(
    r"got (?:an unexpected keyword|multiple values for (?:keyword )?)\s?argument '(?P<name>\w+)'"
    r"|__init__\(\) missing \d+ required"
)
_PLACEHOLDERS = {"<DATASET>", "<MODEL>"}


class _Recorder:
    """Stands for the recorder of a run that has not begun."""

    def load_object(self, name: str) -> None:
        """Be a recorder of the blocking face."""


class _AwaitedRecorder:
    async def load_object(self, name: str) -> None:
        """Be a recorder of the async face."""


def tried(factory: Callable[..., Any], given: Mapping[str, Any]) -> tuple[Any, str | None]:
    """Make a record with stand-ins for its recorder, model, data set and prices.

    Returns
    -------
    tuple
        The record, or None if it needs more than stand-ins; and how its constructors do not fit the arguments, if
        they do not.
    """
    arguments = record_arguments(factory, given, None, None, {"quotes": None, "region": "cn"})
    for name, value in arguments.items():
        if isinstance(value, str) and value in _PLACEHOLDERS:
            arguments[name] = None
    recorder = _AwaitedRecorder() if is_async(factory) else _Recorder()
    try:
        return factory(**arguments, recorder=recorder), None
    except TypeError as error:
        found = _MISMATCH.search(str(error))
        told = found is not None and (found["name"] is None or found["name"] in {"recorder", *arguments})
        return None, str(error) if told else None
    except Exception:  # noqa: BLE001 - a constructor may ask more of a model or a recorder than a stand-in has
        return None, None
